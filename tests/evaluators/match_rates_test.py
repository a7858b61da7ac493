"""False-match rates against all pairs one by one, and their intervals."""

import itertools

import numpy as np
import pytest

from faceqat.evaluators import intervals, match_rates


def draw(rng, num_people, images_per_person, size=8):
  """Embeddings around a centre for each person, and a pair of each."""
  centres = rng.normal(size=(num_people, size))
  people = np.repeat(np.arange(num_people), images_per_person)
  embeddings = centres[people] + rng.normal(size=(len(people), size)) * 0.5
  first = np.arange(num_people) * images_per_person
  return embeddings, people, np.stack([first, first + images_per_person - 1])


def test_rates_and_intervals_are_those_of_all_pairs(monkeypatch):
  monkeypatch.setattr(match_rates, '_BLOCK', 7)
  embeddings, people, genuine = draw(np.random.default_rng(0), 30, 2)
  # Names in any order.
  shuffled = np.random.default_rng(1).permutation(len(people))
  embeddings, people = embeddings[shuffled], people[shuffled] * 10
  genuine = np.argsort(shuffled)[genuine]
  unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
  ends = np.array(
    [
      (i, j)
      for i, j in itertools.combinations(range(60), 2)
      if people[i] != people[j]
    ]
  )
  scores = np.sum(unit[ends[:, 0]] * unit[ends[:, 1]], axis=1)
  own = np.sum(unit[genuine[0]] * unit[genuine[1]], axis=1)
  rates = (0.5, 0.1, 0.02)
  found = match_rates.measure(embeddings, people, genuine, rates)
  assert len(found) == 3
  for row, asked in zip(found, rates):
    rate = row.false_matches
    assert rate.pairs == len(scores) == 60 * 58 // 2
    matches = scores >= row.threshold
    assert rate.count == np.sum(matches)
    assert rate.value == np.mean(matches) <= asked
    # One step lower is one too many.
    lower = row.threshold - 2 / match_rates._STEPS
    assert np.mean(scores >= lower) > asked
    share = intervals.Share(
      rate.value, (matches - rate.value) / len(matches), people[ends], len(ends)
    )
    # Sums of 1,740 terms in another order.
    np.testing.assert_allclose(
      (rate.low, rate.high), intervals.of_share(share), rtol=1e-9
    )
    assert rate.low < rate.value < rate.high
    assert row.misses.count == np.sum(own < row.threshold)
    assert row.misses.value == np.mean(own < row.threshold)
    assert row.misses.low <= row.misses.value < row.misses.high
  assert found[0].misses.count < found[2].misses.count


def test_a_rate_that_few_pairs_make_is_left_out():
  drawn = draw(np.random.default_rng(0), 20, 1)
  found = match_rates.measure(*drawn, (0.3, 0.1, 0.01))
  # Of 190 pairs, 57, 19 and 1.
  assert [row.false_matches.count for row in found] == [57, 19]


def test_intervals_hold_the_rate_of_all_people():
  # At a fixed threshold, over people who are drawn anew.
  rng = np.random.default_rng(0)
  true = match_rates.measure(*draw(rng, 1500, 2), (0.01,))[0]
  step = round((true.threshold + 1) * match_rates._STEPS / 2)
  held = 0
  for _ in range(200):
    embeddings, people, _ = draw(rng, 60, 2)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    reached = [
      np.sum(scores[scores >= 0] >= step) / np.sum(scores >= 0)
      for scores, _ in match_rates._blocks(unit, people)
    ]
    (found,) = match_rates._false_matches(
      unit, people, [step], np.array(reached)
    )
    held += found.low <= true.false_matches.value <= found.high
  # Of 200 intervals of 95 % a share of 0.90 to 0.99 hold: three standard
  # deviations of a binomial.
  assert 0.90 <= held / 200 <= 0.995


def test_two_people_are_too_few():
  people, genuine = np.array([0, 0, 1, 1]), np.array([[0], [1]])
  with pytest.raises(ValueError, match='2 people make no interval'):
    match_rates.measure(np.eye(4), people, genuine, (0.1,))


def test_moments_are_those_of_all_pairs():
  embeddings, people, _ = draw(np.random.default_rng(0), 12, 3)
  shuffled = np.random.default_rng(1).permutation(len(people))
  unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
  scores = (unit @ unit.T)[np.triu(people[:, np.newaxis] != people)]
  found = match_rates.moments(embeddings[shuffled], people[shuffled])
  np.testing.assert_allclose(found, (scores.mean(), scores.std()), rtol=1e-9)
