"""Affine quantization of arrays: ranges, rounding, straight-through gradients.

`real = scale * (q - zero_point)`. Ranges live in the unsigned domain of
TensorFlow's fake quantization ops, `q` in [1 if narrow_range else 0,
2^bits - 1]; the signed integer of a runtime is that minus 2^(bits - 1).

Every operation is in the order of TensorFlow's kernel, so that its ops are an
independent reference, bit for bit. A compiler may contract `a * b + c` into
one rounding, which moves ties; where that would matter a `minimum` or
`maximum` that changes no value stands between the product and the sum.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Real width below which a range holds no information (a dead channel).
MIN_WIDTH = 1e-6

# Nudging rounds scale and limit once each, 2^-24 relative: a kernel range this
# much wider surely keeps the largest weight inside, and with it its gradient.
_KERNEL_MARGIN = 1 + 2.0**-22


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
    bits: 2..16.
    narrow_range: leaves out the lowest integer, for symmetric weights.

  Returns:
    scale: float32, real value of one step, always positive; zero_point:
    int32, signed, in `signed_limits(bits, narrow_range)`.

  Raises:
    ValueError: if bits is not in 2..16.
  """
  minimum = jnp.minimum(jnp.asarray(minimum, jnp.float32), 0)
  maximum = jnp.maximum(jnp.asarray(maximum, jnp.float32), 0)
  scale, _, zero_point = _nudge(minimum, maximum, bits, narrow_range)
  return scale, zero_point.astype(jnp.int32) - 2 ** (bits - 1)


def fake_quant(
  x: jax.Array,
  minimum: jax.Array,
  maximum: jax.Array,
  *,
  bits: int = 8,
  narrow_range: bool = False,
  rounding: str = 'half_up',
) -> jax.Array:
  """Rounds x to the steps of a range; the gradient goes straight through.

  Equal to `tf.quantization.fake_quant_with_min_max_vars` (scalar range) and
  `..._per_channel` ([C] range). The range is nudged but, as there, not
  extended: pass one that contains 0 (observers and `kernel_range` give such),
  or it is shifted to touch 0. A range narrower than `MIN_WIDTH`, where those
  ops give 0 or NaN, is given that width.

  Args:
    x: [..., C], floating; computed in float32, returned in its own type.
    minimum: [] or [C], real value.
    maximum: same shape.
    bits: 2..16.
    narrow_range: leaves out the lowest integer.
    rounding: where an integer's half goes, a key of `ROUNDINGS`; 'half_up' is
      that of the TensorFlow operations.

  Returns:
    x's shape and dtype. The cotangent reaches x inside the nudged range
    (limits included), minimum below it and maximum above it, summed.

  Raises:
    ValueError: if bits is not in 2..16 or the range's shape does not fit x.
  """
  minimum = jnp.asarray(minimum, jnp.float32)
  maximum = jnp.asarray(maximum, jnp.float32)
  _check_range_shape(x, minimum, maximum)
  return _fake_quant(x, minimum, maximum, bits, narrow_range, rounding)


def quantize(
  x: jax.Array,
  scale: jax.Array,
  zero_point: jax.Array,
  *,
  bits: int,
  narrow_range: bool = False,
) -> jax.Array:
  """Returns the signed integers of real values, int32: floor(x / scale + 0.5).

  With the scale and zero point of `nudged_params` it gives exactly the steps
  of a scalar-range `fake_quant`. With a [C] range, whose reference multiplies
  with the inverse scale, values that are a float32 rounding away from a tie
  may land one step apart; `quantize(fake_quant(x))` is exact for both.

  Args:
    x: [..., C], real values.
    scale: [] or [C] float32, real value of one step.
    zero_point: same shape, int32, signed.
    bits: 2..16.
    narrow_range: leaves out the lowest integer.

  Raises:
    ValueError: if bits is not in 2..16.
  """
  # Constants would be folded into sums that round differently.
  scale, signed = jax.lax.optimization_barrier(
    (jnp.asarray(scale, jnp.float32), jnp.asarray(zero_point, jnp.int32))
  )
  unsigned = (signed + 2 ** (bits - 1)).astype(jnp.float32)
  low, high = _nudged_limits(scale, unsigned, bits, narrow_range)
  steps = divide(_shift(x, low, high), scale)
  steps = _round(steps, unsigned, bits, narrow_range)
  return steps.astype(jnp.int32) + signed


def dequantize(
  q: jax.Array, scale: jax.Array, zero_point: jax.Array
) -> jax.Array:
  """Returns the real values `scale * (q - zero_point)`, float32.

  Args:
    q: [..., C] integers, signed.
    scale: [] or [C] float32, real value of one step.
    zero_point: same shape, int32, signed.
  """
  steps = jnp.asarray(q, jnp.int32) - jnp.asarray(zero_point, jnp.int32)
  return steps.astype(jnp.float32) * jnp.asarray(scale, jnp.float32)


def divide(x: jax.Array, step: jax.Array) -> jax.Array:
  """Returns x / step, where XLA would multiply with the inverse.

  Args:
    x: [..., C] float32.
    step: [] or [C] float32.
  """
  # It does so for a divisor that is the same everywhere, which a select is
  # not.
  return x / jnp.where(jnp.isnan(x), 1, step)


