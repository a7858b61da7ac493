"""Quantized layers: called on an array they compute, on a symbol they record.

With `mode.quantize` off they are plain float layers whose parameters have the
names and shapes of `nn.Conv` and `nn.Dense`; learned steps are parameters
beside these. With it on, each layer fake-quantizes its (folded) kernel and its
output, as the integer program that the same call on a `Symbol` records will
hold them.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from faceqat.integer import operators as ops
from faceqat.integer import tracing
from faceqat.integer.symbol import Symbol
from faceqat.integer.tensors import QParams
from faceqat.quant import numerics, tensor_scales
from faceqat.quant.batchnorm import FoldedBatchNorm
from faceqat.quant.convolution import Padding, conv2d, explicit_padding
from faceqat.quant.norm import (
  BatchNorm,
  GroupNorm,
  NoIntegerFormError,
  Norm,
  group_norm,
)
from faceqat.quant.quant_layer import QuantLayer, Value
from faceqat.quant.quantizers import (
  OutputQuantizer,
  fake_quant_kernel,
  initial_kernel_step,
  kernel_scale,
  quantize_kernel,
)
from faceqat.quant.spec import LayerQuant, Mode
from faceqat.quant.weightless import activation_range

# Steps that an int8 input may be away from its zero point.
_STEPS = 255
# An eighth of what int32 holds, as roundings and the output's zero come on top.
_LARGEST_SUM = 2**28


def input_image(images: Value, dtype=jnp.float32) -> Value:
  """Reads uint8 pixels `[B, H, W, 3]` as (pixel - 128) / 128.

  The device has pixel - 128 as int8 at scale 1/128, so nothing is rounded.
  """
  if isinstance(images, Symbol):
    return images
  if images.dtype != jnp.uint8:
    raise TypeError(f'images are uint8 pixels 0..255; got {images.dtype}')
  pixels = ((images.astype(jnp.float32) - 128.0) / 128.0).astype(dtype)
  tensor_scales.note(pixels, 1 / 128)
  return pixels


class _Weights(NamedTuple):
  """The weights of a layer before the norm is folded.

  Attributes:
    kernel: [..., O].
    bias: [O].
    norm: the batch norm that folds into them.
    step: learned, of the folded kernel: [O] or [].
  """

  kernel: jax.Array
  bias: jax.Array
  norm: FoldedBatchNorm | None
  step: jax.Array | None


class _Linear(QuantLayer):
  """kernel, then bias or folded batch norm, activation, output quantizer.

  Attributes:
    features: output channels.
    norm: a batch norm `bn` is folded into the kernel; a group norm is for
      float modes alone; None: neither.
    initial_gamma: of the batch norm, before it is trained.
    use_bias: a `bias` parameter; needs `norm` None.
    output_scale: a constant factor of kernel and bias.
    activation: None, 'relu' or 'relu6'; fused, so its output is what is
      quantized.
    quant: the model's quantization; the layer looks itself up by its path.
    dtype: of the float computation; parameters and statistics are float32.
  """

  norm: Norm | None
  features: int = 0
  initial_gamma: float = 1.0
  use_bias: bool = False
  output_scale: float = 1.0
  activation: str | None = None
  dtype: jnp.dtype = jnp.float32

  def _run(
    self,
    x: Value,
    mode: Mode,
    kernel_shape: tuple[int, ...],
    product: Callable[[jax.Array, jax.Array], jax.Array],
    emit: Callable[..., Symbol],
  ) -> Value:
    """Computes with `product(x, kernel)`, or records with `emit(x, ...)`.

    Raises:
      ValueError: a bias and a norm, or an unknown activation.
      NoIntegerFormError: a group norm, quantized or on a symbol.
    """
    self._check_norm(mode.quantize or isinstance(x, Symbol))
    limits = activation_range(self.activation, self._tensor)
    kernel, bias = self._kernel_and_bias(kernel_shape)
    norm = None
    if isinstance(self.norm, BatchNorm):
      norm = FoldedBatchNorm(
        kernel_shape[-1], self.norm, self.initial_gamma, name='bn'
      )
    quantizer = OutputQuantizer(self._own(), name='quantizer')
    step = self._kernel_step(kernel, norm, mode)
    weights = _Weights(kernel, bias, norm, step)
    if isinstance(x, Symbol):
      fields, reals = self._integers(x, weights)
      output = _no_finer(quantizer.qparams(), x, reals, fields['bias'])
      return emit(
        x, name=self._tensor, activation_range=limits, output=output, **fields
      )
    y = self._product(x, mode, weights, product)
    if limits is not None:
      y = jnp.clip(y, *limits)
    return self._finish(y, mode, quantizer, self._units(x, mode, weights))

  def _check_norm(self, quantized: bool):
    if self.use_bias and self.norm:
      raise ValueError(
        f'layer {self._tensor}: use_bias is on beside a norm, which has a bias '
        'of its own'
      )
    if isinstance(self.norm, GroupNorm) and quantized:
      raise NoIntegerFormError(
        f'layer {self._tensor} has a group norm, which has no integer form; '
        "train with model.norm.name 'batch' or 'renorm' to have one"
      )

  def _kernel_and_bias(
    self, kernel_shape: tuple[int, ...]
  ) -> tuple[jax.Array, jax.Array]:
    """The parameters, times `output_scale`; without a bias, zeros."""
    kernel = self.param('kernel', nn.initializers.he_normal(), kernel_shape)
    bias = (
      self.param('bias', nn.initializers.zeros, kernel_shape[-1:])
      if self.use_bias
      else jnp.zeros(kernel_shape[-1:])
    )
    if self.output_scale != 1:
      kernel, bias = kernel * self.output_scale, bias * self.output_scale
    return kernel, bias

  def _kernel_step(
    self, kernel: jax.Array, norm: FoldedBatchNorm | None, mode: Mode
  ) -> jax.Array | None:
    """The learned step; 0 until a mode with `initialize_steps` sets it."""
    layer = self._own()
    if not layer.learned_steps:
      return None
    shape = kernel.shape[-1:] if layer.per_channel else ()
    step = self.param('kernel_step', nn.initializers.zeros, shape)
    if mode.initialize_steps:
      folded = kernel * norm.fold()[0] if norm else kernel
      start = initial_kernel_step(folded, layer)
      self.put_variable('params', 'kernel_step', start)
    return step

  def _integers(self, x: Symbol, weights: _Weights) -> tuple[dict, np.ndarray]:
    """The operator's fields, and the real values of its weights."""
    layer, (kernel, bias, norm, step) = self._own(), weights
    self._check_finite({'kernel': kernel, 'bias': bias, 'kernel_step': step})
    if norm:
      self._check_finite(norm.values())
      factor, bias = norm.fold()
      kernel = kernel * factor
      self._check_finite({'kernel folded with bn': kernel})
    values, scale = quantize_kernel(kernel, layer, step)
    bias = np.asarray(bias, np.float32)
    scale = _no_finer_than_bias(scale, values, bias, x, layer)
    fields = {
      'weights': values,
      'weight_scale': scale,
      'weight_bits': layer.weight_bits,
      'kernel': kernel,
      'bias': bias,
    }
    return fields, values * scale

  def _units(
    self, x: jax.Array, mode: Mode, weights: _Weights
  ) -> numerics.Units | None:
    """Of the integer sums; with a batch's statistics, those of the moving."""
    if not mode.rounds_twice:
      return None
    kernel, _, norm, step = weights
    folded = kernel * norm.fold()[0] if norm else kernel
    scale = kernel_scale(jax.lax.stop_gradient(folded), self._own(), step)
    return tensor_scales.units(x, scale)

  def _product(
    self,
    x: jax.Array,
    mode: Mode,
    weights: _Weights,
    product: Callable[[jax.Array, jax.Array], jax.Array],
  ) -> jax.Array:
    """The normalised product with the fake-quantized kernel, in `dtype`."""
    kernel, bias, norm, step = weights

    def linear(factor):
      folded = kernel if factor is None else kernel * factor
      if mode.quantize:
        normalized = norm is not None and mode.batch_statistics
        folded = fake_quant_kernel(
          folded, self._own(), step, normalized=normalized
        )
      return product(x.astype(self.dtype), folded.astype(self.dtype))

    y = norm(linear, mode) if norm else linear(None).astype(jnp.float32) + bias
    if isinstance(self.norm, GroupNorm):
      y = group_norm(self.norm, kernel.shape[-1])(y)
    return y.astype(self.dtype)


