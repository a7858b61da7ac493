"""Distillation: learns the embeddings of a teacher, without labels."""

import jax
import jax.numpy as jnp

from faceqat.losses.margin import normalize


def distillation_loss(
  embeddings: jax.Array, targets: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The squared distance of unit vectors, 2 - 2 cos.

  Distillation (Hinton et al. 2015) of embeddings in place of class
  probabilities. A verification score is a cosine, so the length of an embedding
  plays no part here either.

  Args:
    embeddings: [B, D] of the network that learns, not normalised.
    targets: [B, D] of the teacher for the same images.

  Returns:
    losses: [B] float32 in [0, 4]; cosines: [B] float32.
  """
  products = normalize(embeddings, axis=1) * normalize(targets, axis=1)
  cosines = jnp.sum(products, axis=1)
  return 2 - 2 * cosines, cosines
