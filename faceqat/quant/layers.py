"""Quantized layers: called on an array they compute, on a symbol they record.

With `mode.quantize` off they are plain float layers whose parameters have the
names and shapes of `nn.Conv` and `nn.Dense`; learned steps are parameters
beside these. With it on, each layer fake-quantizes its (folded) kernel and its
output, as the integer program that the same call on a `Symbol` records will
hold them.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from faceqat.integer import record
from faceqat.integer.symbol import Symbol
from faceqat.quant import numerics
from faceqat.quant.batchnorm import FoldedBatchNorm
from faceqat.quant.convolution import conv2d
from faceqat.quant.layer import QuantLayer, Value
from faceqat.quant.pooling import (
  AveragePool,
  MaxPool,
  MeanPool,
  Padding,
  explicit_padding,
)
from faceqat.quant.prelu import prelu
from faceqat.quant.quantizers import (
  OutputQuantizer,
  fake_quant_kernel,
  initial_kernel_step,
  quantize_kernel,
)
from faceqat.quant.spec import LayerQuant, Mode

__all__ = [
  'ACTIVATIONS',
  'Add',
  'AveragePool',
  'Concat',
  'Flatten',
  'L2Normalize',
  'MaxPool',
  'MeanPool',
  'Multiply',
  'PReLU',
  'QuantConv',
  'QuantDense',
  'ReLU6',
  'Sigmoid',
  'Value',
  'input_image',
]

# The interval to which an activation clips.
ACTIVATIONS = {'relu': (0.0, math.inf), 'relu6': (0.0, 6.0)}


def input_image(images: Value, dtype=jnp.float32) -> Value:
  """Reads uint8 pixels `[B, H, W, 3]` as (pixel - 128) / 128.

  On the device that is the int8 value pixel - 128 at scale 1/128: the camera's
  bytes are the quantized input, and no rounding happens.
  """
  if isinstance(images, Symbol):
    return images
  if images.dtype != jnp.uint8:
    raise TypeError(f'images are uint8 pixels 0..255; got {images.dtype}')
  return ((images.astype(jnp.float32) - 128.0) / 128.0).astype(dtype)


class _Linear(QuantLayer):
  """kernel, then bias or folded batch norm, activation, output quantizer.

  Attributes:
    features: output channels.
    use_bias: a `bias` parameter; needs `batch_norm` off.
    batch_norm: fold a batch norm `bn` into the kernel.
    bn_momentum: of its moving statistics.
    bn_epsilon: added to its variance.
    activation: None, 'relu' or 'relu6'; fused, so its output is what is
      quantized.
    quant: the model's quantization; the layer looks itself up by its path.
    dtype: of the float computation; parameters and statistics are float32.
  """

  features: int = 0
  use_bias: bool = False
  batch_norm: bool = True
  bn_momentum: float = 0.9
  bn_epsilon: float = 1e-3
  activation: str | None = None
  dtype: jnp.dtype = jnp.float32

  def _run(
    self,
    x: Value,
    mode: Mode,
    kernel_shape: tuple[int, ...],
    product: Callable[[jax.Array, jax.Array], jax.Array],
    recorder: Callable[..., Symbol],
  ) -> Value:
    """Computes with `product(x, kernel)`, or records with `recorder(x, ...)`.

    Raises:
      ValueError: a bias and a batch norm, or an unknown activation.
    """
    if self.use_bias and self.batch_norm:
      raise ValueError(
        f'layer {self._tensor}: use_bias and batch_norm are both on; the batch '
        'norm has a bias of its own'
      )
    if self.activation is not None and self.activation not in ACTIVATIONS:
      raise ValueError(
        f'layer {self._tensor}: activation {self.activation!r} is not one of '
        f'{", ".join(sorted(ACTIVATIONS))}'
      )
    layer = self._own()
    kernel = self.param('kernel', nn.initializers.he_normal(), kernel_shape)
    bias = (
      self.param('bias', nn.initializers.zeros, kernel_shape[-1:])
      if self.use_bias
      else jnp.zeros(kernel_shape[-1:])
    )
    norm = (
      FoldedBatchNorm(
        kernel_shape[-1], self.bn_momentum, self.bn_epsilon, name='bn'
      )
      if self.batch_norm
      else None
    )
    quantizer = OutputQuantizer(layer, name='quantizer')
    limits = ACTIVATIONS.get(self.activation)
    step = None
    if layer.learned_steps:
      # Beside the kernel; 0 until a reading with `initialize_steps` sets it.
      shape = kernel_shape[-1:] if layer.per_channel else ()
      step = self.param('kernel_step', nn.initializers.zeros, shape)
      if mode.initialize_steps:
        folded = kernel * norm.fold()[0] if norm else kernel
        start = initial_kernel_step(folded, layer)
        self.put_variable('params', 'kernel_step', start)

    if isinstance(x, Symbol):
      factor, bias = norm.fold() if norm else (jnp.ones(()), bias)
      values, scale = quantize_kernel(kernel * factor, layer, step)
      return recorder(
        x,
        name=self._tensor,
        weights=values,
        weight_scale=scale,
        weight_bits=layer.weight_bits,
        bias=np.asarray(bias, np.float32),
        activation_range=limits,
        output=quantizer.qparams(),
      )

    def linear(factor):
      folded = kernel if factor is None else kernel * factor
      if mode.quantize:
        folded = fake_quant_kernel(folded, layer, step)
      return product(x.astype(self.dtype), folded.astype(self.dtype))

    y = norm(linear, mode) if norm else linear(None).astype(jnp.float32) + bias
    y = y.astype(self.dtype)
    if limits is not None:
      y = jnp.clip(y, *limits)
    return self._finish(y, mode, quantizer)


class QuantConv(_Linear):
  """A convolution, NHWC; with `depthwise`, one 2-D kernel per channel.

  The kernel is `[kh, kw, I, O]`, or `[kh, kw, 1, C]` with `depthwise`, as in
  `nn.Conv`. `padding` is 'SAME', 'VALID' or ((top, bottom), (left, right)).
  """

  kernel_size: tuple[int, int] = (3, 3)
  strides: tuple[int, int] = (1, 1)
  padding: Padding = 'SAME'
  depthwise: bool = False

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    channels = x.shape[-1]
    geometry = {
      'strides': self.strides,
      'padding': explicit_padding(
        self.padding, x.shape[1:3], self.kernel_size, self.strides
      ),
      'depthwise': self.depthwise,
    }
    shape = (
      (*self.kernel_size, 1, channels)
      if self.depthwise
      else (*self.kernel_size, channels, self.features)
    )
    return self._run(
      x,
      mode,
      shape,
      lambda x, kernel: conv2d(x, kernel, **geometry),
      lambda x, **fields: record.conv2d(x, **geometry, **fields),
    )


class QuantDense(_Linear):
  """A fully connected layer on `[B, I]`; the kernel is `[I, O]`."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    return self._run(
      x, mode, (x.shape[-1], self.features), jnp.matmul, record.dense
    )


