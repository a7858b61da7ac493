"""Several reductions of activations in one pass over them.

XLA's CPU backend loops over memory once for each reduction, though all read the
same. A reduction of several operands is one loop. Other backends join
reductions by themselves.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax


def channel_sums(*terms: jax.Array) -> list[jax.Array]:
  """Returns the sum of each array over all axes but the last, [C] float32.

  Args:
    *terms: of one shape `[..., C]`; best if all come from the same arrays.
  """
  terms = [term.astype(jnp.float32) for term in terms]
  if len(terms) == 1:
    # XLA gives a single sum to a library and writes all that is to be added to
    # memory for it. Half of twice a number is the number itself.
    first, second = channel_sums(*terms * 2)
    return [(first + second) / 2]
  parts = _in_one_pass(terms, [0.0] * len(terms), [lax.add] * len(terms))
  return [jnp.sum(part, tuple(range(part.ndim - 1))) for part in parts]


def extremes(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the smallest and the largest value of x, [] float32."""
  x = x.astype(jnp.float32)
  low, high = _in_one_pass([x, x], [jnp.inf, -jnp.inf], [lax.min, lax.max])
  return jnp.min(low), jnp.max(high)


def _in_one_pass(
  terms: Sequence[jax.Array],
  starts: Sequence[float],
  combine: Sequence[Callable[[jax.Array, jax.Array], jax.Array]],
) -> Sequence[jax.Array]:
  """Reduces runs of rows of `[B, H, W, C]`; other arrays are left as they are.

  A few rows at a time, which XLA unrolls so that it can vectorise over the
  channels: what is left is small.
  """
  shape = terms[0].shape
  if jax.default_backend() != 'cpu' or len(shape) != 4:
    return terms
  rows = _row_block(shape[1])
  blocks = (shape[0], shape[1] // rows, rows, *shape[2:])
  return lax.reduce(
    [term.reshape(blocks) for term in terms],
    [jnp.float32(start) for start in starts],
    lambda kept, more: [f(a, b) for f, a, b in zip(combine, kept, more)],
    (2,),
  )


def _row_block(rows: int) -> int:
  """Rows to reduce in one go: 4 to 8 that divide `rows`, or all of them."""
  return next((n for n in range(8, 3, -1) if rows % n == 0), rows)
