import numpy as np
import pytest
from template_sets import embed_pixels, make_templates

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import (
  identification_rates,
  influence,
  intervals,
  precisions,
  verification,
)


def _pairs(people=True):
  rng = np.random.default_rng(0)
  ends = rng.integers(20, size=(80, 2))
  return PairSet(
    name='drawn',
    images=list(rng.integers(1, 256, (20, 4, 4, 3), np.uint8)),
    first=ends[:, 0],
    second=ends[:, 1],
    same=ends[:, 0] % 5 == ends[:, 1] % 5,
    fold=np.arange(80) % 4,
    people=ends % 5 if people else None,
  )


def _float(images):
  return embed_pixels(images) * np.float32(0.5)


def _integer(images):
  return embed_pixels(images) // 16


def _on_pairs(people=True):
  return precisions.on_pairs(
    {'float': _float, 'integer': _integer},
    _pairs(people),
    batch_size=7,
  )


def test_each_precision_has_the_figures_of_its_scores():
  results, cosines = _on_pairs()
  assert list(results) == ['float', 'integer', 'integer_match']
  assert list(cosines) == ['float', 'integer']
  pair_set = _pairs()
  for precision, scores in cosines.items():
    wanted = dict(verification.summarize(scores, pair_set.same, pair_set.fold))
    found = results[precision]
    assert {name: found[name] for name in wanted} == wanted
  assert 'cosine_mean' not in results['float']
  assert 0.9 < results['integer']['cosine_p1'] <= 1


def test_intervals_are_given_where_people_are_known():
  results, cosines = _on_pairs()
  pair_set = _pairs()
  wanted = dict(
    intervals.of_pairs(
      cosines['integer'],
      pair_set.same,
      pair_set.fold,
      pair_set.people,
      fars=[],
    )
  )
  assert len(wanted) == 4
  for name, value in wanted.items():
    assert results['integer'][name] == value
    # 2^-29 apart.
    assert results['integer_match'][name] == pytest.approx(value, abs=0.02)
  one, other = (
    influence.accuracy(scores, pair_set.same, pair_set.fold, pair_set.people)
    for scores in cosines.values()
  )
  low, high = intervals.of_difference(one, other)
  assert results['integer']['low/difference'] == low
  assert results['integer']['high/difference'] == high
  assert 'low/difference' in results['integer_match']
  assert 'low/difference' not in results['float']
  unknown, _ = _on_pairs(people=False)
  assert not [name for name in unknown['float'] if '/' in name]


class _People:
  def __init__(self):
    self.labels = np.repeat(np.arange(5), 4)
    self.class_names = list('abcde')
    self.images = np.random.default_rng(0).integers(
      1, 256, (20, 4, 4, 3), np.uint8
    )

  def __getitem__(self, index):
    return {'image': self.images[index]}


def test_people_and_templates_are_evaluated_by_each_precision():
  predicts = {'float': _float, 'integer': _integer}
  settings = {
    'images_per_person': 3,
    'unknown_share': 0.4,
    'seed': 0,
    'batch_size': 8,
  }
  found = precisions.on_people(predicts, _People(), **settings)
  for precision, predict in predicts.items():
    alone = identification_rates.search_people(predict, _People(), **settings)
    np.testing.assert_array_equal(found[precision].ranks, alone.ranks)
    assert found[precision].open_set.mated.sum() == 3 * 2
  results, scores = precisions.on_templates(
    predicts, make_templates(), use_norm=True, use_quality=True, batch_size=8
  )
  assert list(results) == list(scores) == ['float', 'integer']
  assert set(results['float']) == {'auc', 'eer'}
  np.testing.assert_allclose(scores['float'], scores['integer'], atol=0.05)
