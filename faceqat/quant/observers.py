"""Range observers: what the activations of a tensor have spanned so far.

Pure functions on a small NamedTuple, so that a layer keeps it in its own
collection and an observer is frozen by leaving that collection out of
`mutable`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

OBSERVERS = ('ema', 'minmax')


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


def initial_range() -> Range:
  """Returns a range that has seen nothing; the first batch replaces it."""
  return Range(
    jnp.zeros((), jnp.float32),
    jnp.zeros((), jnp.float32),
    jnp.zeros((), jnp.int32),
  )


def is_set(observed: Range) -> jax.Array:
  """Returns whether the range has seen at least one batch ([] bool)."""
  return observed.count > 0


def observe(
  range: Range,
  x: jax.Array,
  *,
  observer: str,
  decay: float,
) -> Range:
  """Returns the range after one more batch.

  `ema` keeps `decay * old + (1 - decay) * batch`, `minmax` the extremes of all
  batches. The first batch sets the range: an average that starts at a fixed
  range would clip for as long as it takes to forget it. The batch's range is
  extended to contain 0, which must be representable exactly (padding), so
  that training and lowering agree on what the range is.

  Args:
    range: the range so far.
    x: any shape; under `jit` on a mesh the extremes are those of the global
      array, whatever its sharding.
    observer: one of `OBSERVERS`.
    decay: weight of the past, in [0, 1); `minmax` does not use it.

  Raises:
    ValueError: for an unknown observer or a decay outside [0, 1).
  """
  if observer not in OBSERVERS:
    raise ValueError(
      f'observer is {observer!r}; choose one of {sorted(OBSERVERS)}.'
    )
  if not 0 <= decay < 1:
    raise ValueError(f'decay is {decay}; choose it in [0, 1), such as 0.99.')
  x = jax.lax.stop_gradient(x)
  batch_min = jnp.minimum(jnp.min(x), 0).astype(jnp.float32)
  batch_max = jnp.maximum(jnp.max(x), 0).astype(jnp.float32)
  if observer == 'ema':
    # In this form a range that no longer changes stays the same bit for bit.
    minimum = range.minimum + (1 - decay) * (batch_min - range.minimum)
    maximum = range.maximum + (1 - decay) * (batch_max - range.maximum)
  else:
    minimum = jnp.minimum(range.minimum, batch_min)
    maximum = jnp.maximum(range.maximum, batch_max)
  known = is_set(range)
  return Range(
    jnp.where(known, minimum, batch_min),
    jnp.where(known, maximum, batch_max),
    range.count + 1,
  )
