"""Arithmetic that gives the same bits in every program, on every processor.

Training and lowering are two programs, perhaps for different processors, and
have to round a weight to the same integer. Quotients and roots cannot decide
it, as XLA and processors approximate them in different ways; and in `a * b + c`
a compiler may leave out the rounding of the product.

So an approximation is only the first guess here. Products and comparisons pick
the result among its neighbours: all processors round a single product alike
(IEEE 754), and no product is part of a sum unless it is exact.

All functions take numpy's arrays too and then return numpy's, which lowering
uses to compile nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np

# In units in the last place; no processor's guess is further off.
_ROOT_NEIGHBOURS = np.arange(-8, 9)
_QUOTIENT_NEIGHBOURS = np.arange(-2, 3)
# A mask that leaves a float32 12 significant bits.
_HIGH_BITS = np.int32(-(2**12))


def namespace(x: jax.Array | np.ndarray):
  """The module whose functions keep an array where it is: jax's or numpy's."""
  return jnp if isinstance(x, jax.Array) else np


def nearest_steps(
  x: jax.Array,
  step: jax.Array,
  *,
  lower: jax.Array | int,
  upper: jax.Array | int,
) -> jax.Array:
  """Returns x / step rounded to a whole number, halves up, and clipped.

  It is the largest k with x >= (k - 1/2) * step, the product in float32.

    >>> nearest_steps(np.float32([0.5, 9]), np.float32(1), lower=-3, upper=3)
    array([1., 3.], dtype=float32)

  Args:
    x: [..., C] float32.
    step: [] or [C] float32, positive.
    lower, upper: whole numbers, of less than 2^20 in magnitude.
  """
  xp = namespace(x)
  guess = xp.clip(xp.round(x / step), lower, upper)
  up_to = x >= (guess - 0.5) * step
  beyond = x >= (guess + 0.5) * step
  steps = guess - 1 + up_to.astype(np.float32) + beyond.astype(np.float32)
  return xp.clip(steps, lower, upper)


def nearest_quotient(x: jax.Array, divisor: int) -> jax.Array:
  """Returns x / divisor, the float32 that is nearest.

  Args:
    x: any shape, float32, of 1e-30 or more.
    divisor: an odd number below 2^8.
  """
  if divisor % 2 == 0 or not 0 < divisor < 2**8:
    raise ValueError(f'divisor is {divisor}; it is odd and below 256')
  bits, quotients = _neighbours(
    x * np.float32(1 / divisor), _QUOTIENT_NEIGHBOURS
  )
  # Both parts have 12 bits, so their products with the divisor are exact, and
  # so are the differences. Errors fall to the nearest, then rise: an odd
  # divisor leaves no two equally near.
  xp = namespace(x)
  high = (bits & _HIGH_BITS).view(np.float32)
  low = quotients - high
  error = xp.abs((x - high * divisor) - low * divisor)
  nearer = xp.sum(error[1:] < error[:-1], axis=0, dtype=np.int32)
  return (bits[0] + nearer).view(np.float32)


def inverse_root(x: jax.Array) -> jax.Array:
  """Returns 1 / sqrt(x), within a unit in the last place, no gradient.

  It is the largest r with (r * r) * x <= 1, both products rounded to float32.

  Args:
    x: any shape, float32, positive and finite.
  """
  xp = namespace(x)
  bits, roots = _neighbours(1 / xp.sqrt(x), _ROOT_NEIGHBOURS)
  fitting = xp.sum(roots * roots * x <= 1, axis=0, dtype=np.int32) - 1
  return (bits[0] + fitting).view(np.float32)


def _neighbours(guess, offsets):
  """Returns the float32 about a positive one, [N, ...], as bits and values."""
  if isinstance(guess, jax.Array):
    guess = jax.lax.stop_gradient(guess)
  offsets = np.expand_dims(
    offsets.astype(np.int32), tuple(range(1, guess.ndim + 1))
  )
  bits = guess.view(np.int32) + offsets
  return bits, bits.view(np.float32)
