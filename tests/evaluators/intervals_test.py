import itertools

import numpy as np
import pytest
from scipy import stats

from faceqat.evaluators import influence, intervals, verification
from faceqat.evaluators.influence import Share


def _pairs(seed=0, count=600, people=60):
  """Scores, and pairs of people in ten folds that share nobody."""
  rng = np.random.default_rng(seed)
  same = np.arange(count) % 2 == 0
  fold = np.arange(count) * 10 // count
  first = rng.integers(people // 10, size=count)
  other = (first + rng.integers(1, people // 10, size=count)) % (people // 10)
  ends = np.stack([first, np.where(same, first, other)], axis=1)
  ends += people // 10 * fold[:, None]
  hard = rng.normal(size=people)
  scores = rng.normal(same * (3 + 0.7 * hard[ends[:, 0]]), 1)
  return scores, same, fold, ends


def _figure(value, influences, people, **more):
  return Share(
    value, np.asarray(influences), np.asarray(people), len(influences), **more
  )


def test_the_variance_of_five_pairs_by_hand():
  ends = [[0, 0], [1, 1], [0, 1], [1, 0], [2, 1]]
  # Person 0 is owed 1 + 3 + 4, person 1 has 2 + 3 + 4 - 10 and person 2 -10:
  # of mean -1, they deviate by 9, 0 and -9; of the couples, 0 and 1 have 7.
  found, freedom = intervals.variance(
    np.array([1.0, 2.0, 3.0, 4.0, -10.0]), np.array(ends)
  )
  assert freedom == 2
  assert found == pytest.approx((81 + 0 + 81) * 3 / 2 - 7**2 - 10**2)


def test_the_variance_is_that_of_products_of_pairs_that_share_a_person():
  rng = np.random.default_rng(0)
  ends = rng.integers(12, size=(80, 2))
  ends[:20, 1] = ends[:20, 0]
  values = rng.normal(size=80)
  sums = np.zeros(12)
  for pair, value in zip(ends, values):
    for person in set(pair.tolist()):
      sums[person] += value
  # With every sum over the people at 0, as of residuals, but for n / (n - 1).
  shared = sum(
    values[p] * values[q]
    for p, q in itertools.product(range(80), repeat=2)
    if set(ends[p].tolist()) & set(ends[q].tolist())
  )
  couples = sum(
    values[p] * values[q]
    for p, q in itertools.product(range(80), repeat=2)
    if set(ends[p].tolist()) == set(ends[q].tolist())
    and ends[p, 0] != ends[p, 1]
  )
  wanted = (shared + couples - 12 * sums.mean() ** 2) * 12 / 11 - couples
  found, _ = intervals.variance(values, ends)
  assert found == pytest.approx(wanted, rel=1e-10)


def test_without_couples_it_is_the_jackknife_over_people():
  rng = np.random.default_rng(0)
  person = np.repeat(np.arange(15), 4)
  right = rng.random(60) < rng.random(15)[person]
  shares = np.array([right[person != i].mean() for i in range(15)])
  wanted = 14 / 15 * np.sum((shares - shares.mean()) ** 2)
  found, _ = intervals.variance(
    (right - right.mean()) / 60, np.stack([person, person], axis=1)
  )
  # Leaving out one of 15 equal parts weighs the others by 15 / 14, and the
  # jackknife's factor is 14 / 15 instead of 15 / 14: both powers cancel.
  assert found == pytest.approx(wanted, rel=1e-10)


def test_names_and_order_play_no_part():
  scores, same, fold, ends = _pairs()
  shuffled = np.random.default_rng(1).permutation(600)
  renamed = np.random.default_rng(2).permutation(10_000)[ends][:, ::-1]
  wanted = list(intervals.of_pairs(scores, same, fold, ends, [0.1]))
  columns = (scores, same, fold, renamed)
  found = list(
    intervals.of_pairs(*(column[shuffled] for column in columns), [0.1])
  )
  # Sums in another order.
  assert dict(found) == pytest.approx(dict(wanted), rel=1e-9)


def test_independent_trials_have_wilsons_interval():
  # Everybody is in one pair; 380 of 400 are right.
  right = np.arange(400) % 20 != 0
  ends = np.stack([np.arange(400)] * 2, axis=1)
  figure = _figure(0.95, (right - 0.95) / 400, ends)
  low, high = intervals.of_share(figure)
  spread, freedom = intervals.variance(figure.influence, ends)
  trials = 0.95 * 0.05 / spread
  assert trials == pytest.approx(399)
  square = stats.t.ppf(0.975, freedom) ** 2
  for limit in (low, high):
    # Where the true share were the limit, the estimate were as far off.
    assert (0.95 - limit) ** 2 == pytest.approx(
      square * limit * (1 - limit) / trials
    )
  assert low < 0.95 < high


@pytest.mark.parametrize('value', [0.0, 1.0])
def test_without_an_error_the_interval_is_that_of_independent_trials(value):
  ends = np.stack([np.arange(50)] * 2, axis=1)
  low, high = intervals.of_share(_figure(value, np.zeros(50), ends))
  square = stats.t.ppf(0.975, 49) ** 2
  width = square / (50 + square)
  assert (low, high) == (
    (0.0, pytest.approx(width)) if value == 0 else (pytest.approx(1 - width), 1)
  )


def test_the_choice_of_thresholds_widens_an_interval():
  ends = np.stack([np.arange(400)] * 2, axis=1)
  influences = (np.arange(400) % 2 - 0.5) / 400
  narrow = intervals.of_share(_figure(0.5, influences, ends))
  spread, _ = intervals.variance(influences, ends)
  wide = intervals.of_share(
    _figure(0.5, influences, ends, selection=3 * spread)
  )
  # Four times the variance; Wilson's interval is a bit less than twice as wide.
  assert np.diff(wide) == pytest.approx(2 * np.diff(narrow), rel=0.02)


def test_a_difference_is_of_the_pairs_that_differ():
  ends = np.stack([np.arange(400)] * 2, axis=1)
  first = np.arange(400) % 4 != 0
  second = first ^ (np.arange(400) % 40 == 0) ^ (np.arange(400) % 50 == 1)
  figures = [
    _figure(right.mean(), (right - right.mean()) / 400, ends)
    for right in (first, second)
  ]
  low, high = intervals.of_difference(*figures)
  # McNemar's: ten pairs are better, eight worse.
  assert second.mean() - first.mean() == pytest.approx(2 / 400)
  _, freedom = intervals.variance(
    figures[1].influence - figures[0].influence, ends
  )
  quantile = stats.t.ppf(0.975, freedom)
  half = quantile * np.sqrt((18 - 4 / 400) / 400 / 399)
  assert (low, high) == pytest.approx((2 / 400 - half, 2 / 400 + half))


def test_equal_networks_differ_by_no_more_than_two_pairs_would():
  scores, same, fold, ends = _pairs()
  figure = influence.accuracy(scores, same, fold, ends)
  alone = figure._replace(selection=0.0)
  low, high = intervals.of_difference(alone, alone)
  half = stats.t.ppf(0.975, 59) * np.sqrt(2) / 600
  assert (low, high) == pytest.approx((-half, half))
  # The thresholds of equal networks are equal, and add nothing.
  assert figure.selection > 0
  assert intervals.of_difference(figure, figure) == (low, high)


def test_the_difference_of_near_networks_is_surer_than_either():
  scores, same, fold, ends = _pairs()
  near = scores + np.random.default_rng(1).normal(scale=0.01, size=600)
  one, two = (influence.accuracy(s, same, fold, ends) for s in (scores, near))
  low, high = intervals.of_difference(one, two)
  assert low <= 0 <= high
  assert high - low < 0.5 * np.diff(intervals.of_share(one))


@pytest.mark.parametrize('pairs_of_each', [1, 20])
def test_more_pairs_of_the_same_people_are_no_more_certain(pairs_of_each):
  # All pairs of a person are right, or all are wrong: what is known is how
  # many of 50 people there are of either kind.
  person = np.repeat(np.arange(50), pairs_of_each)
  right = person % 2
  figure = _figure(
    0.5, (right - 0.5) / len(right), np.stack([person, person], axis=1)
  )
  low, high = intervals.of_share(figure)
  alone = intervals.of_share(
    _figure(
      0.5, (np.arange(50) % 2 - 0.5) / 50, np.stack([np.arange(50)] * 2, 1)
    )
  )
  assert (low, high) == pytest.approx(alone)


def test_the_intervals_of_pairs_hold_their_figures():
  scores, same, fold, ends = _pairs()
  figures = dict(verification.summarize(scores, same, fold))
  found = dict(intervals.of_pairs(scores, same, fold, ends, [0.1]))
  assert len(found) == 6
  for name in ('accuracy', 'eer', 'tar@far=0.1'):
    assert (
      0 <= found[f'low/{name}'] < figures[name] < found[f'high/{name}'] <= 1
    )
  # Scores in integers, as matching gives them, have the same order.
  integers = np.rint(scores * 2**20).astype(np.int32)
  again = dict(intervals.of_pairs(integers, same, fold, ends, [0.1]))
  assert again == found


def test_few_people_with_all_errors_leave_few_degrees_of_freedom():
  ends = np.stack([np.arange(1000)] * 2, axis=1)
  for wrong in (2, 10):
    influences = np.where(np.arange(1000) < wrong, -1.0, wrong / 1000)
    _, freedom = intervals.variance(influences, ends)
    # Three for each; the people without an error have next to nothing.
    assert freedom == pytest.approx(3 * wrong, rel=0.03)
  _, freedom = intervals.variance(np.where(np.arange(1000) % 2, 1, -1), ends)
  assert freedom == 999


def test_one_person_is_too_few():
  ends = np.zeros([3, 2], int)
  with pytest.raises(ValueError, match='needs two of them, got 1'):
    intervals.variance(np.ones(3), ends)
