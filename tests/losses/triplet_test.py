import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from device_counts import on_one_and_eight

from faceqat.losses.triplet import MINING, triplet_loss

MARGIN = 0.2
LABELS = np.repeat(np.arange(4), [4, 4, 5, 3]).astype(np.int32)
MININGS = sorted(MINING)
# A mean over up to 586 triplets, in any order: 586 * 2^-24 of it.
SUMMED = 5e-5
BOTH = pytest.mark.parametrize('squared', [False, True])
EACH = pytest.mark.parametrize('mining', MININGS)


def _embeddings(spread=1.0, size=16, width=8, seed=0):
  """Images around their people's directions, or all around one."""
  rng = np.random.default_rng(seed)
  x = np.eye(width)[0] + spread * rng.normal(size=(size, width))
  return x.astype(np.float32)


def _distances(embeddings, squared):
  unit = embeddings.astype(np.float64)
  unit /= np.linalg.norm(unit, axis=1, keepdims=True)
  between = np.linalg.norm(unit[:, None] - unit[None], axis=2)
  return between**2 if squared else between


def _triplets(labels):
  images = range(len(labels))
  return [
    (a, p, n)
    for a, p, n in itertools.product(images, images, images)
    if a != p and labels[a] == labels[p] != labels[n]
  ]


def _reference(mining, distances, labels):
  """One triplet at a time in float64."""
  triplets = _triplets(labels)
  if mining == 'batch_all':
    losses = [
      distances[a, p] - distances[a, n] + MARGIN for a, p, n in triplets
    ]
    return np.mean([loss for loss in losses if loss > 0])
  chosen = {}
  for a, p, n in triplets:
    chosen.setdefault(a if mining == 'batch_hard' else (a, p), []).append(
      (distances[a, p], distances[a, n])
    )
  losses = []
  for options in chosen.values():
    positive = max(to_positive for to_positive, _ in options)
    negatives = [to_negative for _, to_negative in options]
    if mining == 'batch_hard':
      negative = min(negatives)
    else:
      farther = [n for n in negatives if n > positive]
      negative = min(farther) if farther else max(negatives)
    losses.append(max(0, positive - negative + MARGIN))
  return np.mean(losses)


@functools.partial(jax.jit, static_argnames=('mining', 'squared'))
def _loss_and_gradient(mining, embeddings, labels, squared):
  def loss(embeddings):
    return triplet_loss(
      mining, embeddings, labels, margin=MARGIN, squared=squared
    )

  return jax.value_and_grad(loss, has_aux=True)(embeddings)


def _loss(mining, embeddings, labels=LABELS, squared=False):
  return _loss_and_gradient(mining, embeddings, labels, squared)[0]


def _gradient(mining, embeddings, labels=LABELS, squared=False):
  gradient = _loss_and_gradient(mining, embeddings, labels, squared)[1]
  return np.asarray(gradient)


@BOTH
@EACH
def test_the_loss_equals_one_triplet_at_a_time(mining, squared):
  embeddings = _embeddings()
  distances = _distances(embeddings, squared)
  loss, scores = _loss(mining, 3 * embeddings, squared=squared)
  assert loss.dtype == jnp.float32
  assert loss.shape == ()
  # And distances near 1 in float32.
  np.testing.assert_allclose(
    loss, _reference(mining, distances, LABELS), rtol=SUMMED, atol=1e-6
  )
  triplets = _triplets(LABELS)
  positive = [
    distances[a, p] - distances[a, n] + MARGIN > 0 for a, p, n in triplets
  ]
  assert 0.1 < np.mean(positive) < 0.9
  np.testing.assert_allclose(scores['positive_fraction'], np.mean(positive))


def test_the_mean_distances_are_plain_ones_between_different_images():
  embeddings = _embeddings()
  distances = _distances(embeddings, squared=False)
  same = LABELS[:, None] == LABELS[None]
  for squared in (False, True):
    _, scores = _loss('batch_all', embeddings, squared=squared)
    for name, pairs in (
      ('positive_distance', same & ~np.eye(len(LABELS), dtype=bool)),
      ('negative_distance', ~same),
    ):
      np.testing.assert_allclose(
        scores[name], distances[pairs].mean(), rtol=SUMMED
      )