def _no_finer(
  output: QParams, x: Symbol, weights: np.ndarray, bias: np.ndarray
) -> QParams:
  """Widens the output's scale until the largest possible sum fits int32.

  A ReLU that let nothing through in the calibration has a range of almost
  nothing, in whose steps any sum would overflow. `weights` [..., O] and `bias`
  [O] are real values.
  """
  products = np.abs(weights).sum(tuple(range(weights.ndim - 1)))
  reach = np.max(products * _STEPS * x.tensor.scale + np.abs(bias))
  return dataclasses.replace(
    output, scale=max(output.scale, float(np.float32(reach / _LARGEST_SUM)))
  )


def _no_finer_than_bias(
  scale: np.ndarray,
  weights: np.ndarray,
  bias: np.ndarray,
  x: Symbol,
  layer: LayerQuant,
) -> np.ndarray:
  """The scale of the weights; where these are all 0, one that fits the bias.

  The scale of a channel without weights is next to nothing, and no bias fits
  int32 in such steps. 0 is 0 in any scale, so the bias gets 24 bits. `scale`
  and `bias` [O] are real values, `weights` int8 [..., O].
  """
  least = np.abs(bias) / np.float32(x.tensor.scale * 2**24)
  zero = ~weights.any(tuple(range(weights.ndim - 1)))
  if not layer.per_channel:
    least, zero = least.max(), zero.all()
  return np.where(zero, np.maximum(scale, least), scale)


class QuantConv(_Linear):
  """A convolution, NHWC; with `depthwise`, one 2-D kernel per channel.

  The kernel is `[kh, kw, I, O]`, or `[kh, kw, 1, C]` with `depthwise`, as in
  `nn.Conv`. `padding` is 'SAME', 'VALID' or ((top, bottom), (left, right)).
  """

  kernel_size: tuple[int, int] = (3, 3)
  strides: tuple[int, int] = (1, 1)
  padding: str | Padding = 'SAME'
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
      lambda x, **fields: tracing.weighted(ops.Conv2D, x, **geometry, **fields),
    )


class QuantDense(_Linear):
  """A fully connected layer on `[B, I]`; the kernel is `[I, O]`."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    return self._run(
      x,
      mode,
      (x.shape[-1], self.features),
      jnp.matmul,
      functools.partial(tracing.weighted, ops.Dense),
    )
