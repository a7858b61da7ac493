"""PReLU, as one operator of the runtimes or as the greater of two."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from faceqat.integer import operators as ops
from faceqat.integer import tracing
from faceqat.integer.symbol import Symbol
from faceqat.quant import tensor_scales
from faceqat.quant.quant_layer import QuantLayer, Value
from faceqat.quant.quantizers import (
  OutputQuantizer,
  fake_quant_kernel,
  kernel_scale,
  quantize_kernel,
)
from faceqat.quant.reductions import channel_sums
from faceqat.quant.spec import Mode


class PReLU(QuantLayer):
  """max(x, 0) + alpha * min(x, 0) with one learnt `alpha` [C] (He 2015).

  `LayerQuant.prelu` chooses its integer form. 'operator' is the runtimes'
  PRELU, with one scale for all slopes. 'sum' is x + relu((alpha - 1) * x), the
  same for slopes of at most 1 (for others see `calibration/steep_slopes.py`):
  a scale for each slope, and a range for the second term, the rise.
  """

  initial_alpha: float = 0.25

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    alpha = self.param(
      'alpha', nn.initializers.constant(self.initial_alpha), (x.shape[-1],)
    )
    quantizer = OutputQuantizer(self._own(), name='quantizer')
    if isinstance(x, Symbol):
      self._check_finite({'alpha': alpha})
    form = {'operator': self._operator, 'sum': self._sum}[self._own().prelu]
    return form(x, alpha, mode, quantizer)

  def _operator(
    self, x: Value, alpha: jax.Array, mode: Mode, quantizer: OutputQuantizer
  ) -> Value:
    # The runtimes' kernels take one scale for all slopes.
    slopes = dataclasses.replace(self._own(), per_channel=False)
    if isinstance(x, Symbol):
      values, scale = quantize_kernel(alpha, slopes)
      return tracing.apply(
        ops.PReLU,
        x,
        name=self._tensor,
        alpha=values,
        alpha_scale=float(scale[0]),
        output=quantizer.qparams(),
        reals={'alpha': alpha},
      )
    units = tensor_scales.units(x)
    if units is not None:
      units = *units, units[0] * kernel_scale(alpha, slopes)
    if mode.quantize:
      alpha = fake_quant_kernel(alpha, slopes)
    y = prelu(x, alpha.astype(x.dtype))
    return self._finish(y, mode, quantizer, units)

  def _sum(
    self, x: Value, alpha: jax.Array, mode: Mode, quantizer: OutputQuantizer
  ) -> Value:
    # Each is the only weight of its channel: the greatest integer, times a
    # scale that says the rest.
    factors = alpha[None] - 1
    weights = dataclasses.replace(self._own(), per_channel=True)
    # An intermediate value inside one activation, and never negative.
    inside = dataclasses.replace(
      self._own(), activation_bits=8, symmetric=False
    )
    rises = OutputQuantizer(inside, name='rise')
    if isinstance(x, Symbol):
      values, scale = quantize_kernel(factors, weights)
      return tracing.apply(
        ops.SumPReLU,
        x,
        name=self._tensor,
        weights=values[0],
        weight_scale=scale.copy(),
        rise_scale=rises.qparams().scale,
        output=quantizer.qparams(),
        reals={'alpha': alpha},
      )
    if mode.quantize:
      factors = fake_quant_kernel(factors, weights)
    rise = rises(jax.nn.relu(x * factors[0].astype(x.dtype)), mode)
    return self._finish(x + rise, mode, quantizer)


@jax.custom_vjp
def prelu(x: jax.Array, alpha: jax.Array) -> jax.Array:
  """x where it is not negative, else alpha * x; `[..., C]` and `[C]`."""
  return jnp.where(x >= 0, x, alpha * x)


def _prelu_fwd(x, alpha):
  return prelu(x, alpha), (x, alpha)


def _prelu_bwd(residuals, g):
  # Left to itself, XLA's CPU backend fuses the slope's gradient with whatever
  # g is computed from, a depthwise convolution's gradient, and computes that a
  # second time.
  x, alpha = residuals
  (dalpha,) = channel_sums(g * jnp.minimum(x, 0))
  return jnp.where(x >= 0, g, alpha * g), dalpha.astype(alpha.dtype)


prelu.defvjp(_prelu_fwd, _prelu_bwd)
