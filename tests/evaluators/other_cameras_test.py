"""Limits of a rate for a camera that nobody measured."""

import numpy as np
import pytest

from faceqat.evaluators import other_cameras
from faceqat.evaluators.match_rates import Rate


def make_rates(logits, pairs=10**9):
  values = 1 / (1 + np.exp(-logits))
  return [Rate(x, 0, 1, round(x * pairs), pairs) for x in values]


@pytest.mark.parametrize('sets', [3, 10])
def test_a_further_set_lies_within_nineteen_times_in_twenty(sets):
  rng = np.random.default_rng(sets)
  inside = 0
  for _ in range(2000):
    logits = rng.normal(-5, 0.6, sets + 1)
    low, high = other_cameras.limits_of(make_rates(logits[1:]))
    inside += low <= make_rates(logits[:1])[0].value <= high
  # Four standard errors of 2,000 draws.
  assert abs(inside / 2000 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000)


def test_sets_without_a_match_and_too_few_sets():
  rates = [Rate(0.0, 0, 1, 0, 1000)] * 3
  low, high = other_cameras.limits_of(rates)
  assert 0 < low <= high < 1e-3
  with pytest.raises(ValueError, match='2 sets; wanted 3 at least'):
    other_cameras.limits_of(rates[:2])
