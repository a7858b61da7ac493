"""A sample of the classes for one step: all that the batch has, and some more.

Source: An et al. 2022, "Killing two birds with one stone: efficient and robust
training of face recognition CNNs by partial FC", section 3.2. There each device
takes the same number of its own classes. Here a class is drawn, or not, by
itself: by the seed, the step and its number. So the sample is the same however
many devices there are.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec


class Sample(NamedTuple):
  """The classes of a step; each of n devices has S places for them.

  Attributes:
    rows: [n S] int32, the sampled rows of a device's own, rising; where a
      place is empty, the number of its rows.
    counts: [n] int32, places of each device that are taken.
    labels: [B] int32, the places of the classes of the batch.
  """

  rows: jax.Array
  counts: jax.Array
  labels: jax.Array


def places(rate: float, share: int, batch_size: int) -> int:
  """How many sampled classes a device has room for, at most all of its own.

  The number that is drawn has a mean of `rate * share`, and no more variance.
  Eight deviations and 16 more than that are seen less than once in 10^12 steps;
  the last classes would then be left out.
  """
  mean = rate * share
  drawn = math.ceil(mean + 8 * math.sqrt(mean) + 16)
  return min(share, drawn + batch_size)


def is_drawn(
  rate: float, seed: int, step: jax.Array, classes: jax.Array
) -> jax.Array:
  """Which classes are in the sample of a step whatever the batch has: [K] bool.

  Args:
    rate: the probability, above 0 and below 1.
    seed: of the training.
    step: [] int32.
    classes: [K] int32, their numbers.
  """
  key = jax.random.fold_in(jax.random.key(seed), step)
  keys = jax.vmap(functools.partial(jax.random.fold_in, key))(classes)
  return jax.vmap(jax.random.bits)(keys) < jnp.uint32(rate * 2**32)


def choose_classes(
  mesh: Mesh,
  rate: float,
  seed: int,
  step: jax.Array,
  labels: jax.Array,
  counts: jax.Array,
  share: int,
) -> Sample:
  """Draws the classes of a step, each device its own.

  Args:
    mesh: of one axis, of n devices.
    rate, seed, step: as of `is_drawn`.
    labels: [B] int32, rows of the classes of the batch; n divides B.
    counts: [n] int32, how many rows of each device are classes.
    share: rows of each device.
  """
  (axis,) = mesh.axis_names
  size = places(rate, share, len(labels))

  def choose(own_labels, count):
    index = jax.lax.axis_index(axis)
    labels = jax.lax.all_gather(own_labels, axis, tiled=True) - index * share
    is_here = (labels >= 0) & (labels < share)
    rows = jnp.arange(share)
    chosen = is_drawn(rate, seed, step, index * share + rows)
    chosen = chosen.at[jnp.where(is_here, labels, share)].set(True, mode='drop')
    # By row, how many are chosen up to it.
    ranks = jnp.cumsum(chosen & (rows < count[0]), dtype=jnp.int32)
    found = jnp.searchsorted(ranks, jnp.arange(1, size + 1))
    place = index * size + ranks[jnp.clip(labels, 0, share - 1)] - 1
    place = jax.lax.psum(jnp.where(is_here, place, 0), axis)
    own = jax.lax.dynamic_slice_in_dim(
      place, index * len(own_labels), len(own_labels)
    )
    return found.astype(jnp.int32), jnp.minimum(ranks[-1:], size), own

  part = PartitionSpec(axis)
  return Sample(
    *jax.shard_map(
      choose,
      mesh=mesh,
      in_specs=(part, part),
      out_specs=(part, part, part),
    )(labels, counts)
  )