class Add(QuantLayer):
  """The sum of two tensors of one shape, as at the end of a residual block."""

  @nn.compact
  def __call__(self, a: Value, b: Value, mode: Mode) -> Value:
    quantizer = OutputQuantizer(self._own(), name='quantizer')
    if isinstance(a, Symbol):
      return record.add(a, b, name=self._tensor, output=quantizer.qparams())
    return self._finish(a + b, mode, quantizer)


class Multiply(QuantLayer):
  """The product of two tensors.

  They have one shape, or the second is `[B, C]` beside `[B, H, W, C]`: a gate
  per channel, as in squeeze-and-excitation (Hu 2018).
  """

  @nn.compact
  def __call__(self, a: Value, b: Value, mode: Mode) -> Value:
    quantizer = OutputQuantizer(self._own(), name='quantizer')
    if isinstance(a, Symbol):
      return record.mul(a, b, name=self._tensor, output=quantizer.qparams())
    if (a.ndim, b.ndim) == (4, 2):
      b = b[:, None, None]
    return self._finish(a * b, mode, quantizer)


class Concat(QuantLayer):
  """Joins tensors along the channels, at one common scale."""

  @nn.compact
  def __call__(self, xs: list[Value], mode: Mode) -> Value:
    quantizer = OutputQuantizer(self._own(), name='quantizer')
    if isinstance(xs[0], Symbol):
      return record.concat(xs, name=self._tensor, output=quantizer.qparams())
    return self._finish(jnp.concatenate(xs, axis=-1), mode, quantizer)


class PReLU(QuantLayer):
  """max(x, 0) + alpha * min(x, 0) with one learnt `alpha` [C] (He 2015)."""

  initial_alpha: float = 0.25

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    layer = self._own()
    quantizer = OutputQuantizer(layer, name='quantizer')
    alpha = self.param(
      'alpha', nn.initializers.constant(self.initial_alpha), (x.shape[-1],)
    )
    # The runtimes' kernels take one scale for all slopes.
    slopes = LayerQuant(weight_bits=layer.weight_bits, per_channel=False)
    if isinstance(x, Symbol):
      values, scale = quantize_kernel(alpha, slopes)
      return record.prelu(
        x,
        name=self._tensor,
        alpha=values,
        alpha_scale=float(scale[0]),
        output=quantizer.qparams(),
      )
    if mode.quantize:
      alpha = fake_quant_kernel(alpha, slopes)
    alpha = alpha.astype(x.dtype)
    return self._finish(prelu(x, alpha), mode, quantizer)


class Flatten(QuantLayer):
  """`[B, H, W, C]` to `[B, H * W * C]`."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    del mode
    if isinstance(x, Symbol):
      return record.flatten(x, name=self._tensor)
    return x.reshape(x.shape[0], -1)


class ReLU6(QuantLayer):
  """Clips to [0, 6] where no layer could fuse it; scale and zero point stay."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    del mode
    limits = ACTIVATIONS['relu6']
    if isinstance(x, Symbol):
      return record.clamp(x, name=self._tensor, activation_range=limits)
    y = jnp.clip(x, *limits)
    self.sow('intermediates', 'output', y)
    return y


class Sigmoid(QuantLayer):
  """1 / (1 + exp(-x)); on the device at scale 1/256, from 0 to 255/256."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    if isinstance(x, Symbol):
      return record.logistic(x, name=self._tensor)
    y = jax.nn.sigmoid(x.astype(jnp.float32))
    if mode.quantize:
      y = numerics.fake_quant(y, 0.0, 255 / 256, rounding=mode.rounding)
    y = y.astype(x.dtype)
    self.sow('intermediates', 'output', y)
    return y


class L2Normalize(QuantLayer):
  """Scales `[B, D]` to unit length; on the device at scale 1/128."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    if isinstance(x, Symbol):
      return record.l2_normalize(x, name=self._tensor)
    square = jnp.sum(jnp.square(x.astype(jnp.float32)), -1, keepdims=True)
    y = x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
    if mode.quantize:
      y = numerics.fake_quant(y, -1.0, 127 / 128, rounding=mode.rounding)
    self.sow('intermediates', 'output', y)
    return y
