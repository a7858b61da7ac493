import numpy as np
import pytest

from faceqat.evaluators import bootstrap, verification

ONCE = np.ones([1, 300], np.int32)


def _pairs(seed=0, decimals=None, count=300, people=40):
  """Scores, and pairs of people in three folds."""
  rng = np.random.default_rng(seed)
  same = np.arange(count) % 2 == 0
  scores = rng.normal(same * 1.2, 1)
  if decimals is not None:
    scores = scores.round(decimals)  # many ties
  ends = np.array([rng.choice(people, 2, replace=False) for _ in range(count)])
  ends[same, 1] = ends[same, 0]
  return scores, same, np.arange(count) % 3, ends


def test_a_pair_counts_as_often_as_its_people_were_drawn():
  # Each person has a same pair, so that their own count can be seen.
  ends = np.array([[3, 3], [8, 8], [5, 5], [3, 8], [8, 5], [5, 3]])
  weights = bootstrap.draw_weights(ends, 400, seed=0)
  assert weights.shape == (400, 6)
  drawn = weights[:, :3]
  assert set(drawn.sum(axis=1).tolist()) == {3}
  for pair, (a, b) in zip((3, 4, 5), ((0, 1), (1, 2), (2, 0))):
    np.testing.assert_array_equal(weights[:, pair], drawn[:, a] * drawn[:, b])
  # Everybody is as likely: 1200 draws, a deviation of 16 each.
  assert np.abs(drawn.sum(axis=0) - 400).max() < 5 * 16.4


def test_resamples_follow_the_seed():
  ends = _pairs()[3]
  one, again, other = (bootstrap.draw_weights(ends, 3, s) for s in (1, 1, 2))
  np.testing.assert_array_equal(one, again)
  assert not np.array_equal(one, other)


@pytest.mark.parametrize('decimals', [None, 1])
def test_with_every_pair_once_the_figures_are_those_of_verification(decimals):
  scores, same, fold, _ = _pairs(decimals=decimals)
  wanted = dict(verification.summarize(scores, same, fold))
  (found,) = bootstrap.accuracies(scores, same, fold, ONCE)
  assert found == wanted['accuracy']
  (found,) = bootstrap.tars(scores, same, ONCE, 0.1)
  assert found == wanted['tar@far=0.1']


@pytest.mark.parametrize('decimals', [None, 1])
def test_weights_are_repetitions(decimals):
  scores, same, fold, ends = _pairs(decimals=decimals)
  # More than are computed at a time.
  weights = bootstrap.draw_weights(ends, 130, seed=0)
  thresholds = bootstrap.best_thresholds(scores, same, weights)
  accuracies = bootstrap.accuracies(scores, same, fold, weights)
  tars = bootstrap.tars(scores, same, weights, 0.1)
  for row in (0, 1, 2, 99, 100, 129):
    repeated = np.repeat(np.arange(300), weights[row])
    columns = scores[repeated], same[repeated]
    assert thresholds[row] == verification.best_threshold(*columns)
    rates, _ = verification.fold_accuracies(*columns, fold[repeated])
    # A mean of the same three fractions.
    assert accuracies[row] == pytest.approx(rates.mean(), abs=1e-15)
    positive, negative = (columns[0][columns[1] == kind] for kind in (1, 0))
    assert tars[row] == max(
      np.mean(positive >= threshold)
      for threshold in np.append(columns[0], np.inf)
      if np.mean(negative >= threshold) <= 0.1
    )


def test_thresholds_at_the_ends_accept_all_or_none_of_a_resample():
  scores = np.array([0.9, 0.4, 0.2, 0.1])
  weights = np.array([[0, 1, 1, 0]])
  for kind in (True, False):
    same = np.full(4, kind)
    wanted = verification.best_threshold(scores[1:3], same[1:3])
    assert bootstrap.best_thresholds(scores, same, weights) == [wanted]