def kernel_range(
  kernel: jax.Array, *, per_channel: bool, symmetric: bool = True
) -> tuple[jax.Array, jax.Array]:
  """Returns the range of a kernel's weights, always containing 0.

  A hair (2^-22 relative) wider than the weights, as the rounding of the scale
  could otherwise leave the largest weight just outside and without gradient.
  No gradient flows through the range itself.

  Args:
    kernel: [..., O]; the last axis is the output channel, also of depthwise
      kernels [kh, kw, 1, C].
    per_channel: one range per output channel, else one for all.
    symmetric: (-m, m) with m = max |kernel|; with narrow range the zero point
      is then exactly 0.

  Returns:
    (minimum, maximum): [O] or [] float32, real values.
  """
  kernel = jax.lax.stop_gradient(kernel).astype(jnp.float32)
  axes = tuple(range(kernel.ndim - 1)) if per_channel else None
  minimum = jnp.minimum(jnp.min(kernel, axes), 0) * _KERNEL_MARGIN
  maximum = jnp.maximum(jnp.max(kernel, axes), 0) * _KERNEL_MARGIN
  if symmetric:
    maximum = jnp.maximum(jnp.maximum(maximum, -minimum), MIN_WIDTH / 2)
    minimum = -maximum
  return minimum, maximum


def _unsigned_limits(bits, narrow_range):
  if bits not in range(2, 17):
    raise ValueError(f'bits is {bits!r}; choose a whole number from 2 to 16.')
  return (1 if narrow_range else 0), 2**bits - 1


def _check_range_shape(x, minimum, maximum):
  fits = minimum.shape == () or minimum.shape == x.shape[-1:]
  if minimum.shape != maximum.shape or not fits:
    raise ValueError(
      f'the range has shapes {minimum.shape} and {maximum.shape} for an array '
      f'of shape {x.shape}; both must be scalars or both {x.shape[-1:]}.'
    )


def _nudge(minimum, maximum, bits, narrow_range):
  """Returns the scale, its inverse and the unsigned zero point, float32."""
  qmin, qmax = (np.float32(q) for q in _unsigned_limits(bits, narrow_range))
  width = jnp.maximum(maximum - minimum, MIN_WIDTH)
  # Behind a barrier, or XLA multiplies with the inverse instead.
  steps = jax.lax.optimization_barrier(jnp.full(width.shape, qmax - qmin))
  scale = width / steps
  zero_point = jnp.clip(qmin - minimum / scale, qmin, qmax)
  # Half away from zero; floor(z + 0.5) would round 0.49999997 up.
  floor = jnp.floor(zero_point)
  zero_point = floor + (zero_point - floor >= 0.5)
  return scale, steps / width, zero_point


def _nudged_limits(scale, zero_point, bits, narrow_range):
  qmin, qmax = _unsigned_limits(bits, narrow_range)
  low = jnp.minimum((qmin - zero_point) * scale, 0)
  high = jnp.maximum((qmax - zero_point) * scale, 0)
  return low, high


def _shift(x, low, high):
  return jnp.clip(jnp.asarray(x, jnp.float32), low, high) - low


# Whole steps from real 0; they differ at a half alone.
ROUNDINGS = {
  'half_up': lambda steps: jnp.floor(steps + 0.5),
  'half_away': lambda steps: jnp.trunc(steps + jnp.copysign(0.5, steps)),
  'half_even': jnp.round,
}


def _round(steps, zero_point, bits, narrow_range, rounding='half_up'):
  """Returns whole steps from real 0, given real-valued steps from `low`."""
  qmin, _ = _unsigned_limits(bits, narrow_range)
  return ROUNDINGS[rounding](steps - (zero_point - qmin))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _fake_quant(x, minimum, maximum, bits, narrow_range, rounding):
  operands = x, minimum, maximum
  return _fake_quant_fwd(*operands, bits, narrow_range, rounding)[0]


def _fake_quant_fwd(x, minimum, maximum, bits, narrow_range, rounding):
  scale, inverse_scale, zero_point = _nudge(
    minimum, maximum, bits, narrow_range
  )
  low, high = _nudged_limits(scale, zero_point, bits, narrow_range)
  shifted = _shift(x, low, high)
  # The two reference kernels differ here: one divides, one multiplies.
  if minimum.ndim == 0:
    steps = divide(shifted, scale)
  else:
    steps = jnp.maximum(shifted * inverse_scale, 0)
  y = _round(steps, zero_point, bits, narrow_range, rounding) * scale
  return y.astype(x.dtype), (x, low, high)


def _fake_quant_bwd(bits, narrow_range, rounding, residuals, g):
  del bits, narrow_range, rounding
  x, low, high = residuals
  below, above = x < low, x > high
  # The sums are dead code wherever the range carries no gradient.
  axes = tuple(range(x.ndim - low.ndim))
  g_minimum = jnp.sum(jnp.where(below, g, 0), axes, dtype=jnp.float32)
  g_maximum = jnp.sum(jnp.where(above, g, 0), axes, dtype=jnp.float32)
  return jnp.where(below | above, 0, g), g_minimum, g_maximum


_fake_quant.defvjp(_fake_quant_fwd, _fake_quant_bwd)
