import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.losses import softmax


def _logits(seed=0):
  rng = np.random.default_rng(seed)
  logits = 5 * rng.normal(size=(12, 7)).astype(np.float32)
  return logits, rng.integers(7, size=12).astype(np.int32)


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 0.9])
def test_smoothed_labels_are_a_distribution_over_the_classes(smoothing):
  logits, labels = _logits()
  wanted = (1 - smoothing) * np.eye(7)[labels] + smoothing / 7
  logits64 = np.float64(logits)
  probabilities = np.exp(logits64) / np.exp(logits64).sum(1, keepdims=True)
  # A sum of seven float32 logarithms of up to 20.
  np.testing.assert_allclose(
    softmax.cross_entropy(logits, labels, smoothing),
    -np.sum(wanted * np.log(probabilities), axis=1),
    rtol=1e-5,
    atol=1e-5,
  )


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_a_label_past_the_classes_is_nan_and_not_a_plausible_loss(smoothing):
  logits, labels = _logits()
  labels[3] = 7
  losses = softmax.cross_entropy(logits, labels, smoothing)
  np.testing.assert_array_equal(np.isnan(losses), np.arange(12) == 3)


def test_the_length_of_an_embedding_plays_a_part_in_linear_logits():
  rng = np.random.default_rng(0)
  embeddings, weights = rng.normal(size=(3, 8)), rng.normal(size=(8, 5))
  bias = rng.normal(size=5)
  logits = softmax.linear_logits(
    jnp.asarray(embeddings, jnp.bfloat16), jnp.asarray(weights), bias
  )
  assert logits.dtype == jnp.float32
  rounded = np.float64(np.asarray(jnp.asarray(embeddings, jnp.bfloat16)))
  # Eight float32 products, whose magnitudes add up to some ten.
  np.testing.assert_allclose(logits, rounded @ weights + bias, atol=1e-5)
