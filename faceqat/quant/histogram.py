"""A histogram that grows with the values it sees, and ranges chosen from it.

Bin k holds the values in [k w, (k + 1) w), where w is the least power of two
for which `BINS` reach from the smallest to the largest value seen. Doubling w
joins neighbours exactly, so a histogram depends on the values alone: not on
their order, their split into batches, or their devices.

TensorRT (Migacz, 8-bit inference with TensorRT, 2017) and PyTorch's
HistogramObserver observe by histogram too; widths that are powers of two, so
that nothing is resampled, are ours.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from faceqat.quant import numerics

_LOG2_BINS = 11
BINS = 2**_LOG2_BINS

# A count is low + high * 2^16, in int32. One batch joins at most all bins, so
# the low words have room for their sum before they carry.
_WORD_BITS = 16

# The least-error search tries factors 2^(step * j), |j| <= 16, with each of
# these steps in octaves: first over a factor of 256, then finer.
_SEARCH_OCTAVES = (1 / 2, 1 / 8, 1 / 32)
_SEARCH_REACH = 16


class Histogram(NamedTuple):
  """The values of one tensor, counted.

  Attributes:
    lowest: [] float32, the smallest value seen, never above 0.
    highest: [] float32, the largest value seen, never below 0.
    words: [2, BINS] int32, low and high words of the counts; the first bin
      is that of `lowest`.
  """

  lowest: jax.Array
  highest: jax.Array
  words: jax.Array


def initial_histogram() -> Histogram:
  """Returns a histogram that has seen nothing."""
  return Histogram(
    jnp.zeros((), jnp.float32),
    jnp.zeros((), jnp.float32),
    jnp.zeros((2, BINS), jnp.int32),
  )


def add(histogram: Histogram, x: jax.Array) -> Histogram:
  """Counts the values of one more batch.

  Args:
    histogram: of the values so far.
    x: any shape, fewer than 2^31 values; under `jit` on a mesh all of the
      global array is counted, whatever its sharding.
  """
  x = jax.lax.stop_gradient(x).astype(jnp.float32)
  lowest = jnp.minimum(histogram.lowest, jnp.min(x))
  highest = jnp.maximum(histogram.highest, jnp.max(x))
  exponent, first = _grid(lowest, highest)
  old_exponent, old_first = _grid(histogram.lowest, histogram.highest)
  # Beyond 31 a shift is not defined, and 31 leaves no bit of a bin's number.
  doublings = jnp.minimum(exponent - old_exponent, 31)
  old_bins = old_first + jnp.arange(BINS)
  joined = (old_bins >> doublings) - first
  words = jnp.zeros_like(histogram.words)
  # Bins above the highest value are empty, and may lie outside the new grid.
  words = words.at[:, joined].add(histogram.words, mode='drop')
  bins = _bin(x, exponent) - first
  counts = jnp.zeros(BINS, jnp.int32).at[bins.reshape(-1)].add(1, mode='drop')
  mask = 2**_WORD_BITS - 1
  low = words[0] + (counts & mask)
  high = words[1] + (counts >> _WORD_BITS) + (low >> _WORD_BITS)
  return Histogram(lowest, highest, jnp.stack([low & mask, high]))


def counts(histogram: Histogram) -> jax.Array:
  """Returns the counts [BINS] float32; those below 2^24 are exact."""
  low, high = histogram.words.astype(jnp.float32)
  return low + high * 2.0**_WORD_BITS


def edges(histogram: Histogram) -> jax.Array:
  """Returns the limits of the bins, [BINS + 1] float32, exact."""
  exponent, first = _grid(histogram.lowest, histogram.highest)
  return (first + jnp.arange(BINS + 1)) * _power_of_two(exponent)


def percentile_limits(
  histogram: Histogram, percentile: float
) -> tuple[jax.Array, jax.Array]:
  """Returns the narrowest range of whole bins that clips little on each side.

  At most (100 - percentile) % of the values lie above it, and as many below.
  (Migacz 2017 and NVIDIA's toolkit take a percentile of |x|; two sides serve
  asymmetric layers too.)

  Args:
    histogram: of the values.
    percentile: in (50, 100]; with 100 the range is that of the extremes.

  Returns:
    (minimum, maximum): [] float32, within the extremes, and containing 0.
  """
  counted, limits = counts(histogram), edges(histogram)
  allowed = jnp.sum(counted) * ((100 - percentile) / 100)
  below = jnp.pad(jnp.cumsum(counted), (1, 0))
  above = jnp.pad(jnp.cumsum(counted[::-1])[::-1], (0, 1))
  lower = jnp.max(jnp.where(below <= allowed, limits, -jnp.inf))
  upper = jnp.min(jnp.where(above <= allowed, limits, jnp.inf))
  return (
    jnp.clip(lower, histogram.lowest, 0),
    jnp.clip(upper, 0, histogram.highest),
  )


def least_error_limits(
  histogram: Histogram, *, bits: int, symmetric: bool
) -> tuple[jax.Array, jax.Array]:
  """Returns the range whose quantization has the least mean squared error.

  The criterion is that of Sung et al. 2015 (Resiliency of deep neural networks
  under quantization) and of PyTorch's HistogramObserver. Here it is an integral
  in closed form, over values spread evenly within each bin, with the nudged
  scale and zero point. The search moves both limits together, then each alone,
  on grids of 1/2, 1/8 and 1/32 octave; of equals it takes the widest.

  Args:
    histogram: of the values.
    bits: 2..8.
    symmetric: the range is (-m, m), and narrow.

  Returns:
    (minimum, maximum): [] float32, within the extremes (symmetric: within the
    wider of them), and containing 0.
  """
  lowest, highest = histogram.lowest, histogram.highest
  if symmetric:
    highest = jnp.maximum(-lowest, highest)
    lowest = -highest
  reach = jnp.arange(_SEARCH_REACH, -_SEARCH_REACH - 1, -1)

  def search(limits, octaves):
    factors = jnp.exp2(octaves * reach)
    ones = jnp.ones_like(factors)
    alone = () if symmetric else ((factors, ones), (ones, factors))
    for low_factors, high_factors in ((factors, factors), *alone):
      lows = jnp.maximum(limits[0] * low_factors, lowest)
      highs = jnp.minimum(limits[1] * high_factors, highest)
      at = jnp.argmin(_squared_error(histogram, lows, highs, bits, symmetric))
      limits = lows[at], highs[at]
    return limits, None

  limits, _ = jax.lax.scan(
    search, (lowest, highest), jnp.asarray(_SEARCH_OCTAVES, jnp.float32)
  )
  return limits


def _squared_error(histogram, lows, highs, bits, symmetric):
  """Returns the summed squared error of each range, [C], in squared bins."""
  scale, zero_point = numerics.nudged_params(
    lows, highs, bits=bits, narrow_range=symmetric
  )
  scale, zero_point = scale[:, None], zero_point[:, None]
  qmin, qmax = numerics.signed_limits(bits, symmetric)
  steps = edges(histogram) / scale
  whole = jnp.clip(jnp.round(steps), qmin - zero_point, qmax - zero_point)
  rest = steps - whole
  # The integral of rest^2: each whole step adds 1/12. It is continuous where
  # the rounding jumps, and holds where it clips.
  integral = whole / 12 + rest**3 / 3
  error = jnp.sum(counts(histogram) * jnp.diff(integral), -1)
  exponent, _ = _grid(histogram.lowest, histogram.highest)
  return error * (scale[:, 0] * _power_of_two(-exponent)) ** 3


def _grid(lowest, highest):
  """Returns the exponent of the bins' width and the number of the first."""
  magnitude = jnp.maximum(-lowest, highest)
  bits = jax.lax.bitcast_convert_type(magnitude, jnp.int32)
  # magnitude < 2^exponent; far from where float32 loses bits, or has no more.
  exponent = jnp.clip((bits >> 23) - 126, -100, 128)
  # With this width the larger side alone takes over half of the bins.
  fine = exponent - _LOG2_BINS
  fits = _bin(highest, fine) - _bin(lowest, fine) < BINS
  exponent = jnp.where(fits, fine, fine + 1)
  return exponent, _bin(lowest, exponent)


def _bin(x, exponent):
  return jnp.floor(x * _power_of_two(-exponent)).astype(jnp.int32)


def _power_of_two(exponent):
  """Returns 2^exponent, float32, exactly; -126 <= exponent <= 127."""
  bits = (exponent + 127) << np.int32(23)
  return jax.lax.bitcast_convert_type(bits, jnp.float32)
