"""The center loss: embeddings are drawn to the center of their class.

Wen et al. 2016, "A discriminative feature learning approach for deep face
recognition". Embeddings are not normalised, so the softmax beside this loss has
to be one in which their length plays a part.
"""

import jax
import jax.numpy as jnp


def center_loss(
  embeddings: jax.Array, centers: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Half the squared distance to the center of the class, equation 2.

  Args:
    embeddings: [B, D] any float type, not normalised; they alone have a
      gradient.
    centers: [K, D] float32.
    labels: [B] int32 in [0, K).

  Returns:
    losses: [B] float32; distances: [B] float32, without gradient.
  """
  offsets = embeddings.astype(jnp.float32) - jax.lax.stop_gradient(
    centers[labels]
  )
  squared = jnp.sum(jnp.square(offsets), axis=1)
  return squared / 2, jnp.sqrt(jax.lax.stop_gradient(squared))


def move_centers(
  centers: jax.Array, embeddings: jax.Array, labels: jax.Array, alpha: float
) -> jax.Array:
  """The centers after a batch, equation 4: each towards its own embeddings.

  c_j - alpha * sum(c_j - x_i) / (1 + n_j), over the n_j images of class j. The
  sums are over the whole batch, on however many devices it lies; a class
  without image stays where it is.

  Args:
    centers: [K, D] float32.
    embeddings: [B, D] any float type, not normalised.
    labels: [B] int32 in [0, K).
    alpha: rate, above 0 and at most 1.

  Returns:
    [K, D] float32, without gradient.
  """
  offsets = centers[labels] - embeddings.astype(jnp.float32)
  sums = jax.ops.segment_sum(offsets, labels, len(centers))
  counts = jax.ops.segment_sum(jnp.ones(len(labels)), labels, len(centers))
  return jax.lax.stop_gradient(centers - alpha * sums / (1 + counts[:, None]))
