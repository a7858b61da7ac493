"""Counts and ranges of a histogram are exact, or within one of its bins."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.quant import histogram, numerics
from faceqat.quant.histogram import BINS

count = jax.jit(histogram.add)
percentile_limits = jax.jit(histogram.percentile_limits, static_argnums=1)
least_error_limits = jax.jit(
  histogram.least_error_limits, static_argnames=('bits', 'symmetric')
)


def draw(name, size=20_000):
  rng = np.random.default_rng(5)
  values = {
    'normal': lambda: rng.normal(size=size),
    'relu': lambda: np.maximum(rng.normal(size=size), 0),
    'negative': lambda: -rng.gamma(2, 3, size),
    'laplace': lambda: rng.laplace(0.3, 2, size),
    'heavy': lambda: rng.standard_t(3, size),
    'skewed': lambda: rng.lognormal(0, 1, size) - 1,
    'outlier': lambda: np.append(rng.normal(size=size), 100),
    'tiny': lambda: 1e-12 * rng.normal(size=size),
    'huge': lambda: 1e12 * rng.normal(size=size),
  }[name]()
  return values.astype(np.float32)


DRAWS = ('normal', 'relu', 'negative', 'laplace', 'heavy', 'skewed', 'outlier')
SCALED = ('tiny', 'huge')


def seen(*batches):
  found = histogram.initial_histogram()
  for batch in batches:
    found = count(found, jnp.asarray(batch))
  return found


@functools.cache
def seen_of(name, size=20_000):
  return seen(draw(name, size))


def width(found):
  return float(histogram.edges(found)[1] - histogram.edges(found)[0])


@pytest.mark.parametrize('name', DRAWS + SCALED)
def test_each_bin_holds_what_lies_between_its_limits(name):
  values, found = draw(name), seen_of(name)
  limits = np.asarray(histogram.edges(found), np.float64)
  expected, _ = np.histogram(values.astype(np.float64), limits)
  # np.histogram closes its last bin on both sides; the value is not in it.
  np.testing.assert_array_equal(histogram.counts(found), expected)
  assert int(histogram.counts(found).sum()) == values.size
  assert float(found.lowest) == min(values.min(), 0)
  assert float(found.highest) == max(values.max(), 0)
  # More than half of the bins lie between the extremes: none could be halved.
  assert (found.highest - found.lowest) / width(found) > BINS / 2 - 2
  assert np.log2(width(found)) % 1 == 0


@pytest.mark.parametrize('name', DRAWS + SCALED)
def test_how_values_are_split_and_ordered_does_not_matter(name):
  values = draw(name, 3000)
  # From small to large: the range grows many times, and at first from zeros.
  rising = values[np.argsort(np.abs(values))]
  for batches in (
    np.split(values, [1, 17, 1000]),
    np.split(rising, [1, 2, 3, 10, 100, 2000]),
    np.split(rising[::-1], [5, 1500]),
    [np.zeros(3, np.float32), rising[:7], rising[7:]],
  ):
    apart, together = seen(*batches), seen(np.concatenate(batches))
    for part, whole in zip(apart, together):
      np.testing.assert_array_equal(part, whole)


def test_values_on_the_limits_of_bins_move_up_together():
  # Multiples of a power of two, of which each is the lower limit of a bin.
  values = np.arange(-700, 900, dtype=np.float32) / 8
  together = seen(values)
  assert width(together) == 1 / 8
  np.testing.assert_array_equal(histogram.counts(together)[:1600], 1)
  wider = seen(values, [1000.0])
  counted = histogram.counts(wider)
  assert width(wider) == 1
  # -87.5, of which there are five, then eight to a bin.
  np.testing.assert_array_equal(counted[:3], [4, 8, 8])
  assert counted.sum() == 1601


def test_counts_do_not_overflow_where_words_carry():
  batch = jnp.zeros(40_000)
  found = histogram.initial_histogram()
  for _ in range(5):
    found = count(found, batch)
  assert histogram.counts(found)[0] == 200_000
  assert found.words[0].max() < 2**16
  # As after 2^44 values, which no int32 holds.
  full = found._replace(words=found.words.at[:, 0].set((2**16 - 1, 2**28)))
  more = count(full, batch)
  assert more.words[:, 0].tolist() == [39_999, 2**28 + 1]
  # As many as there can be, all into one bin.
  full = seen([2047.0])
  full = full._replace(words=jnp.full((2, BINS), 2**16 - 1, jnp.int32))
  joined = count(full, jnp.asarray([2.0**30]))
  low, high = map(int, joined.words[:, 0])
  assert high * 2**16 + low == BINS * (2**32 - 1)


@pytest.mark.parametrize('percentile', [50.1, 90.0, 99.0, 99.9, 99.99, 100.0])
@pytest.mark.parametrize('name', DRAWS + SCALED)
def test_percentiles_are_those_of_numpy_within_a_bin(name, percentile):
  # Of so many none of the shares is a whole number, which rounding could move.
  values, found = draw(name, 19_997), seen_of(name, 19_997)
  low, high = percentile_limits(found, percentile)
  one_bin = width(found) * (1 + 1e-6)
  upper = np.percentile(values, percentile, method='inverted_cdf')
  lower = -np.percentile(-values, percentile, method='inverted_cdf')
  assert max(upper, 0) <= high <= max(upper, 0) + one_bin
  assert min(lower, 0) - one_bin <= low <= min(lower, 0)
  # What it promises: so much is clipped, and no more.
  allowed = values.size * (100 - percentile) / 100
  assert np.sum(values > high) <= allowed
  assert np.sum(values < low) <= allowed


@pytest.mark.parametrize('name', DRAWS)
def test_the_percentile_100_is_the_range_of_the_extremes(name):
  values = draw(name)
  low, high = percentile_limits(seen_of(name), 100.0)
  assert (low, high) == (min(values.min(), 0), max(values.max(), 0))


@functools.partial(jax.jit, static_argnames=('bits', 'symmetric'))
def squared_error(values, lows, highs, *, bits, symmetric):
  def one(limits):
    fake = numerics.fake_quant(
      values, *limits, bits=bits, narrow_range=symmetric
    )
    return jnp.mean(jnp.square(fake - values))

  return jax.lax.map(one, (lows, highs))


def every_range(found, symmetric):
  """Ranges 1/6 octave apart, over eight octaves on either side."""
  parts = 2.0 ** (-np.arange(49) / 6)
  low, high = float(found.lowest), float(found.highest)
  if symmetric:
    widest = max(-low, high) * parts
    return -widest, widest
  lows = low * np.append(parts, 0) if low else np.zeros(1)
  highs = high * np.append(parts, 0) if high else np.zeros(1)
  lows, highs = np.meshgrid(lows, highs)
  return lows.ravel(), highs.ravel()


@pytest.mark.parametrize('symmetric', [False, True])
@pytest.mark.parametrize('bits', [2, 4, 8])
@pytest.mark.parametrize('name', DRAWS)
def test_no_range_quantizes_the_values_better(name, bits, symmetric):
  values, found = draw(name, 2000), seen_of(name, 2000)
  low, high = least_error_limits(found, bits=bits, symmetric=symmetric)
  lows, highs = every_range(found, symmetric)
  errors = squared_error(
    values,
    np.append(lows, low).astype(np.float32),
    np.append(highs, high).astype(np.float32),
    bits=bits,
    symmetric=symmetric,
  )
  # Few values: where they lie within the bins is not quite evenly, and with
  # 8 bits a bin is a quarter of a step or more. With many it is below 1 %.
  assert errors[-1] <= 1.03 * errors[:-1].min()


@pytest.mark.parametrize('symmetric', [False, True])
@pytest.mark.parametrize('bits', [2, 4, 8])
@pytest.mark.parametrize('name', DRAWS)
def test_the_least_error_lies_within_the_extremes_around_zero(
  name, bits, symmetric
):
  found = seen_of(name)
  low, high = least_error_limits(found, bits=bits, symmetric=symmetric)
  if symmetric:
    assert low == -high
    assert 0 < high <= max(-found.lowest, found.highest)
  else:
    assert found.lowest <= low <= 0 <= high <= found.highest
    assert low < high


@pytest.mark.parametrize('symmetric', [False, True])
@pytest.mark.parametrize('scale', [2.0**-8, 2.0**40])
def test_the_unit_of_the_values_does_not_matter(scale, symmetric):
  values = draw('laplace')
  limits = least_error_limits(seen_of('laplace'), bits=4, symmetric=symmetric)
  scaled = least_error_limits(
    seen(values * np.float32(scale)), bits=4, symmetric=symmetric
  )
  np.testing.assert_array_equal(scaled, np.multiply(limits, scale))


@pytest.mark.parametrize('values', [[0.0], [0.0, 0.0], [-0.0]])
def test_zeros_alone_have_the_range_zero(values):
  found = seen(np.asarray(values, np.float32))
  assert histogram.counts(found).sum() == len(values)
  assert percentile_limits(found, 99.9) == (0, 0)
  for symmetric in (False, True):
    limits = least_error_limits(found, bits=8, symmetric=symmetric)
    assert np.all(np.isfinite(limits))
    assert np.all(np.abs(limits) == 0)


def test_one_value_is_kept():
  found = seen(np.full(5, 3, np.float32))
  assert percentile_limits(found, 99.0) == (0, 3)
  low, high = least_error_limits(found, bits=8, symmetric=False)
  fake = numerics.fake_quant(jnp.float32(3), low, high, bits=8)
  # A bin is 3 / 1536 wide, and where in it the value lies is not known.
  assert float(fake) == pytest.approx(3, abs=3 / 1536)
