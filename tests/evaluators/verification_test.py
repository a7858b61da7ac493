import dataclasses
import itertools

import jax
import numpy as np
import pytest
from sklearn import metrics

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import verification
from faceqat.faces.lazy_images import LazyImages


def _pair_set(num_pairs=60, num_images=40, seed=0, size=8):
  rng = np.random.default_rng(seed)
  images = rng.integers(256, size=[num_images, size, size, 3], dtype=np.uint8)
  ends = rng.integers(num_images, size=[2, num_pairs])
  return PairSet(
    name='noise',
    images=images,
    first=ends[0],
    second=ends[1],
    same=np.arange(num_pairs) % 2 == 0,
    fold=np.arange(num_pairs) * 10 // num_pairs,
  )


def _predict(images):
  """Sums over rows and over columns; the second changes under a mirror."""
  flat = images.astype(np.float32) - 128
  return np.concatenate([flat.sum((2, 3)), flat[:, :, :, 0].sum(1)], axis=1)


def _overlapping(num_pairs, seed, decimals=None):
  rng = np.random.default_rng(seed)
  same = rng.permutation(np.arange(num_pairs) % 2 == 0)
  scores = rng.normal(same * 1.2, 1)
  if decimals is not None:
    scores = scores.round(decimals)  # many ties
  return scores, same


def test_embedding_is_the_sum_with_the_mirror_image():
  images = _pair_set().images[:3]
  embeddings = verification.embed(_predict, images, batch_size=3)
  for image, embedding in zip(images, embeddings):
    total = _predict(image[None]) + _predict(image[None, :, ::-1])
    np.testing.assert_array_equal(embedding, total[0])
  assert embeddings.dtype == np.float32
  flipped = verification.embed(_predict, images[:, :, ::-1], batch_size=3)
  np.testing.assert_array_equal(embeddings, flipped)


def test_several_networks_see_each_image_once():
  pair_set = _pair_set()
  read = []

  def pixels(index):
    read.append(index)
    return pair_set.images[index]

  lazy = LazyImages(len(pair_set.images), pixels)
  predicts = {'one': _predict, 'other': lambda images: _predict(images) * 2}
  found = verification.embed_pairs_each(
    predicts, dataclasses.replace(pair_set, images=lazy), 7
  )
  assert len(read) == len(set(read)) == len(found['one'].images)
  for name, predict in predicts.items():
    alone = verification.embed_pairs(predict, pair_set, 7)
    np.testing.assert_array_equal(found[name].images, alone.images)
    np.testing.assert_array_equal(found[name].rows, alone.rows)


@pytest.mark.parametrize('dtype', ['int8', 'int16', 'uint8', 'int32'])
def test_integer_embeddings_are_summed_as_integers(dtype):
  highest = min(np.iinfo(dtype).max, 2**30 - 1)

  def predict(images):
    return np.full([len(images), 2], highest, dtype)

  embeddings = verification.embed(predict, _pair_set().images[:3], 2)
  assert embeddings.dtype == np.int32
  np.testing.assert_array_equal(embeddings, 2 * highest)


def test_cosine_is_that_of_unit_vectors():
  rng = np.random.default_rng(0)
  first, second = rng.normal(size=(2, 50, 8))
  first[0], second[0] = 0, 1
  second[1], second[2] = 3 * first[1], -first[2]
  first[3], second[3] = 0, 0
  wanted = [
    sum(x * y for x, y in zip(a, b))
    / max(np.hypot.reduce(a), 1e-300)
    / max(np.hypot.reduce(b), 1e-300)
    for a, b in zip(first, second)
  ]
  cosines = verification.cosine(first, second)
  # Both are float64, and sums of eight products.
  np.testing.assert_allclose(cosines, wanted, atol=1e-14)
  assert np.all(np.abs(cosines) <= 1)
  # Integers as large as they come do not overflow on the way.
  large = np.full([1, 4], 2**30, np.int32)
  np.testing.assert_allclose(verification.cosine(large, large), 1)


@pytest.mark.parametrize('batch_size', [1, 7, 40, 64])
def test_results_do_not_depend_on_the_batch_size(batch_size):
  pairs = _pair_set()
  shapes = set()

  def predict(images):
    shapes.add(images.shape)
    return _predict(images)

  results = dict(verification.evaluate(predict, pairs, batch_size=batch_size))
  assert shapes == {(batch_size, 8, 8, 3)}
  assert results == dict(verification.evaluate(_predict, pairs, batch_size=11))


def test_a_jitted_and_an_integer_predict_score_as_a_numpy_one():
  pairs = _pair_set()

  def predict(images, dtype='float32'):
    return images.astype(dtype).sum((2, 3))

  # Sums of bytes are exact in every type used here.
  expected = verification.embed_pairs(predict, pairs, 16)
  jitted = verification.embed_pairs(jax.jit(predict), pairs, 16)
  integer = verification.embed_pairs(lambda x: predict(x, 'int32'), pairs, 16)
  for embeddings in (jitted, integer):
    np.testing.assert_array_equal(embeddings.images, expected.images)
    np.testing.assert_array_equal(embeddings.rows, expected.rows)


