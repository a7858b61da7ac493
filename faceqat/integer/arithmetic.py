"""Fixed-point arithmetic in int32 and uint32 alone: no float, no 64 bits.

The rules are those of the TFLite reference kernels ("double rounding"). A
32 x 32 -> 64 bit product is taken apart into 16-bit limbs. All functions are
exact for the inputs they state, also where int32 intermediates wrap around.
"""

import jax
import jax.numpy as jnp
import numpy as np

INT32_REACH = 2**31  # The largest magnitude of any int32.

# Up to these magnitudes of x the products below fit int32 with fewer limbs.
_ONE_LIMB_REACH = 2**15
_TWO_LIMB_REACH = 2**30 - 1

_NEWTON_STEPS = 5
_HALF_SQRT_2 = np.int32(1518500250)  # sqrt(1/2) in 31 fractional bits.
_ONE_F3 = np.int32(1 << 28)  # 1.0 with 3 integer and 28 fractional bits.
_THREE_HALVES_F3 = np.int32((1 << 28) + (1 << 27))


def _i32(value) -> np.ndarray | jax.Array:
  """int32 of a host constant; arrays on the device pass through."""
  return value if isinstance(value, jax.Array) else np.asarray(value, np.int32)


def srdhm(a, b) -> jax.Array:
  """Saturating rounding doubling high multiply: `round(a * b / 2^31)`.

  Halves go up (toward +infinity), which is what the kernels' truncation with
  a sign-dependent nudge amounts to: floor((a * b + 2^30) / 2^31).

  Args:
    a, b: any int32, broadcast against each other.

  Returns:
    int32; -2^31 times itself gives 2^31 - 1.

  Source: `SaturatingRoundingDoublingHighMul` of gemmlowp.
  """
  a, b = jnp.asarray(_i32(a)), jnp.asarray(_i32(b))
  # a = high * 2^16 + low, low in [-2^15, 2^15); b's low limb is unsigned.
  high = (a >> 16) + ((a >> 15) & 1)
  low = a - (high << 16)
  b_high, b_low = b >> 16, b & 0xFFFF
  # Sum of the two middle products and the carry from the low one: 33 bits,
  # so its upper and lower 15 bits are added apart.
  first = high * b_low
  second = low * b_high + ((low * b_low) >> 16)
  carry = ((first & 0x7FFF) + (second & 0x7FFF) + (1 << 14)) >> 15
  result = high * b_high * 2 + (first >> 15) + (second >> 15) + carry
  lowest = np.int32(-(2**31))
  saturates = (a == lowest) & (b == lowest)
  return jnp.where(saturates, np.int32(2**31 - 1), result)


def _srdhm_within(x: jax.Array, q31: np.ndarray, reach: int) -> jax.Array:
  """`srdhm(x, q31)` for |x| <= reach and a constant q31 >= 0."""
  if reach > _TWO_LIMB_REACH:
    return srdhm(x, q31)
  q_high, q_low = _i32(q31 >> 16), _i32(q31 & 0xFFFF)
  if reach <= _ONE_LIMB_REACH:
    # |x * q_low| < 2^31 and |x * q_high| < 2^30.
    return (x * q_high + ((x * q_low) >> 16) + (1 << 14)) >> 15
  # As in srdhm, but |high| <= 2^14 keeps the middle sum within 31 bits: it is
  # at least -2^14 * 65535 - 2^15 * 32767 - 2^15 > -2^31, and its greatest
  # value, with the 2^14 for rounding, is below 2^31 - 2^14.
  high = (x + (1 << 15)) >> 16
  low = x - (high << 16)
  middle = high * q_low + low * q_high + ((low * q_low) >> 16)
  return high * (q_high * 2) + ((middle + (1 << 14)) >> 15)


def rdbpot(x, exponent) -> jax.Array:
  """Rounding divide by a power of two: halves away from zero.

  Args:
    x: any int32.
    exponent: int32 in [0, 31], broadcast against x.

  Source: `RoundingDivideByPOT` of gemmlowp.
  """
  x, exponent = jnp.asarray(_i32(x)), jnp.asarray(_i32(exponent))
  # 2^31 - 1 for exponent 31, where a shifted 1 would not fit.
  mask = ~(np.int32(-1) << exponent) & np.int32(2**31 - 1)
  threshold = (mask >> 1) + (x < 0).astype(jnp.int32)
  return (x >> exponent) + ((x & mask) > threshold).astype(jnp.int32)


