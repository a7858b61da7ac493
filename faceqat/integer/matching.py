"""Faces compared in integers: an exact cosine, and the search of a gallery.

A template stands for a face (`template_score`). The embedding's scale cancels
in a cosine, so no step from camera bytes to decision needs a float.

A score is the cosine times `ONE` = 2^29, cut toward zero: the largest integer
t with t^2 * (a.a) * (b.b) <= (a.b)^2 * 2^58, and the sign of a.b. Both sides
are compared exactly, in 32-bit limbs. So a score is off by less than one step
of 2^-29; of two pairs the one with the higher cosine never has the lower
score, whatever the norms; and every machine gives the same bits. A decision
is `score >= threshold`, an int32 too.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from faceqat.integer import exact_cosine
from faceqat.integer.template_score import MAX_SIZE, REACH, VIEWS
from faceqat.integer.template_score import ONE as ONE
from faceqat.integer.tensors import check_integer

_LOWEST = np.int32(-(2**31))  # Below every score.
_PROBES_AT_ONCE = 64
# Rows that are sorted faster than their least value is found bit by bit; of 64
# rows sorting takes ten times as long.
_FEW_ROWS = 8
# Columns that a search looks at beside those of the k best, so that the exact
# scores can tell that no other column has any of these.
_COLUMNS_MORE = 4


def template(*embeddings, zero_point: int = 0) -> jax.Array:
  """Sums the int8 embeddings of one face's images, less their zero points.

  Args:
    *embeddings: int8 [..., D] each: of an image, or of an image and of its
      mirror image.
    zero_point: of the embedding, in [-128, 127].

  Returns:
    int16 [..., D], within `REACH` of 0.

  Raises:
    ValueError: there are more than two, they are not int8 or not of one
      shape, or the zero point is none.
  """
  if not 1 <= len(embeddings) <= VIEWS:
    raise ValueError(
      f'A template takes 1 to {VIEWS} embeddings, it got {len(embeddings)}; '
      'dot products are sized for no more'
    )
  zero_point = check_integer(zero_point, 'zero_point', -128, 127)
  for embedding in embeddings:
    if embedding.dtype != np.int8:
      raise ValueError(
        f'A template is made of int8 embeddings, got {embedding.dtype}; pass '
        'them as the integer program gives them'
      )
    if embedding.shape != embeddings[0].shape:
      raise ValueError(
        f'Embeddings of shapes {embeddings[0].shape} and {embedding.shape} '
        'are not those of the same faces; their shapes must be equal'
      )
  total = sum(jnp.asarray(embedding, jnp.int16) for embedding in embeddings)
  return total - np.int16(len(embeddings) * zero_point)


def cosine(a, b) -> jax.Array:
  """Scores pairs of templates.

  Args:
    a, b: int8, int16 or int32 [..., D], broadcast against each other; every
      element within `REACH` of 0, as `template` makes them. int8 embeddings
      whose zero point is 0 are templates as they are.

  Returns:
    int32 [...] in [-ONE, ONE]; 0 where a template is all zeros.

  Raises:
    ValueError: wrong types or sizes, or, unless traced, elements beyond
      `REACH`.
  """
  a, b = _checked(a, 'a'), _checked(b, 'b')
  _check_sizes(a, b)
  return _cosine(a, b)


def search(gallery, probes, k: int) -> tuple[jax.Array, jax.Array]:
  """Finds the k most similar templates of a gallery for every probe.

  Args:
    gallery: [N, D] templates, as in `cosine`.
    probes: [P, D] templates.
    k: in [1, N].

  Returns:
    Indices into the gallery, [P, k] int32, best first, and their scores,
    [P, k] int32, each what `cosine` gives. Of equal scores the lower index
    comes first.

  Raises:
    ValueError: as `cosine` does, or k is outside [1, N].
  """
  return find(prepare(gallery), probes, k)


class Prepared(NamedTuple):
  """N templates [N, D], ready to be searched.

  Attributes:
    limbs: int8 [N, D], or [2 N, D]: their first limbs and their second ones
      (`_limbs`).
    norm: uint32 [N], squared norms.
    root: uint32 [N], their `exact_cosine.inverse_root`.
  """

  limbs: jax.Array
  norm: jax.Array
  root: jax.Array


def prepare(gallery) -> Prepared:
  """Makes of a gallery [N, D] what many searches share.

  Raises:
    ValueError: as `search` does.
  """
  _check_table(gallery, 'gallery')
  return _prepare(_checked(gallery, 'gallery'))


def find(gallery: Prepared, probes, k: int) -> tuple[jax.Array, jax.Array]:
  """`search` in a gallery that is prepared."""
  _check_table(probes, 'probes')
  _check_sizes(gallery.limbs, _checked(probes, 'probes'))
  count = len(gallery.norm)
  k = check_integer(k, f'k, for a gallery of {count},', 1, count)
  return _search(gallery, probes, k)


def _check_table(array, name: str):
  if array.ndim != 2:
    raise ValueError(f'{name} is of shape {array.shape}; it must be [N, D]')


def _checked(array, name: str):
  if array.dtype not in (np.int8, np.int16, np.int32):
    raise ValueError(
      f'{name} is {array.dtype}; templates are int8, int16 or int32: make '
      'them of int8 embeddings with `template`'
    )
  if array.dtype != np.int8 and not isinstance(array, jax.core.Tracer):
    # JAX would compile this for every shape.
    library = np if isinstance(array, np.ndarray) else jnp
    low, high = library.min(array, initial=0), library.max(array, initial=0)
    if low < -REACH or high > REACH:
      raise ValueError(
        f'{name} has elements in [{low}, {high}]; those of templates are '
        f'within {REACH} of 0: make them of int8 embeddings with `template`'
      )
  return array


def _check_sizes(a: jax.Array, b: jax.Array):
  if not a.shape[-1:] == b.shape[-1:] != ():
    raise ValueError(
      f'Templates of shapes {a.shape} and {b.shape} cannot be compared; their '
      'last sizes must be equal'
    )
  if a.shape[-1] > MAX_SIZE:
    raise ValueError(
      f'Templates have {a.shape[-1]} elements; above {MAX_SIZE} a dot product '
      'could overflow int32: train a smaller embedding'
    )


@jax.jit
def _cosine(a: jax.Array, b: jax.Array) -> jax.Array:
  product = a.astype(jnp.int32) * b.astype(jnp.int32)
  dot = jnp.sum(product, axis=-1, dtype=jnp.int32)
  return exact_cosine.score(
    dot, *exact_cosine.squared_norm(a), *exact_cosine.squared_norm(b)
  )


@jax.jit
def _prepare(templates) -> Prepared:
  return Prepared(_limbs(templates), *exact_cosine.squared_norm(templates))


@functools.partial(jax.jit, static_argnames='k')
def _search(gallery: Prepared, probes, k: int):
  # So many rows of N scores are held at a time, however many probes there are.
  count = min(len(probes), _PROBES_AT_ONCE)
  if not count:
    return (jnp.zeros([0, k], jnp.int32),) * 2
  parts = -(-len(probes) // count)
  # Not with zeros, to whom all are equally near.
  free = parts * count - len(probes)
  padded = jnp.pad(probes, ((0, free), (0, 0)), mode='edge')
  found = lax.map(
    lambda some: _find(gallery, some, k),
    padded.reshape(parts, count, probes.shape[1]),
  )
  return tuple(x.reshape(-1, k)[: len(probes)] for x in found)


def _find(gallery: Prepared, probes, k: int) -> tuple[jax.Array, jax.Array]:
  """`search` by few probes.

  Estimates choose some columns of a table of the gallery, and the exact scores
  of these the best. Where those are not above all that others can have, as
  among many equal templates, every score is computed.
  """
  dots = _products(probes, gallery)
  norm, root = (x[:, np.newaxis] for x in exact_cosine.squared_norm(probes))

  def scores_at(places):
    entries = gallery.norm[places], gallery.root[places]
    return exact_cosine.score(
      jnp.take_along_axis(dots, places, axis=1), *entries, norm, root
    )

  def search_all():
    scores = exact_cosine.score(dots, gallery.norm, gallery.root, norm, root)
    values, indices = jax.vmap(lambda row: _largest(row, k))(scores)
    return indices, values

  size, columns = len(gallery.norm), k + _COLUMNS_MORE
  rows = max(math.isqrt(size // columns), 1)
  width = -(-size // rows)
  if width <= columns:
    return search_all()
  estimates = jnp.pad(
    _estimate(dots, gallery),
    ((0, 0), (0, rows * width - size)),
    constant_values=_LOWEST,
  )
  # Each is the largest of a column.
  heads = functools.reduce(jnp.maximum, jnp.split(estimates, rows, axis=1))
  chosen, least = _first_of_largest(heads, columns)
  places = (
    chosen[:, np.newaxis]
    + width * np.arange(rows, dtype=np.int32)[:, np.newaxis]
  )
  places = places.reshape(len(probes), -1)  # Rising.
  scores = jnp.where(
    places < size, scores_at(jnp.minimum(places, size - 1)), _LOWEST
  )
  best, _ = _first_of_largest(scores, k)
  values, order = lax.top_k(jnp.take_along_axis(scores, best, axis=1), k)
  best = jnp.take_along_axis(best, order, axis=1)
  indices = jnp.take_along_axis(places, best, axis=1)
  above = _most(least, norm[:, 0], root[:, 0]) < values[:, -1]
  return lax.cond(jnp.all(above), lambda: (indices, values), search_all)


def _limbs(templates: jax.Array) -> jax.Array:
  """Bytes [N, D] or [2 N, D], whose products most machines have in hardware.

  int8 as they are. Others, within REACH of 0, are four times the first limb and
  the second one, which is -1 to 2.
  """
  if templates.dtype == jnp.int8:
    return templates
  high = (templates + 1) >> 2
  limbs = jnp.concatenate([high, templates - 4 * high])
  return limbs.astype(jnp.int8)


def _products(probes, gallery: Prepared) -> jax.Array:
  """int32 [P, N] dot products of templates [P, D] with a gallery."""
  (count, _), size = probes.shape, len(gallery.norm)
  limbs = _limbs(probes)
  # XLA:CPU has a fast form for two rows or more.
  rows = jnp.pad(limbs, ((0, len(limbs) == 1), (0, 0)))
  products = lax.dot_general(
    rows,
    gallery.limbs,
    (((1,), (1,)), ((), ())),
    preferred_element_type=jnp.int32,
  )[: len(limbs)]
  for axis, length in enumerate((count, size)):
    if products.shape[axis] > length:
      high, low = jnp.split(products, 2, axis)
      products = 4 * high + low
  return products


def _estimate(dots, gallery: Prepared) -> jax.Array:
  """dot / |a| * 2^15 of entries a: int32, less than 2 nearer to 0 than that.

  dot * 2^spare is below 2^32, by Cauchy and Schwarz, as |a| * 2^spare is below
  2^16 and |b| below 2^15.5. Less than 1 is lost to the root, and by cutting.
  """
  raised = jnp.abs(dots).astype(jnp.uint32) << exact_cosine.spare(gallery.norm)
  size = exact_cosine.multiply(raised, gallery.root)[0].astype(jnp.int32)
  return jnp.where(dots < 0, -size, size)


def _most(estimate, norm, root) -> jax.Array:
  """A score that none with this `_estimate` exceeds, of probes' norms."""
  size = jnp.maximum(estimate + 2, 0).astype(jnp.uint32)
  high, _ = exact_cosine.multiply(size, root)
  # What is lost to the root and by cutting is less than 2.
  return ((((high + 2) << exact_cosine.spare(norm)) >> 1) + 1).astype(jnp.int32)