def test_only_the_images_of_pairs_are_embedded_and_once():
  pairs = _pair_set(num_pairs=6)
  seen = []

  class Images:
    def __len__(self):
      return len(pairs.images)

    def __getitem__(self, i):
      seen.append(i)
      return pairs.images[i]

  counted = dataclasses.replace(pairs, images=Images())
  found = verification.embed_pairs(_predict, counted, 4)
  used = set(np.concatenate([pairs.first, pairs.second]).tolist())
  assert sorted(seen) == sorted(used)
  embeddings = verification.embed(_predict, pairs.images, 4)
  np.testing.assert_array_equal(found.images, embeddings[sorted(used)])
  np.testing.assert_array_equal(found.first, embeddings[pairs.first])
  np.testing.assert_array_equal(found.second, embeddings[pairs.second])


@pytest.mark.parametrize(
  ('scores', 'same', 'threshold'),
  [
    # The middle of a gap.
    ([0.9, 0.1, 0.7, 0.3], [True, False, True, False], 0.5),
    # Above .8 and between .6 and .4 are one mistake in three: the strictest.
    ([0.8, 0.6, 0.4], [True, False, True], 0.7),
    # At the ends all are accepted, or none.
    ([0.2, 0.4], [True, True], 0.2),
    ([0.2, 0.4], [False, False], np.nextafter(0.4, 1)),
  ],
)
def test_the_threshold_is_the_strictest_of_the_best(scores, same, threshold):
  found = verification.best_threshold(np.array(scores), np.array(same))
  assert found == threshold


def test_threshold_parts_neighbouring_floats():
  low = 0.5
  for _ in range(4):
    high = np.nextafter(low, 1)
    threshold = verification.best_threshold(
      np.array([low, high]), np.array([False, True])
    )
    assert low < threshold <= high
    low = high


@pytest.mark.parametrize('dtype', ['int16', 'int32', 'int64'])
def test_threshold_of_integers_is_the_integer_that_decides_alike(dtype):
  highest = np.iinfo(dtype).max
  for low, high, wanted in (
    (3, 4, 4),
    (3, 5, 4),
    (3, 6, 5),
    (-4, -3, -3),
    (-1, 0, 0),
    (highest - 2, highest, highest - 1),
    (-highest, highest, 0),
  ):
    scores = np.array([low, high], dtype)
    threshold = verification.best_threshold(scores, np.array([False, True]))
    assert isinstance(threshold, int)
    assert threshold == wanted
    assert low < threshold <= high
  scores = np.array([highest - 1, highest], dtype)
  all_same, none_same = np.ones(2, bool), np.zeros(2, bool)
  assert verification.best_threshold(scores, all_same) == highest - 1
  assert verification.best_threshold(scores, none_same) == highest + 1


def test_scores_in_integers_give_the_same_figures():
  step = 2.0**-20
  scores, same = _overlapping(400, seed=0)
  scores = np.rint(scores / step).astype(np.int32)
  fold = np.arange(400) % 10
  integer = dict(verification.summarize(scores, same, fold))
  rounded = dict(verification.summarize(scores * step, same, fold))
  # A midpoint of integers is rounded up; no score lies between.
  assert integer.pop('threshold') * step == pytest.approx(
    rounded.pop('threshold'), abs=step
  )
  assert integer == rounded


@pytest.mark.parametrize('decimals', [None, 1])
@pytest.mark.parametrize('seed', range(5))
def test_folds_equal_a_brute_force_search(seed, decimals):
  scores, same = _overlapping(80, seed, decimals)
  fold = np.arange(80) % 10
  accuracies, thresholds = verification.fold_accuracies(scores, same, fold)
  for number in range(10):
    others = [i for i in range(80) if fold[i] != number]
    values = sorted({scores[i] for i in others})
    candidates = [values[0], np.nextafter(values[-1], np.inf)]
    candidates += [(a + b) / 2 for a, b in itertools.pairwise(values)]
    right, best = max(
      (sum((scores[i] >= t) == same[i] for i in others), t) for t in candidates
    )
    assert thresholds[number] == best
    decided = (scores[others] >= thresholds[number]) == same[others]
    assert decided.sum() == right
    mine = [i for i in range(80) if fold[i] == number]
    hits = sum((scores[i] >= best) == same[i] for i in mine)
    assert accuracies[number] == hits / len(mine)


def test_the_held_out_fold_does_not_choose_its_threshold():
  scores = np.array([0.9, 0.1, 0.9, 0.1, 0.3, 0.2])
  same = np.array([True, False] * 3)
  fold = np.array([0, 0, 1, 1, 2, 2])
  accuracies, thresholds = verification.fold_accuracies(scores, same, fold)
  np.testing.assert_array_equal(accuracies, [1.0, 1.0, 0.5])
  np.testing.assert_allclose(thresholds, [0.25, 0.25, 0.5])