def _rdbpot_within(x: jax.Array, exponent: np.ndarray) -> jax.Array:
  """`rdbpot` for |x| < 2^30 and a constant exponent: adds half, shifts."""
  exponent = np.asarray(exponent, np.int64)
  if not exponent.any():
    return x
  half = np.where(exponent > 0, 1 << np.maximum(exponent - 1, 0), 0)
  # -1 for negative x makes halves go down; not where nothing is divided.
  sign = x >> 31
  if not exponent.all():
    sign = sign & _i32(np.where(exponent > 0, -1, 0))
  return (x + _i32(half) + sign) >> _i32(exponent)


def multiply_by_quantized_multiplier(
  x: jax.Array, q31, shift, *, reach: int = INT32_REACH
) -> jax.Array:
  """`x * q31 * 2^(shift - 31)` with double rounding.

  Args:
    x: int32 [..., C]; |x| * 2^max(shift, 0) must stay below 2^31.
    q31: host int or int32 [C], in [0, 2^31).
    shift: host int or int32 [C], in [-31, 30].
    reach: largest |x| that can occur, as an accumulator bound proves it. A
      smaller one buys a cheaper form, never another result.

  Returns:
    int32 [..., C].

  Source: `MultiplyByQuantizedMultiplier` of TFLite, without single rounding.
  """
  q31, shift = np.asarray(q31, np.int64), np.asarray(shift, np.int64)
  left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
  reach = reach << int(left.max())
  if left.any():
    x = x << _i32(left)
  # A q31 below 2^31 never makes a number larger, but for its rounding.
  high = _srdhm_within(x, q31, reach)
  if reach > _TWO_LIMB_REACH:
    return rdbpot(high, right)
  return _rdbpot_within(high, right)


def inv_sqrt_multiplier(value: jax.Array) -> tuple[jax.Array, jax.Array]:
  """1 / sqrt(value) as a fixed-point multiplier, by five Newton steps.

  Args:
    value: int32 >= 0; 0 counts as 1.

  Returns:
    (q31, shift), int32: `1 / sqrt(value) ~ q31 * 2^(shift - 31)`, shift <= 0.

  Source: `GetInvSqrtQuantizedMultiplierExp` of TFLite with reverse shift -1;
  fixed-point products as in gemmlowp.
  """
  large = value >= 1 << 29
  scaled = jnp.where(large, value >> 2, value)
  # At least 2, so that a value of 0 or 1 cannot shift by a negative number.
  scaled = jnp.maximum(scaled, 2)
  pairs = ((jax.lax.clz(scaled) - 1) >> 1) - 1
  shift = 11 + large.astype(jnp.int32) - pairs
  # Now in [2^27, 2^29); half of it is the argument in F3: [1/4, 1).
  argument = (scaled << (2 * pairs)) >> 1
  half_argument = rdbpot(argument, 1)
  x = jnp.full_like(value, _ONE_F3)
  for _ in range(_NEWTON_STEPS):
    cube = _shift_left_saturating(srdhm(srdhm(x, x), x), 6)
    x = _shift_left_saturating(
      srdhm(_THREE_HALVES_F3, x) - srdhm(half_argument, cube), 3
    )
  q31 = srdhm(x, _HALF_SQRT_2) << jnp.maximum(-shift, 0)
  one = value <= 1
  return (
    jnp.where(one, np.int32(2**31 - 1), q31),
    jnp.where(one, np.int32(0), jnp.minimum(-shift, 0)),
  )


def _shift_left_saturating(x: jax.Array, exponent: int) -> jax.Array:
  """`x * 2^exponent`, cut at the limits of int32."""
  limit = np.int32((1 << (31 - exponent)) - 1)
  shifted = jnp.where(x > limit, np.int32(2**31 - 1), x << exponent)
  return jnp.where(x < -limit, np.int32(-(2**31)), shifted)
