"""Quantization whose step is trained with the weights.

LSQ: Esser et al. 2020, Learned step size quantization. Pure functions; the
layers of `quantizers` keep the steps.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from faceqat.quant import exact, numerics

# Factors of the least-error start: of the step that clips nothing, then
# of the best. Kernels of two bits take some 0.3, those of eight over 0.9.
_COARSE = np.float32(2.0 ** (-np.arange(20) / 8))
_FINE = np.float32(2.0 ** (-np.arange(-10, 11) / 80))


def whole_steps(
  x: jax.Array,
  step: jax.Array,
  *,
  lower: jax.Array | int,
  upper: jax.Array | int,
  rounding: str = 'half_up',
  units: numerics.Units | None = None,
) -> jax.Array:
  """Returns round(clip(x / step, lower, upper)), float32.

  'half_up', the rounding of weights, gives the same in every program
  (`exact.nearest_steps`).

  Args:
    x: [..., C], real values.
    step: [] or [C] float32, real value of one step, positive.
    lower, upper: []; whole steps from real 0, at most 0 and at least 0.
    rounding: one of `numerics.ROUNDINGS`.
    units: as of `numerics.round_steps`.
  """
  x = x.astype(jnp.float32)
  if rounding == 'half_up':
    return exact.nearest_steps(x, step, lower=lower, upper=upper)
  steps = numerics.divide(x, step)
  steps = jnp.clip(steps, lower, upper)
  return numerics.round_steps(steps, rounding, step, units)


def quantize_with_step(
  x: jax.Array,
  step: jax.Array,
  *,
  lower: jax.Array | int,
  upper: jax.Array | int,
  gradient_scale: jax.Array | float,
  rounding: str = 'half_up',
  units: numerics.Units | None = None,
) -> jax.Array:
  """Returns `whole_steps` times the step; x and the step get gradients.

  The derivatives are equations 3 and 5 of the paper, with v = x / step. For
  lower < v < upper: 1 by x, and round(v) - v by the step. At the limits and
  beyond: 0 by x, and the limit by the step. The latter is summed over all
  values that share the step, times `gradient_scale`.

  Args:
    x: [..., C], floating; computed in float32, returned in its own type.
    step: [] or [C] float32, real value of one step, positive.
    lower, upper: -Qn and Qp of the paper, as in `whole_steps`.
    gradient_scale: [], as of `gradient_scale`.
    rounding, units: as of `whole_steps`.
  """
  lower, upper, gradient_scale = (
    jnp.asarray(value, jnp.float32) for value in (lower, upper, gradient_scale)
  )
  step = jnp.asarray(step, jnp.float32)
  return _quantize(x, step, lower, upper, gradient_scale, units, rounding)


def gradient_scale(
  count: int, lower: jax.Array | int, upper: jax.Array | int
) -> jax.Array:
  """Returns 1 / sqrt(N Qp), with which steps move as fast as weights do.

  Source: section 2.2 of the paper. With a zero point between the limits, which
  the paper does not have, Qp is the longer side.

  Args:
    count: N, how many values share the step: weights, or the features of one
      example.
    lower, upper: [], in whole steps.
  """
  longer = jnp.maximum(-jnp.asarray(lower), jnp.asarray(upper))
  return jax.lax.rsqrt(count * longer.astype(jnp.float32))


def at_least(step: jax.Array, least: jax.Array) -> jax.Array:
  """Returns max(step, least), with the gradient of the step.

  Plain gradient descent may bring a step below 0, and has to bring it back.
  """
  return jnp.where(
    step >= least, step, least + (step - jax.lax.stop_gradient(step))
  )


def mean_magnitude_step(
  kernel: jax.Array, upper: int, per_channel: bool
) -> jax.Array:
  """Returns 2 mean|w| / sqrt(Qp), the paper's start; [O] or []."""
  mean = jnp.mean(jnp.abs(kernel), _axes(kernel, per_channel))
  return 2 * mean / np.float32(np.sqrt(upper))


def least_error_step(
  kernel: jax.Array, upper: int, per_channel: bool
) -> jax.Array:
  """Returns the step of the least squared error on a grid; [O] or [].

  The grid spans 2.4 octaves below the step at which nothing is clipped, in
  eightieths at last. With 8 bits and normally distributed weights the paper's
  start is four to seven times as wide, which costs over two bits until it is
  trained.
  """
  axes = _axes(kernel, per_channel)
  # Any step will do for a channel without weights.
  tiny = jnp.finfo(jnp.float32).tiny
  step = jnp.maximum(jnp.max(jnp.abs(kernel), axes) / upper, tiny)

  def squared_error(step):
    steps = whole_steps(kernel, step, lower=-upper, upper=upper)
    return jnp.sum(jnp.square(steps * step - kernel), axes)

  for factors in (_COARSE, _FINE):
    candidates = jnp.expand_dims(step, 0) * np.expand_dims(
      factors, tuple(range(1, step.ndim + 1))
    )
    best = jnp.argmin(jax.lax.map(squared_error, candidates), 0)
    step = step * jnp.asarray(factors)[best]
  return step


INITIALIZATIONS: Mapping[str, Callable[..., jax.Array]] = {
  'lsq': mean_magnitude_step,
  'mse': least_error_step,
}


def _axes(kernel, per_channel):
  return tuple(range(kernel.ndim - 1)) if per_channel else None


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def _quantize(x, step, lower, upper, gradient_scale, units, rounding):
  del gradient_scale
  steps = whole_steps(
    x, step, lower=lower, upper=upper, rounding=rounding, units=units
  )
  return (steps * step).astype(x.dtype)


def _quantize_fwd(x, step, lower, upper, gradient_scale, units, rounding):
  operands = x, step, lower, upper, gradient_scale, units
  return _quantize(*operands, rounding), operands


def _quantize_bwd(rounding, residuals, g):
  x, step, lower, upper, gradient_scale, units = residuals
  steps = whole_steps(
    x, step, lower=lower, upper=upper, rounding=rounding, units=units
  )
  real = x.astype(jnp.float32) / step
  inside = (real > lower) & (real < upper)
  slope = steps - jnp.where(inside, real, 0)
  axes = tuple(range(x.ndim - step.ndim))
  g_step = gradient_scale * jnp.sum(g.astype(jnp.float32) * slope, axes)
  return jnp.where(inside, g, 0), g_step, None, None, None, None


_quantize.defvjp(_quantize_fwd, _quantize_bwd)