def test_accuracy_and_its_standard_error_by_hand():
  scores = np.array([0.9, 0.1, 0.9, 0.1, 0.3, 0.2])
  same = np.array([True, False] * 3)
  results = dict(
    verification.summarize(scores, same, np.array([0, 0, 1, 1, 2, 2]))
  )
  assert results['accuracy'] == pytest.approx(5 / 6)
  # Deviation of (1, 1, 1/2) over n - 1 is sqrt(1/12); over sqrt(3) it is 1/6.
  assert results['accuracy_se'] == pytest.approx(1 / 6)
  assert results['threshold'] == pytest.approx(1 / 3)
  assert results['auc'] == 1
  assert results['eer'] == 0


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('decimals', [None, 1])
def test_rates_equal_counting(seed, decimals):
  scores, same = _overlapping(2000, seed, decimals)
  results = dict(verification.summarize(scores, same, np.arange(2000) % 10))
  positive, negative = scores[same], scores[~same]
  wins = np.mean(
    (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
  )
  assert results['auc'] == pytest.approx(wins, abs=1e-12)
  for far in (0.1, 0.01):
    tars = [
      np.mean(positive >= t)
      for t in np.unique(scores)
      if np.mean(negative >= t) <= far
    ]
    assert results[f'tar@far={far:g}'] == max(tars, default=0)
  # Where both errors are equally frequent, each threshold errs on one side.
  far, tar, _ = metrics.roc_curve(same, scores)
  eer = np.interp(0, far + tar - 1, far)
  assert results['eer'] == pytest.approx(eer, abs=1e-12)


@pytest.mark.parametrize(
  ('negatives', 'fars'),
  [
    (99, []),
    (100, ['0.1']),
    (3000, ['0.1', '0.01']),
    (10_000, ['0.1', '0.01', '0.001']),
    (100_000, ['0.1', '0.01', '0.001', '0.0001']),
  ],
)
def test_tar_is_given_only_where_ten_false_accepts_are_expected(
  negatives, fars
):
  same = np.arange(negatives + 20) < 20
  scores = np.random.default_rng(0).normal(same * 1.0)
  results = dict(verification.summarize(scores, same, np.arange(len(same)) % 2))
  assert [k for k in results if k.startswith('tar')] == [
    f'tar@far={far}' for far in fars
  ]


@pytest.mark.parametrize('decimals', [None, 1])
def test_det_rates_equal_those_of_scikit_learn(decimals):
  scores, same = _overlapping(400, 0, decimals)
  fmr, fnmr = verification.det(scores, same)
  assert (fmr[0], fnmr[0], fmr[-1], fnmr[-1]) == (0, 1, 1, 0)
  # scikit-learn gives the same curve without its flat ends, the other way.
  wanted_fmr, wanted_fnmr, thresholds = metrics.det_curve(same, scores)
  inner = set(zip(fmr.round(12), fnmr.round(12)))
  assert len(thresholds) > 10
  assert set(zip(wanted_fmr.round(12), wanted_fnmr.round(12))) <= inner
  assert len(fmr) == len(np.unique(scores)) + 1
  with pytest.raises(ValueError, match='got 0 and 5'):
    verification.det(np.zeros(5), np.zeros(5, bool))


def test_a_rate_is_supported_from_ten_expected_false_accepts_on():
  # 1e-6 * 1e7 is a little less than 10 in binary.
  for rate, trials in ((0.1, 100), (1e-3, 10_000), (1e-6, 10_000_000)):
    assert verification.is_supported(rate, trials)
    assert not verification.is_supported(rate, trials - 1)


def test_constant_embeddings_are_worth_a_coin():
  results = dict(
    verification.evaluate(
      lambda images: np.ones([len(images), 4], np.float32),
      _pair_set(),
      batch_size=16,
    )
  )
  assert results['accuracy'] == 0.5
  assert results['accuracy_se'] == 0
  assert results['auc'] == 0.5
  assert results['eer'] == 0.5


def test_an_embedding_that_is_not_finite_is_an_error():
  def predict(images):
    embeddings = _predict(images)
    embeddings[2, 1] = np.nan
    return embeddings

  with pytest.raises(ValueError, match=r'1 of 10 .* not finite.*image 2'):
    verification.embed(predict, _pair_set().images[:10], 10)


def test_a_single_fold_has_all_but_what_needs_a_threshold():
  scores, same = np.linspace(0, 1, 40), np.arange(40) % 3 > 0
  whole = dict(verification.summarize(scores, same, np.arange(40) % 2))
  single = dict(verification.summarize(scores, same, np.full(40, 7)))
  assert set(whole) - set(single) == {'accuracy', 'accuracy_se', 'threshold'}
  assert single == {name: whole[name] for name in single}
  assert {'auc', 'eer'} <= set(single)


def test_pairs_of_one_kind_and_single_folds_are_errors():
  scores = np.array([0.1, 0.2])
  with pytest.raises(ValueError, match='got 2 and 0'):
    dict(verification.summarize(scores, np.ones(2, bool), np.array([0, 1])))
  with pytest.raises(ValueError, match='two folds of pairs, got 1'):
    verification.fold_accuracies(
      scores, np.array([True, False]), np.array([3, 3])
    )
  with pytest.raises(ValueError, match='no image to embed'):
    verification.embed(_predict, [], 4)
