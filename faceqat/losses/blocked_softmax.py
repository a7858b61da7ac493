"""The margin softmax over classes that lie on one device, block by block.

No array has a row for each image and a column for each class: logits exist for
one block of classes at a time. The sum of exponentials is kept relative to the
largest logit so far (Milakov and Gimelshein 2018, "Online normalizer
calculation for softmax", algorithm 3). The gradient computes the logits of each
block again. The margins are those of `margin.py`.

A block of logits has a row for each class: sums over classes are then sums of
rows, which a CPU adds many numbers at a time.
"""

import dataclasses
from collections.abc import Callable
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

  The class of the label is left out, as its logit has a margin: see `target`.

  Attributes:
    largest: the largest logit, or `finfo.min` where there is no class.
    exponentials: the sum of exp(logit - largest).
    logits: the sum of all logits.
  """

  largest: jax.Array
  exponentials: jax.Array
  logits: jax.Array


def target(
  settings: Settings,
  unit: jax.Array,
  rows: jax.Array,
  labels: jax.Array,
  count: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The logit of the label, the same without margin, and whether it is here.

  Args as of `statistics`.

  Returns:
    [B] float32 twice, 0 where the label is not among these classes; [B] bool.
  """
  is_here = (labels >= 0) & (labels < count)
  of_labels = rows[jnp.clip(labels, 0, len(rows) - 1)]
  products = [
    x.astype(settings.products).astype(jnp.float32)
    for x in (unit, normalize(of_labels, axis=1))
  ]
  cosine = jnp.sum(products[0] * products[1], axis=1, keepdims=True)
  logits = margin_logits(
    settings.name,
    cosine,
    jnp.zeros_like(labels),
    scale=settings.scale,
    margin=settings.margin,
  )
  return (
    jnp.where(is_here, logits[:, 0], 0),
    jnp.where(is_here, settings.scale * cosine[:, 0], 0),
    is_here,
  )


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
  zero, lowest = jnp.zeros(len(unit)), jnp.full(len(unit), _LOWEST)

  def add(number, sums):
    block = blocks.at(number)
    others = block.valid & (block.classes != labels)
    logits = settings.scale * _products(block.rows, unit.T, settings)
    masked = jnp.where(others, logits, _LOWEST)
    largest = jnp.maximum(sums.largest, jnp.max(masked, axis=0))
    powers = jnp.sum(jnp.exp(masked - largest), axis=0)
    return Statistics(
      largest,
      sums.exponentials * jnp.exp(sums.largest - largest)
      # Where there is no class yet, the difference is 0.
      + jnp.where(largest > _LOWEST, powers, 0),
      sums.logits + jnp.sum(jnp.where(others, logits, 0), axis=0)
      if settings.label_smoothing
      else sums.logits,
    )

  return jax.lax.fori_loop(
    0, blocks.number, add, Statistics(lowest, zero, zero)
  )


def gradients(
  settings: Settings,
  unit: jax.Array,
  rows: jax.Array,
  labels: jax.Array,
  count: jax.Array,
  at_label: jax.Array,
  logsumexp: jax.Array,
  classes: jax.Array,
  cotangents: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """The gradient of cross-entropies of which these classes are a part.

  Args:
    settings, unit, rows, labels, count: as of `statistics`.
    at_label: [B] float32, the logit of the label.
    logsumexp: [B] float32, of the logits of all classes, here and elsewhere.
    classes: [] number of all classes.
    cotangents: [B] float32, of the losses.

  Returns:
    Of `unit`, [B, D] float32: the part that these classes have in it. And of
    `rows`, [K, D] of their type; it is 0 where a row is padding.
  """
  blocks = _Blocks(settings, rows, count)
  smoothing = settings.label_smoothing
  # Of a cosine, as that of every margin is the scale; see `margin.py`.
  slope = settings.scale * cotangents
  everywhere = smoothing / classes
  at_label = jnp.exp(at_label - logsumexp) - (1 - smoothing)

  def add(step, sums):
    of_unit, of_rows = sums
    # From the last block to the first: where the last one overlaps the one
    # before, that one is written later and stays.
    block = blocks.at(blocks.number - 1 - step)
    logits = settings.scale * _products(block.rows, unit.T, settings)
    shares = jnp.where(
      block.classes == labels, at_label, jnp.exp(logits - logsumexp)
    )
    of_cosines = jnp.where(block.valid, slope * (shares - everywhere), 0)
    of_unit += _products(of_cosines.T, block.rows, settings)
    (of_new,) = block.normalized(_products(of_cosines, unit, settings))
    return of_unit, jax.lax.dynamic_update_slice(
      of_rows, of_new, (block.start, 0)
    )

  start = jnp.zeros_like(unit), jnp.zeros_like(rows)
  return jax.lax.fori_loop(0, blocks.number, add, start)


class _Block(NamedTuple):
  """Classes of a block, [C, D] unit rows; of which `valid` [C, 1] count."""

  rows: jax.Array
  normalized: Callable
  start: jax.Array
  classes: jax.Array
  valid: jax.Array


class _Blocks:
  """Rows in blocks of one size; the last one begins where it just fits."""

  def __init__(self, settings, rows, count):
    self.number = -(-len(rows) // settings.block)
    self._size = -(-len(rows) // self.number)
    self._rows, self._count = rows, count

  def at(self, number) -> _Block:
    first = number * self._size
    start = jnp.minimum(first, len(self._rows) - self._size)
    classes = start + jnp.arange(self._size)[:, None]
    unit_rows, normalized = jax.vjp(
      lambda rows: normalize(rows, axis=1),
      jax.lax.dynamic_slice_in_dim(self._rows, start, self._size),
    )
    valid = (classes >= first) & (classes < self._count)
    return _Block(unit_rows, normalized, start, classes, valid)


def _products(a, b, settings):
  return jnp.matmul(
    a.astype(settings.products),
    b.astype(settings.products),
    precision=jax.lax.Precision.HIGHEST,
    preferred_element_type=jnp.float32,
  )