@BOTH
@EACH
def test_the_gradient_is_that_of_the_formula(mining, squared):
  embeddings = _embeddings(seed=2)
  direction = np.random.default_rng(1).normal(size=embeddings.shape)

  def moved(step):
    distances = _distances(embeddings + step * direction, squared)
    return _reference(mining, distances, LABELS)

  gradient = _gradient(mining, embeddings, squared=squared)
  expected = (moved(1e-6) - moved(-1e-6)) / 2e-6
  # Float32 against a central difference in float64.
  np.testing.assert_allclose(
    np.sum(gradient * direction), expected, rtol=1e-4, atol=1e-5
  )


@EACH
@pytest.mark.parametrize(
  'labels',
  [np.zeros(8, np.int32), np.arange(8, dtype=np.int32)],
  ids=['one person', 'one image each'],
)
def test_a_batch_without_triplets_has_neither_loss_nor_gradient(mining, labels):
  embeddings = _embeddings(size=8)
  loss, scores = _loss(mining, embeddings, labels)
  assert loss == 0
  assert scores['positive_fraction'] == 0
  assert all(np.isfinite(score) for score in scores.values())
  np.testing.assert_array_equal(_gradient(mining, embeddings, labels), 0)


@EACH
def test_anchors_without_a_triplet_do_not_count(mining):
  # A fifth person of one image: a negative, but no anchor.
  embeddings = _embeddings(size=len(LABELS) + 1)
  labels = np.append(LABELS, 9).astype(np.int32)
  loss, _ = _loss(mining, embeddings, labels)
  expected = _reference(mining, _distances(embeddings, False), labels)
  np.testing.assert_allclose(loss, expected, rtol=SUMMED, atol=1e-6)
  assert np.all(np.isfinite(_gradient(mining, embeddings, labels)))


@BOTH
@EACH
def test_a_collapse_is_seen_and_has_no_gradient(mining, squared):
  embeddings = np.ones((len(LABELS), 8), np.float32)
  loss, scores = _loss(mining, embeddings, squared=squared)
  # The trap: every triplet is short of the margin by all of it, and no
  # direction is better than another.
  np.testing.assert_allclose(loss, MARGIN, rtol=SUMMED)
  assert scores['positive_fraction'] == 1
  assert scores['positive_distance'] == scores['negative_distance'] == 0
  gradient = _gradient(mining, embeddings, squared=squared)
  np.testing.assert_array_equal(gradient, 0)


@EACH
def test_only_plain_distances_pull_a_network_out_of_a_near_collapse(mining):
  """They have one gradient at any size, squares one that fades with it."""
  strength = {
    (squared, spread): np.linalg.norm(
      _gradient(mining, _embeddings(spread), squared=squared)
    )
    for squared in (False, True)
    for spread in (1e-2, 1e-4)
  }
  assert strength[False, 1e-4] == pytest.approx(strength[False, 1e-2], rel=0.1)
  assert strength[False, 1e-4] > 0.1
  assert strength[True, 1e-4] < 0.02 * strength[True, 1e-2]


@EACH
def test_equal_images_in_a_batch_have_finite_gradients(mining):
  embeddings = np.repeat(_embeddings(size=8), 2, axis=0)
  gradient = _gradient(mining, embeddings)
  assert np.all(np.isfinite(gradient))
  assert np.any(gradient)


@EACH
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('factor', [0.0, 1e-15, 1e15])
def test_gradients_are_finite_at_any_length(mining, dtype, factor):
  embeddings = jnp.asarray(factor * _embeddings(), dtype)
  gradient = _gradient(mining, embeddings)
  assert gradient.dtype == dtype
  assert np.all(np.isfinite(gradient.astype(np.float32)))


@EACH
def test_what_is_not_a_number_is_not_hidden(mining):
  embeddings = _embeddings()
  embeddings[3, 2] = np.nan
  assert np.isnan(_loss(mining, embeddings)[0])


@EACH
def test_triplets_are_of_the_whole_batch_on_any_number_of_devices(mining):
  batch = {'embeddings': _embeddings(), 'labels': LABELS}
  one, eight = on_one_and_eight(
    lambda parts, mesh: _loss_and_gradient(mining, **parts, squared=False),
    batch,
  )
  # The order of sums of numbers near 1. Two images, the part of one device,
  # hold no triplet at all.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=SUMMED, atol=1e-5),
    eight,
    one,
  )
