"""Range observers: what the activations of a tensor have spanned so far.

Pure functions on small NamedTuples, so that a layer keeps one in its own
collection and an observer is frozen by leaving that collection out of
`mutable`. An observer is an entry of `OBSERVERS`; each leaves its result in
`minimum`, `maximum` and `count`, which is all that a quantizer reads.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from faceqat.quant import histogram


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


class Settings(Protocol):
  """What observers read of a layer's quantization, `spec.LayerQuant`."""

  observer: str
  decay: float
  percentile: float
  activation_bits: int
  symmetric: bool


class Observer(NamedTuple):
  """One kind of observer.

  Attributes:
    initial: returns what has seen nothing.
    observe: returns what it is after one more batch: of what it was, the batch
      (any shape) and the layer's quantization.
    in_training: goes on while the network is trained. What keeps all values
      it has seen does not: most of them would be those of earlier weights.
  """

  initial: Callable[[], Range | HistogramRange]
  observe: Callable[..., Range | HistogramRange]
  in_training: bool


def initial_range() -> Range:
  """Returns a range that has seen nothing; the first batch replaces it."""
  return Range(
    jnp.zeros((), jnp.float32),
    jnp.zeros((), jnp.float32),
    jnp.zeros((), jnp.int32),
  )


def initial_histogram_range() -> HistogramRange:
  """Returns a range without choice, beside an empty histogram."""
  return HistogramRange(*initial_range(), histogram.initial_histogram())


def is_set(observed: Range | HistogramRange) -> jax.Array:
  """Returns whether the range has seen at least one batch ([] bool)."""
  return observed.count > 0


def observe(
  seen: Range | HistogramRange, x: jax.Array, layer: Settings
) -> Range | HistogramRange:
  """Returns the range after one more batch.

  The range always contains 0, which must be representable exactly (padding),
  so that training and lowering agree on what the range is.

  Args:
    seen: the range so far, of the layer's observer.
    x: any shape; under `jit` on a mesh what counts is the global array,
      whatever its sharding.
    layer: its `observer` and that one's settings.
  """
  return OBSERVERS[layer.observer].observe(
    seen, jax.lax.stop_gradient(x), layer
  )


def _average(seen, x, layer):
  """Keeps `decay * old + (1 - decay) * batch` of the batches' extremes.

  The first batch sets the range: an average that starts at a fixed range would
  clip for as long as it takes to forget it.
  """
  low, high = _extremes(x)
  # In this form a range that no longer changes stays the same bit for bit.
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
  low = jnp.minimum(jnp.min(x), 0).astype(jnp.float32)
  high = jnp.maximum(jnp.max(x), 0).astype(jnp.float32)
  return low, high


OBSERVERS: Mapping[str, Observer] = {
  'ema': Observer(initial_range, _average, True),
  'minmax': Observer(initial_range, _widest, True),
  'mse': Observer(initial_histogram_range, _least_error, False),
  'percentile': Observer(initial_histogram_range, _percentile, False),
}
