"""The margin softmax over classes that lie on one device, block by block.

No array has a row for each image and a column for each class: logits exist for
one block of classes at a time. The sum of exponentials is kept relative to the
largest logit so far (Milakov and Gimelshein 2018, "Online normalizer
calculation for softmax", algorithm 3). The gradient computes the logits of each
block again. The margins are those of `margin.py`.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from faceqat.losses.margin import Margins, margin_logits, normalize

# Below every logit, and yet finite: the difference of two is 0, not NaN.
_LOWEST = jnp.finfo(jnp.float32).min


@dataclasses.dataclass(frozen=True)
class Settings:
  """What is computed; static under `jit`.

  Attributes:
    name: of the loss, a key of `margin.LOSSES`.
    scale, margin: as of `margin.margin_logits`.
    label_smoothing: as of `softmax.cross_entropy`.
    products: 'float32', or 'bfloat16': the vectors that are multiplied are
      rounded to it, and the products summed in float32.
    block: classes in a block, at most.
  """

  name: str
  scale: float
  margin: Margins
  label_smoothing: float
  products: str
  block: int


class Statistics(NamedTuple):
  """What a part of the classes adds to a softmax; all are [B] float32.

  Attributes:
    largest: the largest logit, or `finfo.min` where there is no class.
    exponentials: the sum of exp(logit - largest).
    logits: the sum of all logits.
    target: the logit of the label, or 0 where it is not among the classes.
    cosine: its cosine, without margin, or 0.
    before, after: the largest cosine of the classes before the label, and of
      those after it.
  """

  largest: jax.Array
  exponentials: jax.Array
  logits: jax.Array
  target: jax.Array
  cosine: jax.Array
  before: jax.Array
  after: jax.Array


def statistics(
  settings: Settings,
  unit: jax.Array,
  rows: jax.Array,
  labels: jax.Array,
  count: jax.Array,
) -> Statistics:
  """Passes once over the classes.

  Args:
    settings: static.
    unit: [B, D] float32, embeddings of length 1.
    rows: [K, D] any float type, one class a row, not normalised.
    labels: [B] int32, relative to the first row; a label outside of [0, count)
      belongs to no class here.
    count: [] int32, how many of the rows are classes; those behind are padding.
  """
  blocks = _Blocks(settings, rows, count)

  def add(number, sums):
    new, start, valid = blocks.at(number)
    cosine = _matmul(unit, normalize(new, axis=1).T, settings)
    logits = _logits(settings, cosine, labels - start)
    columns = start + jnp.arange(blocks.size)
    at_label = (columns == labels[:, None]) & valid
    before = valid & (columns < labels[:, None])
    after = valid & (columns > labels[:, None])
    nearest = jnp.max(jnp.where(before, cosine, _LOWEST), axis=1)
    nearest_after = jnp.max(jnp.where(after, cosine, _LOWEST), axis=1)
    block_largest = jnp.max(jnp.where(valid, logits, _LOWEST), axis=1)
    largest = jnp.maximum(sums.largest, block_largest)
    powers = jnp.exp(logits - largest[:, None])
    return Statistics(
      largest,
      sums.exponentials * jnp.exp(sums.largest - largest)
      + jnp.sum(jnp.where(valid, powers, 0), axis=1),
      sums.logits + jnp.sum(jnp.where(valid, logits, 0), axis=1),
      sums.target + jnp.sum(jnp.where(at_label, logits, 0), axis=1),
      sums.cosine + jnp.sum(jnp.where(at_label, cosine, 0), axis=1),
      jnp.maximum(sums.before, nearest),
      jnp.maximum(sums.after, nearest_after),
    )

  zero = jnp.zeros(len(unit))
  lowest = jnp.full(len(unit), _LOWEST)
  start = Statistics(lowest, zero, zero, zero, zero, lowest, lowest)
  return jax.lax.fori_loop(0, blocks.number, add, start)


def gradients(
  settings: Settings,
  unit: jax.Array,
  rows: jax.Array,
  labels: jax.Array,
  count: jax.Array,
  logsumexp: jax.Array,
  classes: jax.Array,
  cotangents: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """The gradient of cross-entropies of which these classes are a part.

  Args:
    settings, unit, rows, labels, count: as of `statistics`.
    logsumexp: [B] float32, of the logits of all classes, here and elsewhere.
    classes: [] number of all classes.
    cotangents: [B] float32, of the losses.

  Returns:
    Of `unit`, [B, D] float32: the part that these classes have in it. And of
    `rows`, [K, D] of their type; it is 0 where a row is padding.
  """
  blocks = _Blocks(settings, rows, count)
  smoothing = settings.label_smoothing

  def add(step, sums):
    of_unit, of_rows = sums
    # From the last block to the first: where the last one overlaps the one
    # before, that one is written later and stays.
    number = blocks.number - 1 - step
    new, start, valid = blocks.at(number)
    unit_rows, normalized = jax.vjp(lambda x: normalize(x, axis=1), new)
    cosine = _matmul(unit, unit_rows.T, settings)
    logits = _logits(settings, cosine, labels - start)
    at_label = labels[:, None] - start == jnp.arange(blocks.size)
    target = jnp.where(at_label, 1 - smoothing, 0) + smoothing / classes
    shares = jnp.exp(logits - logsumexp[:, None]) - target
    # Of a cosine; see `margin.margin_logits`.
    slope = (cotangents * settings.scale)[:, None] * jnp.where(valid, shares, 0)
    of_unit += _matmul(slope, unit_rows, settings)
    (of_new,) = normalized(_matmul(slope.T, unit, settings))
    return of_unit, jax.lax.dynamic_update_slice(of_rows, of_new, (start, 0))

  start = jnp.zeros_like(unit), jnp.zeros_like(rows)
  return jax.lax.fori_loop(0, blocks.number, add, start)


class _Blocks:
  """Rows in blocks of one size; the last one begins where it just fits."""

  def __init__(self, settings, rows, count):
    self.size = min(settings.block, len(rows))
    self.number = -(-len(rows) // self.size)
    self._rows, self._count = rows, count

  def at(self, number):
    """The rows of a block, the first's index, and which count: [size] bool."""
    first = number * self.size
    start = jnp.minimum(first, len(self._rows) - self.size)
    columns = start + jnp.arange(self.size)
    valid = (columns >= first) & (columns < self._count)
    rows = jax.lax.dynamic_slice_in_dim(self._rows, start, self.size)
    return rows, start, valid


def _logits(settings, cosine, labels):
  return margin_logits(
    settings.name,
    cosine,
    labels,
    scale=settings.scale,
    margin=settings.margin,
  )


def _matmul(a, b, settings):
  return jnp.matmul(
    a.astype(settings.products),
    b.astype(settings.products),
    precision=jax.lax.Precision.HIGHEST,
    preferred_element_type=jnp.float32,
  )
