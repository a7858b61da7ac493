import fractions
import math

import integer_oracle as oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.integer import arithmetic

INT32 = np.iinfo(np.int32)
EDGES = np.array(
  [
    sign * (2**power + delta)
    for power in (0, 1, 15, 16, 30, 31)
    for sign in (-1, 1)
    for delta in (-1, 0, 1)
  ],
  np.int64,
)


EDGES = EDGES[(INT32.min <= EDGES) & (INT32.max >= EDGES)]


def tie_heavy(rng, q31, reach, size):
  """x near which x * q31 / 2^31 lies on or beside a half, |x| <= reach."""
  wanted = rng.integers(-reach, reach, size, endpoint=True) + 0.5
  x = np.round(wanted * 2.0**31 / np.maximum(q31, 1)).astype(np.int64)
  x += rng.integers(-1, 1, size, endpoint=True)
  return np.clip(x, -reach, reach)


def mixed_inputs(rng, q31, reach, size):
  """Half random, half beside ties, and the ends of the range."""
  x = rng.integers(-reach, reach, size, endpoint=True)
  x[::2] = tie_heavy(rng, q31[::2], reach, x[::2].shape)
  x[:4] = np.array([0, reach, -reach, 1]).reshape(4, *[1] * (x.ndim - 1))
  return x


def python_rescale(x, q31, shift):
  """Double rounding of one value in rational arithmetic, from its meaning."""
  high = math.floor(
    fractions.Fraction((x << max(shift, 0)) * q31, 2**31)
    + fractions.Fraction(1, 2)
  )
  divided = fractions.Fraction(abs(high), 2 ** max(-shift, 0))
  away = math.floor(divided + fractions.Fraction(1, 2))
  return away if high >= 0 else -away


def test_srdhm_equals_64_bit_arithmetic_for_all_kinds_of_int32():
  rng = np.random.default_rng(0)
  a, b = np.meshgrid(EDGES, EDGES)
  a, b = a.ravel(), b.ravel()
  for _ in range(4):
    random_b = rng.integers(INT32.min, INT32.max, 200_000, endpoint=True)
    small = random_b >> rng.integers(0, 31, random_b.size)
    random_a = rng.integers(INT32.min, INT32.max, small.size, endpoint=True)
    ties = tie_heavy(rng, np.abs(random_b) + 1, INT32.max, random_b.shape)
    a = np.concatenate([a, random_a, ties])
    b = np.concatenate([b, small, random_b])
  got = jax.jit(arithmetic.srdhm)(a.astype(np.int32), b.astype(np.int32))
  np.testing.assert_array_equal(got, oracle.srdhm(a, b))


