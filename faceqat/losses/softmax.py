"""Cross-entropy of logits, and the logits of a linear classifier; float32."""

import jax
import jax.numpy as jnp
import optax


def linear_logits(
  embeddings: jax.Array, weights: jax.Array, bias: jax.Array
) -> jax.Array:
  """Logits W^T x + b, in which the length of an embedding plays a part.

  Source: Wen et al. 2016, equation 1; the classifier of facenet, too.

  Args:
    embeddings: [B, D] any float type, not normalised.
    weights: [D, K], one class a column.
    bias: [K].

  Returns:
    [B, K] float32 logits.
  """
  return bias + jnp.matmul(
    embeddings.astype(jnp.float32),
    weights.astype(jnp.float32),
    precision=jax.lax.Precision.HIGHEST,
  )


def cross_entropy(
  logits: jax.Array, labels: jax.Array, label_smoothing: float
) -> jax.Array:
  """Cross-entropy with smoothed labels.

  The target is 1 - e at the label, and e / K more at every class. Source:
  Szegedy et al. 2016, "Rethinking the Inception architecture", section 7.

  Args:
    logits: [B, K] float32.
    labels: [B] int32 in [0, K). A label of K or more gives a loss of NaN.
    label_smoothing: e, from 0 to below 1; 0: none.

  Returns:
    [B] float32, in nats.
  """
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  if not label_smoothing:
    return losses
  of_all = -jnp.mean(jax.nn.log_softmax(logits), axis=1)
  return (1 - label_smoothing) * losses + label_smoothing * of_all


def hits(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Whether the largest logit is the label's: [B] float32 in {0, 1}."""
  return (jnp.argmax(logits, axis=1) == labels).astype(jnp.float32)
