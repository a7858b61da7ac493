"""Scores by how each template resembles strangers."""

import numpy as np
import pytest

from faceqat.evaluators import normalised_scores


def draw(alike, seed, people=140):
  """Faces of a camera that are all more or less alike."""
  rng = np.random.default_rng(seed)
  return rng.normal(size=(people, 24)) + alike * rng.uniform(0, 2, (people, 1))


@pytest.mark.parametrize('share', [0.1, 0.01])
def test_a_threshold_is_that_of_all_pairs(share, monkeypatch):
  monkeypatch.setattr(normalised_scores, '_BLOCK', 33)
  embeddings, people = draw(0.3, seed=0), np.arange(140)
  (threshold,) = normalised_scores.thresholds(embeddings, people, [share])
  cohort = np.random.default_rng(0).permutation(people)[:40]
  rest = np.setdiff1d(people, cohort)
  scores = []
  unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
  for one in rest:
    strangers = unit[cohort] @ unit[one]
    others = unit[rest[rest != one]] @ unit[one]
    scores.append((others - strangers.mean()) / strangers.std())
  scores = np.concatenate(scores)
  assert np.mean(scores >= threshold) <= share
  # One step lower is too many.
  assert np.mean(scores >= threshold - 2 / normalised_scores._STEPS) > share


def test_a_threshold_holds_on_another_camera():
  one = draw(0.1, seed=0, people=400)
  (threshold,) = normalised_scores.thresholds(one, np.arange(400), [0.02])
  # Whose faces are all more alike.
  other, strangers = draw(0.6, seed=1, people=400), draw(0.6, 2, people=40)
  mean, deviation = normalised_scores.statistics(other, strangers)
  off = ~np.eye(400, dtype=bool)
  cosines = []
  for faces in (one, other):
    unit = faces / np.linalg.norm(faces, axis=1, keepdims=True)
    cosines.append((unit @ unit.T)[off].reshape(400, 399))
  scores = (cosines[1] - mean[:, np.newaxis]) / deviation[:, np.newaxis]
  # These faces are not spread as those are.
  assert 0.005 < np.mean(scores >= threshold) < 0.03
  assert np.mean(cosines[1] >= np.quantile(cosines[0], 0.98)) > 0.2


def test_few_people_have_no_threshold():
  found = normalised_scores.thresholds(draw(0, 0, 42), np.arange(42), [0.1])
  assert found == [None]
  found = normalised_scores.thresholds(draw(0, 0, 60), np.arange(60), [1e-4])
  assert found == [None]
