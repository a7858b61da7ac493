import jax
import jax.numpy as jnp
import numpy as np
import pytest
from device_counts import on_one_and_eight

from faceqat.losses.center import center_loss, move_centers
from faceqat.training import sharding


def _example(batch=16, width=8, classes=5, seed=0):
  rng = np.random.default_rng(seed)
  embeddings = rng.normal(size=(batch, width)).astype(np.float32)
  centers = rng.normal(size=(classes, width)).astype(np.float32)
  # The last class has no image.
  labels = rng.integers(classes - 1, size=batch).astype(np.int32)
  return embeddings, centers, labels


def test_centers_move_by_equation_4():
  embeddings, centers, labels = _example()
  expected = centers.astype(np.float64)
  for person, old in enumerate(centers):
    of_person = embeddings[labels == person]
    expected[person] -= 0.5 * (old - of_person).sum(0) / (1 + len(of_person))
  moved = move_centers(centers, embeddings, labels, 0.5)
  assert moved.dtype == jnp.float32
  # Sums of up to 16 float32 numbers below 4: 16 * 2^-24 * 16.
  np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=2e-5)
  np.testing.assert_array_equal(moved[-1], centers[-1])


def test_centers_end_at_the_means_of_their_classes():
  embeddings, centers, labels = _example()
  for _ in range(60):
    centers = move_centers(centers, embeddings, labels, 1.0)
  for person in range(4):
    # Each step leaves 1 / (1 + n) of the way, at most a half, and rounds.
    np.testing.assert_allclose(
      centers[person], embeddings[labels == person].mean(0), atol=1e-5
    )


def test_the_loss_pulls_an_embedding_towards_its_center_and_nothing_else():
  embeddings, centers, labels = _example()
  losses, distances = center_loss(embeddings, centers, labels)
  offsets = embeddings - centers[labels]
  lengths = np.linalg.norm(offsets, axis=1)
  # Sums of eight float32 squares.
  np.testing.assert_allclose(losses, lengths**2 / 2, rtol=2e-6)
  np.testing.assert_allclose(distances, lengths, rtol=2e-6)

  def total(embeddings, centers):
    losses, distances = center_loss(embeddings, centers, labels)
    moved = move_centers(centers, embeddings, labels, 0.5)
    return losses.sum() + distances.sum() + moved.sum()

  to_embeddings, to_centers = jax.grad(total, (0, 1))(embeddings, centers)
  np.testing.assert_array_equal(to_embeddings, offsets)
  np.testing.assert_array_equal(to_centers, 0)


def test_an_embedding_on_its_center_has_a_gradient_of_zero():
  _, centers, labels = _example()
  gradient = jax.grad(
    lambda x: sum(part.sum() for part in center_loss(x, centers, labels))
  )(jnp.asarray(centers[labels]))
  np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize('alpha', [0.5, 1.0])
def test_centers_do_not_depend_on_the_number_of_devices(alpha):
  embeddings, centers, labels = _example()
  move = jax.jit(move_centers, static_argnames='alpha')

  def run(parts, mesh):
    own = sharding.replicate(centers, mesh)
    return move(own, parts['embeddings'], parts['labels'], alpha)

  batch = {'embeddings': embeddings, 'labels': labels}
  one, eight = on_one_and_eight(run, batch)
  # The order of sums, as above. An eighth of the batch would be off by about
  # one.
  np.testing.assert_allclose(eight, one, rtol=1e-5, atol=2e-5)