def _first_of_largest(values, k: int) -> tuple[jax.Array, jax.Array]:
  """Where the k largest of each row [P, N] are, rising, and the least of them.

  Of equal ones the first are taken.
  """
  if len(values) <= _FEW_ROWS:
    largest, places = lax.top_k(values, k)
    return jnp.sort(places, axis=1), largest[:, -1]

  def add_bit(i, least):
    more = least + (np.int32(1) << (31 - i))
    enough = (
      jnp.sum(values >= more[:, np.newaxis], axis=1, dtype=jnp.int32) >= k
    )
    return jnp.where(enough, more, least)

  least = lax.fori_loop(0, 32, add_bit, jnp.full(len(values), _LOWEST))
  above = values > least[:, np.newaxis]
  equal = values == least[:, np.newaxis]
  free = k - jnp.sum(above, axis=1, keepdims=True, dtype=jnp.int32)
  taken = above | (equal & (jnp.cumsum(equal, axis=1, dtype=jnp.int32) <= free))
  counts = jnp.cumsum(taken, axis=1, dtype=jnp.int32)
  find = functools.partial(
    jnp.searchsorted, v=np.arange(1, k + 1, dtype=np.int32)
  )
  return jax.vmap(find)(counts).astype(jnp.int32), least


def _largest(scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
  """The k largest of [N] and their indices, the first of equals first.

  A block that k blocks precede, in the order of their largest values, has none
  of them: only the maxima are sorted, and then k blocks.
  """
  block = max(math.isqrt(len(scores) // k), 1)
  count = -(-len(scores) // block)
  scores = jnp.pad(
    scores, (0, count * block - len(scores)), constant_values=_LOWEST
  )
  blocks = scores.reshape(count, block)
  _, chosen = lax.top_k(jnp.max(blocks, axis=1), min(k, count))
  chosen = jnp.sort(chosen)  # Equal values stay in the order of their indices.
  values, positions = lax.top_k(blocks[chosen].ravel(), k)
  return values, chosen[positions // block] * block + positions % block
