"""The exact cosine of two templates, from their dot product and norms.

Everything is in 32 bits; `matching` says what a score is.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def squared_norm(templates: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Squared norms, uint32 [...], at least 1, and their `inverse_root`."""
  wide = templates.astype(jnp.int32)
  squared = jnp.sum(wide * wide, axis=-1, dtype=jnp.int32)
  norm = jnp.maximum(squared, 1).astype(jnp.uint32)
  return norm, inverse_root(norm)


def spare(norm: jax.Array) -> jax.Array:
  """How many times a number below 2^31 can be multiplied by 4 in 32 bits."""
  return lax.clz(norm) >> 1


def inverse_root(norm: jax.Array) -> jax.Array:
  """floor(2^47 / sqrt(m)), at most 2^32 - 1, of m = norm * 4^spare.

  m is in [2^30, 2^32): before it is cut the root is above 2^31, and it loses
  less than 2^-31 of itself. Found bit by bit: the largest r with r^2 * m below
  2^94, which none but 2^32 equals.
  """
  m = norm << (2 * spare(norm))

  def add_bit(i, root):
    longer = root | (np.uint32(1 << 31) >> i.astype(jnp.uint32))
    high, low = multiply(longer, longer)
    top, middle = multiply(high, m)
    carry, _ = multiply(low, m)
    top = top + (middle + carry < carry)
    return jnp.where(top < (1 << 30), longer, root)

  return lax.fori_loop(0, 32, add_bit, jnp.zeros_like(norm))


def score(dot, norm_a, root_a, norm_b, root_b) -> jax.Array:
  """dot / sqrt(norm_a * norm_b) * 2^29, cut toward zero: int32.

  The roots give a first value that is at most the true one, x, and above
  x - 2. Of x, which is at most 2^29 by Cauchy and Schwarz, less than 2^-31 is
  lost to root_a, 2^-30 to the first product, which is at least 2^30, and 2^-31
  to root_b: together less than 1. Cutting the last bits off loses less than 1
  again. What is wanted is hence the first value or the next.
  """
  size = jnp.abs(dot).astype(jnp.uint32)
  shift = lax.clz(jnp.maximum(size, 1))
  first, _ = multiply(size << shift, root_a)
  first, _ = multiply(first, root_b)
  # x * 2^right = size * root_a * root_b * 2^(shift - 64) is above 2^29, with
  # uncut roots: right is at least 1. It is at most 32, too much for one shift.
  right = shift + 1 - spare(norm_a) - spare(norm_b)
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
  value_high, value_low = multiply(value, value)
  norms_high, norms_low = multiply(norm_a, norm_b)
  carried, low = multiply(value_low, norms_low)
  first_high, first = multiply(value_low, norms_high)
  second_high, second = multiply(value_high, norms_low)
  middle = carried + first
  high = first_high + (middle < first)
  middle = middle + second
  high = high + (middle < second) + second_high + value_high * norms_high

  # size^2 * 2^58 without its lowest limb, which is 0.
  size_high, size_low = multiply(size, size)
  wanted_middle = size_low << 26
  wanted_high = (size_high << 26) | (size_low >> 6)
  borrow = low > 0
  borrow = (wanted_middle < middle) | ((wanted_middle == middle) & borrow)
  return (wanted_high - high - borrow) >> 31 == 0


def multiply(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The 64-bit product of uint32, as its high and its low 32 bits."""
  a_high, a_low = a >> 16, a & 0xFFFF
  b_high, b_low = b >> 16, b & 0xFFFF
  first, second = a_high * b_low, a_low * b_high
  middle = (first & 0xFFFF) + (second & 0xFFFF) + ((a_low * b_low) >> 16)
  high = a_high * b_high + (first >> 16) + (second >> 16) + (middle >> 16)
  return high, a * b
