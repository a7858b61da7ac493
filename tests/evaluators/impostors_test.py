"""False-match rates against all pairs one by one, and their intervals."""

import itertools

import numpy as np
import pytest

from faceqat.evaluators import impostors


def draw(rng, num_people, images_per_person, size=8):
  """Embeddings around a centre for each person."""
  centres = rng.normal(size=(num_people, size))
  people = np.repeat(np.arange(num_people), images_per_person)
  return centres[people] + rng.normal(size=(len(people), size)) * 0.5, people


def test_rates_are_those_of_all_pairs(monkeypatch):
  monkeypatch.setattr(impostors, '_BLOCK', 7)
  embeddings, people = draw(np.random.default_rng(0), 30, 2)
  # Names in any order.
  shuffled = np.random.default_rng(1).permutation(len(people))
  embeddings, people = embeddings[shuffled], people[shuffled] * 10
  unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
  scores = np.array(
    [
      unit[i] @ unit[j]
      for i, j in itertools.combinations(range(60), 2)
      if people[i] != people[j]
    ]
  )
  rates = (0.5, 0.1, 0.02)
  found = impostors.false_match_rates(embeddings, people, rates)
  assert len(found) == 3
  for rate, asked in zip(found, rates):
    assert rate.pairs == len(scores) == 60 * 58 // 2
    reached = int(np.sum(scores >= rate.threshold))
    assert rate.matches == reached
    assert rate.value == reached / len(scores) <= asked
    # One step lower is one too many.
    lower = rate.threshold - 2 / impostors._STEPS
    assert np.mean(scores >= lower) > asked
    assert rate.low < rate.value < rate.high


def test_a_rate_that_few_pairs_make_is_left_out():
  embeddings, people = draw(np.random.default_rng(0), 20, 1)
  found = impostors.false_match_rates(embeddings, people, (0.3, 0.1, 0.01))
  # Of 190 pairs, 57 and 19.
  assert [rate.matches for rate in found] == [57]


def test_intervals_hold_the_rate_of_all_people():
  # At a fixed threshold, over people who are drawn anew.
  rng = np.random.default_rng(0)
  embeddings, people = draw(rng, 1500, 2)
  true = impostors.false_match_rates(embeddings, people, (0.05,))[0]
  held = 0
  for _ in range(200):
    embeddings, people = draw(rng, 60, 2)
    step = round((true.threshold + 1) * impostors._STEPS / 2)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    found = impostors._with_interval(np.float32(unit), people, step)
    held += found.low <= true.value <= found.high
  # Of 200 intervals of 95 %; a binomial share is within 0.05 of it.
  assert 0.90 <= held / 200 <= 0.995


def test_two_people_are_too_few():
  with pytest.raises(ValueError, match='2 people make no interval'):
    impostors.false_match_rates(np.eye(4), np.array([0, 0, 1, 1]), (0.1,))