def test_rdbpot_equals_64_bit_arithmetic_at_every_exponent():
  rng = np.random.default_rng(1)
  exponent = np.arange(32)
  x = rng.integers(INT32.min, INT32.max, (20_000, 32), endpoint=True)
  # Odd multiples of half the divisor are exact ties.
  half = np.maximum(1 << exponent >> 1, 1)
  odd = 2 * (x[:8_000] // 2 // half) + 1
  x[:8_000] = np.clip(odd * half, INT32.min, INT32.max)
  x[: EDGES.size] = EDGES[:, None]
  got = jax.jit(arithmetic.rdbpot)(
    x.astype(np.int32), exponent.astype(np.int32)
  )
  np.testing.assert_array_equal(got, oracle.rdbpot(x, exponent))


@pytest.mark.parametrize(
  'reach',
  [255, 2**15, 2**15 + 1, 2**16, 2**24, 2**29, 2**30 - 1, 2**30, INT32.max],
)
def test_rescaling_is_exact_at_every_reach_on_random_and_tied_inputs(reach):
  rng = np.random.default_rng(reach)
  channels = 64
  q31 = rng.integers(2**30, 2**31, channels)
  q31[:8] = [2**30, 2**30 + 1, 2**31 - 1, 2**31 - 2, 0, 1, 2**16, 3 << 29]
  q31[8] = 0x7FFF0000
  q31[9] = 0x4000FFFF
  shift = rng.integers(-31, 1, channels)
  shift[:10] = [0, -1, -31, -30, 0, -1, 0, 0, 0, 0]
  x = mixed_inputs(
    rng, np.broadcast_to(q31, (4_000, channels)), reach, (4_000, channels)
  )
  # Half of the rest: ties of the second rounding, through the first.
  right = np.minimum(-shift, 20)
  wanted = (rng.integers(-9, 9, (1_500, channels)) + 0.5) * 2.0**right
  second = np.round(wanted * 2.0**31 / np.maximum(q31, 1))
  x[2_500:] = np.clip(second, -reach, reach).astype(np.int64)
  got = jax.jit(
    lambda x: arithmetic.multiply_by_quantized_multiplier(
      x, q31, shift, reach=reach
    )
  )(x.astype(np.int32))
  np.testing.assert_array_equal(got, oracle.rescale(x, q31, shift))


def test_rescaling_equals_python_integers_on_a_million_values():
  rng = np.random.default_rng(3)
  channels, rows = 50, 20_000
  q31 = rng.integers(2**30, 2**31, channels)
  shift = rng.integers(-14, 0, channels)
  reach = 2**24
  x = mixed_inputs(
    rng, np.broadcast_to(q31, (rows, channels)), reach, (rows, channels)
  )
  got = np.asarray(
    arithmetic.multiply_by_quantized_multiplier(
      jnp.asarray(x, jnp.int32), q31, shift, reach=reach
    )
  )
  assert got.size >= 1_000_000
  for channel in range(channels):
    q, right = int(q31[channel]), -int(shift[channel])
    half = 1 << right - 1
    wanted = []
    for value in x[:, channel].tolist():
      high = value * q + 2**30 >> 31  # Python's integers have no limit.
      rounded = abs(high) + half >> right
      wanted.append(rounded if high >= 0 else -rounded)
    np.testing.assert_array_equal(got[:, channel], wanted)


def test_oracle_equals_rational_arithmetic():
  rng = np.random.default_rng(4)
  for _ in range(3_000):
    q31 = int(rng.integers(2**29, 2**31))
    shift = int(rng.integers(-31, 4))
    x = int(rng.integers(-(2**27), 2**27)) >> int(rng.integers(0, 27))
    assert oracle.rescale(x, q31, shift) == python_rescale(x, q31, shift)


def test_multipliers_above_one_shift_left_first():
  rng = np.random.default_rng(5)
  q31 = rng.integers(2**30, 2**31, 32)
  shift = rng.integers(-3, 16, 32)
  x = rng.integers(-(2**15), 2**15, (4_000, 32))
  x[:2] = [[2**15], [-(2**15)]]
  for reach in (2**15, 2**31):
    got = arithmetic.multiply_by_quantized_multiplier(
      jnp.asarray(x, jnp.int32), q31, shift, reach=reach
    )
    np.testing.assert_array_equal(got, oracle.rescale(x, q31, shift))


def test_inverse_square_root_equals_the_kernel_and_is_accurate():
  rng = np.random.default_rng(7)
  powers = [2**k + d for k in range(31) for d in (-1, 0, 1)]
  values = np.array(
    [*range(300), *powers, *(2 ** rng.uniform(0, 31, 3_000))], np.int64
  )
  values = values[values <= INT32.max]
  q31, shift = jax.jit(arithmetic.inv_sqrt_multiplier)(values.astype(np.int32))
  wanted = [oracle.inv_sqrt(int(value)) for value in values]
  np.testing.assert_array_equal(np.stack([q31, shift], 1), wanted)
  real = np.asarray(q31) * 2.0 ** (np.asarray(shift) - 31.0)
  # Five Newton steps from 1 leave at most 1e-4 at the ends of [1/4, 1).
  np.testing.assert_allclose(
    real * np.sqrt(np.maximum(values, 1)), 1, rtol=1e-4
  )
