"""Learning the embeddings of a teacher: no labels are needed."""

import jax
import jax.numpy as jnp

# Below this squared norm a vector has no direction.
_MIN_SQUARED_NORM = 1e-12


def loss(
  embeddings: jax.Array, targets: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The squared distance of unit vectors, 2 - 2 cos (Hinton 2015's idea).

  A verification score is a cosine, so the length of an embedding plays no part
  here either.

  Args:
    embeddings: [B, D] of the network that learns, not normalised.
    targets: [B, D] of the teacher for the same images; no gradient flows here.

  Returns:
    losses: [B] float32 in [0, 4]; cosines: [B] float32.
  """
  cosines = jnp.sum(_unit(embeddings) * _unit(targets), axis=1)
  return 2 - 2 * cosines, cosines


def _unit(x: jax.Array) -> jax.Array:
  x = x.astype(jnp.float32)
  squared = jnp.sum(jnp.square(x), axis=1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squared, _MIN_SQUARED_NORM))
