import numpy as np
import pytest

from faceqat.evaluators import influence, intervals, verification


def _pairs(seed=0, decimals=None, count=400, people=40):
  """Scores, and pairs of people in four folds."""
  rng = np.random.default_rng(seed)
  same = np.arange(count) % 2 == 0
  scores = rng.normal(same * 2, 1)
  if decimals is not None:
    scores = scores.round(decimals)  # many ties
  first = rng.integers(people, size=count)
  other = (first + rng.integers(1, people, size=count)) % people
  ends = np.stack([first, np.where(same, first, other)], axis=1)
  return scores, same, np.arange(count) % 4, ends


@pytest.mark.parametrize('decimals', [None, 1])
def test_the_values_are_those_of_verification(decimals):
  scores, same, fold, ends = _pairs(decimals=decimals)
  wanted = dict(verification.summarize(scores, same, fold))
  found = influence.accuracy(scores, same, fold, ends)
  assert found.value == wanted['accuracy']
  found = influence.true_accept_rate(scores, same, 0.1, ends)
  assert found.value == wanted['tar@far=0.1']
  assert found.trials == 200
  found = influence.equal_error_rate(scores, same, ends)
  assert found.value == wanted['eer']


def test_influences_sum_to_nothing():
  scores, same, fold, ends = _pairs()
  figures = (
    influence.accuracy(scores, same, fold, ends),
    influence.true_accept_rate(scores, same, 0.1, ends),
    influence.equal_error_rate(scores, same, ends),
  )
  for figure in figures:
    # 400 numbers of at most 0.01, in float64.
    assert abs(figure.influence.sum()) < 1e-14
    assert figure.influence.any()


def test_leaving_out_a_person_moves_an_accuracy_by_their_influence():
  scores, same, fold, ends = _pairs(count=4000, people=400)
  figure = influence.accuracy(scores, same, fold, ends)
  thresholds = verification.fold_accuracies(scores, same, fold)[1]
  right = (scores >= thresholds[fold]) == same
  for person in (0, 1, 17):
    mine = (ends == person).any(axis=1)
    # At the same thresholds, with the kinds weighing as much as before.
    without = np.mean([right[~mine & (same == kind)].mean() for kind in (0, 1)])
    moved = figure.value - without
    # To first order: a person is in some 15 of 4,000 pairs.
    assert moved == pytest.approx(figure.influence[mine].sum(), rel=0.05)


def test_what_the_thresholds_add_is_of_the_gap_to_the_apparent_accuracy():
  scores = np.array([0.9, 0.2, 0.8, 0.3, 0.25, 0.1])
  same = np.array([True, False] * 3)
  fold = np.array([0, 0, 1, 1, 2, 2])
  # All thresholds of the others decide rightly but fold 2's: 0.25 and 0.3 are
  # the wrong way around, so that none is right for all.
  rates, _ = verification.fold_accuracies(scores, same, fold)
  best = verification.best_threshold(scores, same)
  apparent = np.mean((scores >= best) == same)
  assert apparent > rates.mean()
  figure = influence.accuracy(scores, same, fold, None)
  assert figure.selection == pytest.approx(
    influence.SELECTION * (apparent - rates.mean()) ** 2
  )


def test_the_slope_carries_false_accepts_to_the_true_ones():
  # Scores are evenly spread, so that a curve is a straight line: different
  # pairs between 0 and 1, same ones between 0 and 2. At a threshold t, FAR is
  # 1 - t and TAR 1 - t / 2; its slope is 1/2.
  grid = (np.arange(1000) + 0.5) / 1000
  scores = np.concatenate([2 * grid, grid])
  same = np.arange(2000) < 1000
  figure = influence.true_accept_rate(scores, same, 0.2, None)
  assert figure.value == pytest.approx(0.6, abs=1e-3)
  accepted = scores > 0.8
  # The slope over 50 of 1,000 pairs, whose steps are 1/1000.
  np.testing.assert_allclose(
    figure.influence[~same],
    -0.5 * (accepted[~same] - 0.2) / 1000,
    rtol=0.03,
  )
  np.testing.assert_allclose(
    figure.influence[same], (accepted[same] - figure.value) / 1000, atol=1e-15
  )
  # Equal errors: 1 - t and t / 2 are equal at t = 2/3, where both are 1/3.
  figure = influence.equal_error_rate(scores, same, None)
  assert figure.value == pytest.approx(1 / 3, abs=1e-3)
  positive = figure.influence[same][-1]
  assert positive == pytest.approx(-(1 / 3) / 1000 / 1.5, rel=0.03)


