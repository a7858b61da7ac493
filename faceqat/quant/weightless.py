"""Quantized layers without weights: they join, clip and reshape tensors."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from faceqat.fields import check_value
from faceqat.integer import operators as ops
from faceqat.integer import tracing
from faceqat.integer.symbol import Symbol
from faceqat.quant import numerics, tensor_scales
from faceqat.quant.quant_layer import QuantLayer, Value
from faceqat.quant.spec import Mode

# The interval to which an activation clips.
ACTIVATIONS = {'relu': (0.0, math.inf), 'relu6': (0.0, 6.0)}


def activation_range(
  name: str | None, layer: str
) -> tuple[float, float] | None:
  """The interval of an activation; None where there is none.

  Raises:
    ValueError: it is not one of `ACTIVATIONS`; names the layer.
  """
  if name is None:
    return None
  check_value(f'layer {layer}: activation', name, ACTIVATIONS)
  return ACTIVATIONS[name]


class Add(QuantLayer):
  """The sum of two tensors of one shape, as at the end of a residual block.

  `activation` (None, 'relu' or 'relu6') is fused: its output is quantized.
  """

  activation: str | None = None

  @nn.compact
  def __call__(self, a: Value, b: Value, mode: Mode) -> Value:
    limits = activation_range(self.activation, self._tensor)

    def add(a, b):
      return a + b if limits is None else jnp.clip(a + b, *limits)

    return self._quantized(
      mode, tracing.add, add, a, b, activation_range=limits
    )


class Requantize(QuantLayer):
  """The same values in a range of its own, with fewer bits."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    emit = functools.partial(tracing.apply, ops.Requantize)
    return self._quantized(
      mode, emit, lambda x: x, x, units=tensor_scales.units(x)
    )


class Multiply(QuantLayer):
  """The product of two tensors.

  They have one shape, or the second is `[B, C]` beside `[B, H, W, C]`: a gate
  per channel, as in squeeze-and-excitation (Hu 2018).
  """

  @nn.compact
  def __call__(self, a: Value, b: Value, mode: Mode) -> Value:
    def multiply(a, b):
      return a * (b[:, None, None] if (a.ndim, b.ndim) == (4, 2) else b)

    return self._quantized(
      mode, functools.partial(tracing.apply, ops.Mul), multiply, a, b
    )


class Concat(QuantLayer):
  """Joins tensors along the channels, at one common scale."""

  @nn.compact
  def __call__(self, xs: list[Value], mode: Mode) -> Value:
    return self._quantized(
      mode,
      lambda *xs, **fields: tracing.concat(xs, **fields),
      lambda *xs: jnp.concatenate(xs, axis=-1),
      *xs,
    )


class Dropout(QuantLayer):
  """Drops the share `rate` of all elements, in training alone.

  Source: Srivastava et al. 2014.
  """

  rate: float

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    check_value(f'layer {self._tensor}: the dropout', self.rate, '[0, 1)')
    if isinstance(x, Symbol):
      return x
    return nn.Dropout(self.rate, deterministic=not mode.train)(x)


class Flatten(QuantLayer):
  """`[B, H, W, C]` to `[B, H * W * C]`."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    del mode
    if isinstance(x, Symbol):
      return tracing.apply(ops.Reshape, x, name=self._tensor)
    return tensor_scales.carry(x, x.reshape(x.shape[0], -1))


class ReLU6(QuantLayer):
  """Clips to [0, 6] where no layer could fuse it; scale and zero point stay."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    del mode
    limits = ACTIVATIONS['relu6']

    def clip(x):
      return tensor_scales.carry(x, jnp.clip(x, *limits))

    return self._unranged(tracing.clamp, clip, x, activation_range=limits)


class Sigmoid(QuantLayer):
  """1 / (1 + exp(-x)); on the device at scale 1/256, from 0 to 255/256."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    def sigmoid(x):
      y = jax.nn.sigmoid(x.astype(jnp.float32))
      if mode.quantize:
        y = numerics.fake_quant(y, 0.0, 255 / 256, rounding=mode.rounding)
      return y.astype(x.dtype)

    return self._unranged(
      functools.partial(tracing.apply, ops.Logistic), sigmoid, x
    )


class L2Normalize(QuantLayer):
  """Scales `[B, D]` to unit length; on the device at scale 1/128."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    def normalize(x):
      square = jnp.sum(jnp.square(x.astype(jnp.float32)), -1, keepdims=True)
      y = x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
      if mode.quantize:
        y = numerics.fake_quant(y, -1.0, 127 / 128, rounding=mode.rounding)
      return y

    return self._unranged(
      functools.partial(tracing.apply, ops.L2Normalize), normalize, x
    )
