"""Affine quantization of arrays: ranges, rounding, straight-through gradients.

`real = scale * (q - zero_point)`. Ranges live in the unsigned domain of
TensorFlow's fake quantization ops, `q` in [1 if narrow_range else 0,
2^bits - 1]; the signed integer of a runtime is that minus 2^(bits - 1). `bits`
is 2..16, and `narrow_range` leaves out the lowest integer, as for weights.

All operations are in the order of TensorFlow's kernel, so that its op for one
range is a reference, bit for bit. Weights, whose integers ship, are rounded by
`exact` instead; they differ from its op for a range per channel at ties alone.

A compiler may contract `a * b + c` into one rounding, which moves ties. Where
that matters a `minimum` or `maximum` that changes no value stands between.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from faceqat.fields import check_value
from faceqat.quant import exact

# Real width below which a range counts as dead.
MIN_WIDTH = 1e-6

# Nudging rounds scale and limit once each, 2^-24 relative.
_KERNEL_MARGIN = 1 + 2.0**-22

# Of a total of integers, one or two real values of 1: of `round_steps`.
Units = tuple[jax.Array, ...]


def signed_limits(bits: int, narrow_range: bool = False) -> tuple[int, int]:
  """Returns the smallest and the largest signed integer, (-128, 127) for 8.

  Raises:
    ValueError: if bits is not a whole number in 2..16.
  """
  qmin, qmax = _unsigned_limits(bits, narrow_range)
  return qmin - 2 ** (bits - 1), qmax - 2 ** (bits - 1)


def nudged_params(
  minimum: jax.Array,
  maximum: jax.Array,
  *,
  bits: int,
  narrow_range: bool = False,
) -> tuple[jax.Array, jax.Array]:
  """Returns the scale and zero point of a range, as the runtimes store them.

  The range is first extended to contain 0. The zero point is rounded, so that
  real 0 is an integer; this shifts ("nudges") the range by up to half a step.

  Args:
    minimum: any shape, real value.
    maximum: same shape; a range narrower than `MIN_WIDTH` is given that width.
    bits, narrow_range: see above.

  Returns:
    scale: float32, real value of one step, always positive; zero_point:
    int32, signed, in `signed_limits(bits, narrow_range)`.

  Raises:
    ValueError: if bits is not in 2..16.
  """
  minimum = jnp.minimum(jnp.asarray(minimum, jnp.float32), 0)
  maximum = jnp.maximum(jnp.asarray(maximum, jnp.float32), 0)
  scale, zero_point = _nudge(minimum, maximum, bits, narrow_range)
  return scale, zero_point.astype(jnp.int32) - 2 ** (bits - 1)


def fake_quant(
  x: jax.Array,
  minimum: jax.Array,
  maximum: jax.Array,
  *,
  bits: int = 8,
  narrow_range: bool = False,
  rounding: str = 'half_up',
  units: Units | None = None,
) -> jax.Array:
  """Rounds x to the steps of a range; the gradient goes straight through.

  Equal to `tf.quantization.fake_quant_with_min_max_vars`: the range is nudged
  but not extended, so one that does not contain 0 is shifted to touch it. A
  range narrower than `MIN_WIDTH`, where that op gives 0 or NaN, is given that
  width.

  Args:
    x: any shape, floating; computed in float32, returned in its own type.
    minimum, maximum: [], real values.
    bits, narrow_range: see above.
    rounding: one of `ROUNDINGS`; TensorFlow's is 'half_up'.
    units: as of `round_steps`.

  Returns:
    x's shape and dtype. The cotangent reaches x inside the nudged range
    (limits included), minimum below it and maximum above it, summed.

  Raises:
    ValueError: if bits is not in 2..16 or the range is no pair of scalars.
  """
  minimum = jnp.asarray(minimum, jnp.float32)
  maximum = jnp.asarray(maximum, jnp.float32)
  if minimum.shape or maximum.shape:
    raise ValueError(
      f'the range has shapes {minimum.shape} and {maximum.shape}; an array '
      'has one range, and both its ends are scalars'
    )
  return _fake_quant(x, minimum, maximum, units, bits, narrow_range, rounding)


@jax.custom_vjp
def straight_through(x: jax.Array, rounded: jax.Array) -> jax.Array:
  """Returns `rounded`, of x's shape and in its type; the gradient is x's."""
  return rounded.astype(x.dtype)


straight_through.defvjp(
  lambda x, rounded: (straight_through(x, rounded), None),
  lambda _, g: (g, None),
)


def divide(x: jax.Array, step: jax.Array) -> jax.Array:
  """Returns x / step, where XLA would multiply with the inverse.

  Args:
    x: [..., C] float32.
    step: [] or [C] float32.
  """
  # It does so for a uniform divisor, which a select is not.
  return x / jnp.where(jnp.isnan(x), 1, step)


def widest_weight(kernel: jax.Array, *, per_channel: bool) -> jax.Array:
  """Returns the largest magnitude among weights, [O] or [] float32.

  It is 2^-22 relative more, so that TensorFlow's operation, given the range
  from -w to w, has the largest weight inside after its roundings. It carries no
  gradient.

  Args:
    kernel: [..., O]; the last axis is the output channel, also of depthwise
      kernels [kh, kw, 1, C].
    per_channel: one for each output channel, else one for all.
  """
  if isinstance(kernel, jax.Array):
    kernel = jax.lax.stop_gradient(kernel)
  xp = exact.namespace(kernel)
  axes = tuple(range(kernel.ndim - 1)) if per_channel else None
  return xp.max(xp.abs(kernel.astype(np.float32)), axes) * _KERNEL_MARGIN


def _unsigned_limits(bits, narrow_range):
  check_value('bits', bits, range(2, 17))
  return (1 if narrow_range else 0), 2**bits - 1


def _nudge(minimum, maximum, bits, narrow_range):
  """Returns the scale and the unsigned zero point, float32."""
  qmin, qmax = (np.float32(q) for q in _unsigned_limits(bits, narrow_range))
  width = jnp.maximum(maximum - minimum, MIN_WIDTH)
  # Behind a barrier, or XLA multiplies with the inverse instead.
  steps = jax.lax.optimization_barrier(jnp.full(width.shape, qmax - qmin))
  scale = width / steps
  zero_point = jnp.clip(qmin - minimum / scale, qmin, qmax)
  # Half away from zero; floor(z + 0.5) would round 0.49999997 up.
  floor = jnp.floor(zero_point)
  zero_point = floor + (zero_point - floor >= 0.5)
  return scale, zero_point


def _nudged_limits(scale, zero_point, bits, narrow_range):
  qmin, qmax = _unsigned_limits(bits, narrow_range)
  low = jnp.minimum((qmin - zero_point) * scale, 0)
  high = jnp.maximum((qmax - zero_point) * scale, 0)
  return low, high


# They differ at a half alone.
_ONCE = {
  'half_up': lambda steps: jnp.floor(steps + 0.5),
  'half_away': lambda steps: jnp.trunc(steps + jnp.copysign(0.5, steps)),
  'half_even': jnp.round,
}
ROUNDINGS = (*_ONCE, 'double')


def round_steps(
  steps: jax.Array,
  rounding: str,
  scale: jax.Array | None = None,
  units: Units | None = None,
) -> jax.Array:
  """Rounds to whole steps from real 0, as fake quantization or a kernel does.

  'double' is the kernels' double rounding of `total * m`, of an integer total
  and a multiplier m in [2^(-k-1), 2^-k): first to the 2^k-th part of a step,
  halves up, then to a step, halves away from 0 (docs/integer_arithmetic.md).
  Without units, halves go away from 0.

  Args:
    steps: [..., C] float32.
    rounding: one of `ROUNDINGS`.
    scale: [] float32, the real value of one step; for `units` alone.
    units: the real value of 1 in the total, and another for negative results
      where these have one; m is a unit over the scale.
  """
  if rounding != 'double':
    return _ONCE[rounding](steps)
  if units is not None:
    parts, part = _parts_of_a_step(units[0] / scale)
    if len(units) > 1:
      below, negative = _parts_of_a_step(units[1] / scale), steps < 0
      parts = jnp.where(negative, below[0], parts)
      part = jnp.where(negative, below[1], part)
    steps = _ONCE['half_up'](steps * parts) * part
  return _ONCE['half_away'](steps)


def _parts_of_a_step(multiplier: jax.Array) -> tuple[jax.Array, jax.Array]:
  """2^k and 2^-k, of a multiplier in [2^(-k-1), 2^-k); 1 for larger ones."""
  _, exponent = jnp.frexp(jax.lax.stop_gradient(multiplier))
  power = jnp.maximum(-exponent, 0)
  one = jnp.float32(1)
  return jnp.ldexp(one, power), jnp.ldexp(one, -power)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _fake_quant(x, minimum, maximum, units, bits, narrow_range, rounding):
  operands = x, minimum, maximum, units
  return _fake_quant_fwd(*operands, bits, narrow_range, rounding)[0]


def _fake_quant_fwd(x, minimum, maximum, units, bits, narrow_range, rounding):
  scale, zero_point = _nudge(minimum, maximum, bits, narrow_range)
  low, high = _nudged_limits(scale, zero_point, bits, narrow_range)
  shifted = jnp.clip(jnp.asarray(x, jnp.float32), low, high) - low
  # Whole steps from real 0, given those from `low`.
  qmin, _ = _unsigned_limits(bits, narrow_range)
  steps = divide(shifted, scale) - (zero_point - qmin)
  y = round_steps(steps, rounding, scale, units) * scale
  return y.astype(x.dtype), (x, low, high)


def _fake_quant_bwd(bits, narrow_range, rounding, residuals, g):
  del bits, narrow_range, rounding
  x, low, high = residuals
  below, above = x < low, x > high
  # The sums are dead code wherever the range carries no gradient.
  g_minimum = jnp.sum(jnp.where(below, g, 0), dtype=jnp.float32)
  g_maximum = jnp.sum(jnp.where(above, g, 0), dtype=jnp.float32)
  return jnp.where(below | above, 0, g), g_minimum, g_maximum, None


_fake_quant.defvjp(_fake_quant_fwd, _fake_quant_bwd)