def test_a_fold_that_a_resample_lacks_is_left_out():
  scores = np.array([0.9, 0.1, 0.9, 0.1, 0.3, 0.2])
  same = np.array([True, False] * 3)
  fold = np.array([0, 0, 1, 1, 2, 2])
  weights = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [0] * 6])
  found = bootstrap.accuracies(scores, same, fold, weights)
  np.testing.assert_allclose(found, [5 / 6, 1, np.nan])
  found = bootstrap.tars(scores, same, weights, 0.1)
  np.testing.assert_array_equal(found, [1, 1, np.nan])
  weights = np.array([[1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]])
  assert np.isnan(bootstrap.tars(scores, same, weights, 0.1)).all()


def test_an_interval_is_the_middle_of_what_is_known():
  values = np.append(np.arange(101.0), [np.nan] * 7)
  assert bootstrap.interval(values, 0.9) == pytest.approx((5, 95))
  assert bootstrap.interval(values) == pytest.approx((2.5, 97.5))


@pytest.mark.parametrize('pairs_of_each', [1, 20])
def test_more_pairs_of_the_same_people_are_no_more_certain(pairs_of_each):
  # All pairs of a person are right, or all are wrong: what is known is how
  # many of 50 people there are of either kind.
  person = np.repeat(np.arange(50), pairs_of_each)
  ends = np.concatenate([np.stack([person, person], 1), [[0, 1], [2, 3]]])
  scores = np.concatenate([person % 2, [0.5, 0.5]])
  weights = bootstrap.draw_weights(ends, 400, seed=0)
  # Two drawn people who are in the different pairs are needed: most have them.
  values = bootstrap.tars(scores, ends[:, 0] == ends[:, 1], weights, 0.0)
  assert np.nanmean(values) == pytest.approx(0.5, abs=0.02)
  # A deviation of some 300 values is uncertain by 4 %.
  assert np.nanstd(values) == pytest.approx(np.sqrt(0.25 / 50), rel=0.15)


def test_the_difference_of_near_runs_is_surer_than_either():
  scores, same, fold, ends = _pairs()
  weights = bootstrap.draw_weights(ends, 200, seed=0)
  near = scores + np.random.default_rng(1).normal(scale=0.01, size=300)
  one, two = (
    bootstrap.accuracies(s, same, fold, weights) for s in (scores, near)
  )
  low, high = bootstrap.interval(two - one)
  assert low <= 0 <= high
  assert high - low < 0.5 * np.subtract(*bootstrap.interval(one)[::-1])


def test_shares_are_those_of_the_drawn_people():
  people = np.array([4, 4, 2, 7])
  weights = bootstrap.draw_person_weights(people, 50)
  np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
  assert set(weights[:, 1:].sum(axis=1).tolist()) == {3}
  hits = np.array([True, False, True, False])
  wanted = [np.repeat(hits, row).mean() for row in weights]
  np.testing.assert_array_equal(bootstrap.shares(hits, weights), wanted)
  nobody = bootstrap.shares(hits, np.zeros([1, 4], np.int32))
  assert np.isnan(nobody).all()
  assert dict(bootstrap.limits('rank1', nobody)) == {}


def test_the_intervals_of_pairs_hold_their_figures():
  scores, same, fold, ends = _pairs()
  figures = dict(verification.summarize(scores, same, fold))
  found = dict(
    bootstrap.of_pairs(scores, same, fold, ends, fars=[0.1], num_resamples=100)
  )
  assert len(found) == 4
  for name in ('accuracy', 'tar@far=0.1'):
    assert found[f'low/{name}'] <= figures[name] <= found[f'high/{name}']
    assert found[f'low/{name}'] < found[f'high/{name}']
  # Scores in integers, as matching gives them, have the same order.
  integers = np.rint(scores * 2**20).astype(np.int32)
  again = dict(
    bootstrap.of_pairs(
      integers, same, fold, ends, fars=[0.1], num_resamples=100
    )
  )
  assert again == found
