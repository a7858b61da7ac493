"""Range observers: what the activations of a tensor have spanned so far.

Pure functions on small NamedTuples. A layer keeps one in its own collection,
which is left out of `mutable` to freeze it. An observer is an entry of
`OBSERVERS`; a quantizer reads nothing but its `minimum`, `maximum` and `count`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from faceqat.quant import histogram, reductions


class Range(NamedTuple):
  """The observed range of one tensor.

  Attributes:
    minimum: [] float32, real value, never above 0 once observed.
    maximum: [] float32, real value, never below 0 once observed.
    count: [] int32, batches observed; 0 means that nothing was seen yet.
  """

  minimum: jax.Array
  maximum: jax.Array
  count: jax.Array


class HistogramRange(NamedTuple):
  """The range chosen from a histogram of all that was observed.

  Attributes:
    minimum, maximum, count: as of a `Range`.
    histogram: of the values; 16 KB.
  """

  minimum: jax.Array
  maximum: jax.Array
  count: jax.Array
  histogram: histogram.Histogram


class Observer(NamedTuple):
  """One kind of observer.

  Attributes:
    initial: makes a range that has seen nothing.
    observe: from a range, a batch (any shape) and the layer's quantization to
      the next range.
    in_training: goes on while the network is trained. A histogram does not:
      most of its values would be those of earlier weights.
  """

  initial: Callable[[], Range | HistogramRange]
  observe: Callable[..., Range | HistogramRange]
  in_training: bool


def initial_range() -> Range:
  """Returns a range that has seen nothing; the first batch replaces it."""
  zero = jnp.zeros((), jnp.float32)
  return Range(zero, zero, jnp.zeros((), jnp.int32))


def initial_histogram_range() -> HistogramRange:
  """Returns an unset range and an empty histogram."""
  return HistogramRange(*initial_range(), histogram.initial_histogram())


def is_set(observed: Range | HistogramRange) -> jax.Array:
  """Returns whether the range has seen at least one batch ([] bool)."""
  return observed.count > 0


def observe(
  seen: Range | HistogramRange, x: jax.Array, layer
) -> Range | HistogramRange:
  """Returns the range after one more batch.

  It always contains 0, which has to be exact as it is the value of padding.

  Args:
    seen: the range so far, of the layer's observer.
    x: any shape; under `jit` on a mesh the global array counts, whatever its
      sharding.
    layer: a `spec.LayerQuant`, for its `observer` and that one's settings.
  """
  return OBSERVERS[layer.observer].observe(
    seen, jax.lax.stop_gradient(x), layer
  )


def _average(seen, x, layer):
  """Keeps `decay * old + (1 - decay) * batch` of the batches' extremes.

  The first batch sets the range: an average from a fixed start would clip until
  that is forgotten.
  """
  low, high = _extremes(x)
  # In this form a range that no longer changes keeps its bits.
  minimum = seen.minimum + (1 - layer.decay) * (low - seen.minimum)
  maximum = seen.maximum + (1 - layer.decay) * (high - seen.maximum)
  known = is_set(seen)
  return Range(
    jnp.where(known, minimum, low),
    jnp.where(known, maximum, high),
    seen.count + 1,
  )


def _widest(seen, x, layer):
  """Keeps the extremes of all batches."""
  del layer
  low, high = _extremes(x)
  return Range(
    jnp.minimum(seen.minimum, low),
    jnp.maximum(seen.maximum, high),
    seen.count + 1,
  )


def _least_error(seen, x, layer):
  """Takes the least squared error over all values seen."""
  values = histogram.add(seen.histogram, x)
  limits = histogram.least_error_limits(
    values, bits=layer.activation_bits, symmetric=layer.symmetric
  )
  return HistogramRange(*limits, seen.count + 1, values)


def _percentile(seen, x, layer):
  """Leaves out the outermost of all values seen."""
  values = histogram.add(seen.histogram, x)
  limits = histogram.percentile_limits(values, layer.percentile)
  return HistogramRange(*limits, seen.count + 1, values)


def _extremes(x):
  low, high = reductions.extremes(x)
  return jnp.minimum(low, 0), jnp.maximum(high, 0)


OBSERVERS: Mapping[str, Observer] = {
  'ema': Observer(initial_range, _average, True),
  'minmax': Observer(initial_range, _widest, True),
  'mse': Observer(initial_histogram_range, _least_error, False),
  'percentile': Observer(initial_histogram_range, _percentile, False),
}
