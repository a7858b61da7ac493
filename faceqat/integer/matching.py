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

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from faceqat.integer.template_score import MAX_SIZE, REACH, VIEWS
from faceqat.integer.template_score import ONE as ONE
from faceqat.integer.tensors import check_integer

_LOWEST = np.int32(-(2**31))  # Below every score.
_PROBES_AT_ONCE = 64


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
    gallery: [N, D] templates, as in `cosine`. With int8 on both sides the dot
      products are those of int8, which most machines have in hardware.
    probes: [P, D] templates.
    k: in [1, N].

  Returns:
    Indices into the gallery, [P, k] int32, best first, and their scores,
    [P, k] int32, each what `cosine` gives. Of equal scores the lower index
    comes first.

  Raises:
    ValueError: as `cosine` does, or k is outside [1, N].
  """
  gallery, probes = _checked(gallery, 'gallery'), _checked(probes, 'probes')
  for name, array in (('gallery', gallery), ('probes', probes)):
    if array.ndim != 2:
      raise ValueError(f'{name} is of shape {array.shape}; it must be [N, D]')
  _check_sizes(gallery, probes)
  count = len(gallery)
  k = check_integer(k, f'k, for a gallery of {count},', 1, count)
  return _search(gallery, probes, k)


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
  return _score(dot, *_norm(a), *_norm(b))


@functools.partial(jax.jit, static_argnames='k')
def _search(gallery, probes, k: int):
  # int8 products are the fastest; sums of two embeddings do not fit them.
  narrow = gallery.dtype == probes.dtype == jnp.int8
  operand = jnp.int8 if narrow else jnp.int32
  gallery, probes = gallery.astype(operand), probes.astype(operand)
  norms = _norm(gallery)

  def find(probe):
    dot = lax.dot_general(
      gallery, probe, (((1,), (0,)), ((), ())), preferred_element_type=jnp.int32
    )
    values, indices = _largest(_score(dot, *norms, *_norm(probe)), k)
    return indices, values

  # So many rows of N scores are held at a time, however many probes there are.
  return lax.map(find, probes, batch_size=_PROBES_AT_ONCE)


def _norm(templates: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Squared norms, uint32 [...], at least 1, and their `_inverse_root`."""
  wide = templates.astype(jnp.int32)
  squared = jnp.sum(wide * wide, axis=-1, dtype=jnp.int32)
  norm = jnp.maximum(squared, 1).astype(jnp.uint32)
  return norm, _inverse_root(norm)


def _spare(norm: jax.Array) -> jax.Array:
  """How many times a number below 2^31 can be multiplied by 4 in 32 bits."""
  return lax.clz(norm) >> 1


def _inverse_root(norm: jax.Array) -> jax.Array:
  """floor(2^47 / sqrt(m)), at most 2^32 - 1, of m = norm * 4^spare.

  m is in [2^30, 2^32): before it is cut the root is above 2^31, and it loses
  less than 2^-31 of itself. Found bit by bit: the largest r with r^2 * m below
  2^94, which none but 2^32 equals.
  """
  m = norm << (2 * _spare(norm))

  def add_bit(i, root):
    longer = root | (np.uint32(1 << 31) >> i.astype(jnp.uint32))
    high, low = _multiply(longer, longer)
    top, middle = _multiply(high, m)
    carry, _ = _multiply(low, m)
    top = top + (middle + carry < carry)
    return jnp.where(top < (1 << 30), longer, root)

  return lax.fori_loop(0, 32, add_bit, jnp.zeros_like(norm))


def _score(dot, norm_a, root_a, norm_b, root_b) -> jax.Array:
  """dot / sqrt(norm_a * norm_b) * 2^29, cut toward zero: int32.

  The roots give a first value that is at most the true one, x, and above
  x - 2. Of x, which is at most 2^29 by Cauchy and Schwarz, less than 2^-31 is
  lost to root_a, 2^-30 to the first product, which is at least 2^30, and 2^-31
  to root_b: together less than 1. Cutting the last bits off loses less than 1
  again. What is wanted is hence the first value or the next.
  """
  size = jnp.abs(dot).astype(jnp.uint32)
  shift = lax.clz(jnp.maximum(size, 1))
  first, _ = _multiply(size << shift, root_a)
  first, _ = _multiply(first, root_b)
  # x * 2^right = size * root_a * root_b * 2^(shift - 64) is above 2^29, with
  # uncut roots: right is at least 1. It is at most 32, too much for one shift.
  right = shift + 1 - _spare(norm_a) - _spare(norm_b)
  value = (first >> 1) >> (right - 1)
  following = value + 1
  reached = _reaches(size, norm_a, norm_b, following)
  value = jnp.where(reached, following, value).astype(jnp.int32)
  return jnp.where(dot < 0, -value, value)


def _reaches(size, norm_a, norm_b, value) -> jax.Array:
  """Whether size^2 * 2^58 >= value^2 * norm_a * norm_b.

  The two are less than 2^95 apart: `value`, at most 2^29 + 1, is at most 1 away
  from where they are equal, and the norms' product is below 2^62. So the lowest
  96 bits of the difference, in three limbs, have its sign.
  """
  value_high, value_low = _multiply(value, value)
  norms_high, norms_low = _multiply(norm_a, norm_b)
  carried, low = _multiply(value_low, norms_low)
  first_high, first = _multiply(value_low, norms_high)
  second_high, second = _multiply(value_high, norms_low)
  middle = carried + first
  high = first_high + (middle < first)
  middle = middle + second
  high = high + (middle < second) + second_high + value_high * norms_high

  # size^2 * 2^58 without its lowest limb, which is 0.
  size_high, size_low = _multiply(size, size)
  wanted_middle = size_low << 26
  wanted_high = (size_high << 26) | (size_low >> 6)
  borrow = low > 0
  borrow = (wanted_middle < middle) | ((wanted_middle == middle) & borrow)
  return (wanted_high - high - borrow) >> 31 == 0


def _multiply(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The 64-bit product of uint32, as its high and its low 32 bits."""
  a_high, a_low = a >> 16, a & 0xFFFF
  b_high, b_low = b >> 16, b & 0xFFFF
  first, second = a_high * b_low, a_low * b_high
  middle = (first & 0xFFFF) + (second & 0xFFFF) + ((a_low * b_low) >> 16)
  high = a_high * b_high + (first >> 16) + (second >> 16) + (middle >> 16)
  return high, a * b


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
