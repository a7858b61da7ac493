"""PReLU, as one operator of the runtimes or as the greater of two."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from faceqat.integer import operators as ops
from faceqat.integer import record
from faceqat.integer.symbol import Symbol
from faceqat.quant.quant_layer import QuantLayer, Value
from faceqat.quant.quantizers import (
  OutputQuantizer,
  fake_quant_kernel,
  quantize_kernel,
)
from faceqat.quant.spec import Mode


class PReLU(QuantLayer):
  """max(x, 0) + alpha * min(x, 0) with one learnt `alpha` [C] (He 2015).

  `LayerQuant.prelu` chooses its form. 'operator' is the runtimes' PRELU: one
  scale for all slopes, and a range of its own. 'maximum' is max(x, alpha * x),
  the same for slopes of at most 1 (above, see `calibration/steep_slopes.py`):
  a scale for each slope, and one range for x and the output, which quantizes
  x in place of the layer before.
  """

  initial_alpha: float = 0.25

  def setup(self):
    self.quantizer = OutputQuantizer(self._own())

  @property
  def shared_quantizer(self) -> OutputQuantizer | None:
    """What quantizes the output of the layer before; None: that does."""
    return self.quantizer if self._own().prelu == 'maximum' else None

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    alpha = self.param(
      'alpha', nn.initializers.constant(self.initial_alpha), (x.shape[-1],)
    )
    if isinstance(x, Symbol):
      self._check_finite({'alpha': alpha})
    form = self._maximum if self.shared_quantizer else self._operator
    return form(x, alpha, mode)

  def _operator(self, x: Value, alpha: jax.Array, mode: Mode) -> Value:
    # The runtimes' kernels take one scale for all slopes.
    slopes = dataclasses.replace(self._own(), per_channel=False)
    if isinstance(x, Symbol):
      values, scale = quantize_kernel(alpha, slopes)
      return record.apply(
        ops.PReLU,
        x,
        name=self._tensor,
        alpha=values,
        alpha_scale=float(scale[0]),
        output=self.quantizer.qparams(),
      )
    if mode.quantize:
      alpha = fake_quant_kernel(alpha, slopes)
    y = prelu(x, alpha.astype(x.dtype))
    return self._finish(y, mode, self.quantizer)

  def _maximum(self, x: Value, alpha: jax.Array, mode: Mode) -> Value:
    slopes = dataclasses.replace(self._own(), per_channel=True)
    if isinstance(x, Symbol):
      # A single weight has the greatest integer, and its scale says the rest.
      values, scale = quantize_kernel(alpha[None], slopes)
      return record.apply(
        ops.MaximumPReLU,
        x,
        name=self._tensor,
        alpha=values[0],
        alpha_scale=scale.copy(),
      )
    if mode.quantize:
      alpha = fake_quant_kernel(alpha[None], slopes)[0]
    alpha = alpha.astype(x.dtype)
    x = self.quantizer(x, mode, beside=alpha * x)
    steep = self.quantizer.quantized(alpha * x, mode)
    return self._shown(jnp.where(steep > x, steep, x))


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
  axes = tuple(range(x.ndim - 1))
  dalpha = jnp.sum(g * jnp.minimum(x, 0), axes, dtype=jnp.float32)
  return jnp.where(x >= 0, g, alpha * g), dalpha.astype(alpha.dtype)


prelu.defvjp(_prelu_fwd, _prelu_bwd)