def test_leaving_out_a_person_moves_rank_one_by_their_influence():
  rng = np.random.default_rng(0)
  cosines = rng.normal(size=(300, 30))
  people = np.repeat(np.arange(30), 10)
  cosines[np.arange(300), people] += 2
  own = cosines[np.arange(300), people]
  others = np.where(np.arange(30) == people[:, None], -9, cosines)
  ranks = 1 + np.sum(others >= own[:, None], axis=1)
  figure = influence.first_answers(ranks, people, others.argmax(axis=1))
  assert figure.value == np.mean(ranks == 1)
  left_out = []
  for person in range(30):
    kept = people != person
    best = np.delete(others, person, axis=1).max(axis=1)
    left_out.append(np.mean(own[kept] > best[kept]))
  owed = np.array(
    [
      figure.influence[(figure.people == person).any(axis=1)].sum()
      for person in range(30)
    ]
  )
  # With one of thirty equal groups away, a probe weighs 30/29.
  np.testing.assert_allclose(
    figure.value - np.array(left_out), owed * 30 / 29, atol=1e-12
  )


def test_rivals_of_an_open_set_are_owed_what_they_cost():
  mated = np.array([True, True, True, False, False])
  identified = np.array([0.9, -np.inf, -np.inf, 0.5, 0.4])
  without = np.array([0.9, 0.8, 0.45, 0.3, 0.4])
  people, rivals = np.array([0, 1, 2, 3, 4]), np.array([1, 0, 0, 2, 1])
  # At an FPIR of 1/2 the first stranger is named, and the threshold is 0.4.
  figure = influence.true_identification_rate(
    identified, without, mated, 0.5, people, rivals
  )
  assert figure.value == pytest.approx(1 / 3)
  assert figure.trials == 3
  owed = {
    (int(a), int(b)): value
    for (a, b), value in zip(figure.people, figure.influence)
  }
  # Persons 1 and 2 would be found without person 0. The stranger 3 would not be
  # named without person 2, but no threshold finds more: the slope is 0.
  assert set(owed) == {(i, i) for i in range(5)} | {(1, 0), (2, 0)}
  assert owed[1, 0] == owed[2, 0] == pytest.approx(-1 / 3)
  assert owed[1, 1] + owed[1, 0] == pytest.approx(-1 / 9)
  assert owed[3, 3] == 0
  # Where it is 1/3 over 2 strangers, the threshold would fall without person 2,
  # and find more.
  identified[1] = 0.45
  figure = influence.true_identification_rate(
    identified, without, mated, 0.5, people, rivals
  )
  assert figure.value == pytest.approx(2 / 3)
  (moved,) = figure.influence[(figure.people == [3, 2]).all(axis=1)]
  assert moved == pytest.approx(-1 / 3 / 2)


def test_the_intervals_cover_what_they_say():
  # 200 trials of 600 pairs of 60 people, some of whom are hard to recognise.
  rng = np.random.default_rng(0)
  _, same, _, _ = _pairs(count=600)
  fold = np.arange(600) * 10 // 600
  first = rng.integers(6, size=600)
  second = np.where(same, first, (first + rng.integers(1, 6, size=600)) % 6)
  ends = np.stack([first, second], axis=1) + 6 * fold[:, None]
  values, limits = [], []
  for _ in range(200):
    hard = rng.normal(size=60)
    scores = rng.normal(np.where(same, 3 - hard[ends[:, 0]], 0), 0.9)
    figure = influence.accuracy(scores, same, fold, ends)
    values.append(figure.value)
    limits.append(intervals.of_share(figure))
  low, high = np.array(limits).T
  held = np.mean((low <= np.mean(values)) & (np.mean(values) <= high))
  # A coverage of 95 % is uncertain by 1.5 % in 200 trials; below 90 % or at
  # 100 % lie more than three deviations.
  assert 0.9 <= held < 1


def test_pairs_of_one_kind_are_refused():
  scores = np.arange(4.0)
  with pytest.raises(ValueError, match='needs pairs of the same and of diff'):
    influence.true_accept_rate(scores, np.ones(4, bool), 0.1, None)
  with pytest.raises(ValueError, match='at least two folds'):
    influence.accuracy(scores, scores > 1, np.zeros(4, int), None)
