import dataclasses

import numpy as np
import pytest
import safetensors.numpy

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import scores


def _scores(people=True):
  same = np.array([True, False, False])
  pair_set = PairSet(
    name='lfw',
    images=[],
    first=np.array([0, 1, 2]),
    second=np.array([3, 4, 5]),
    same=same,
    fold=np.array([0, 0, 1]),
    people=np.array([[7, 7], [7, 8], [9, 8]]) if people else None,
  )
  cosines = {'float': np.array([0.1, 1 / 3, -1]), 'integer': np.zeros(3)}
  return scores.of_pairs(pair_set, cosines)


@pytest.mark.parametrize('people', [True, False])
def test_what_is_saved_is_read_back_to_the_last_bit(people, tmp_path):
  written = _scores(people)
  scores.save(written, tmp_path)
  # Whole or not at all: nothing else is left there.
  assert [path.name for path in tmp_path.iterdir()] == ['scores.safetensors']
  read = scores.load(tmp_path)
  assert read.pairs == 'lfw'
  assert read.cosines.keys() == written.cosines.keys()
  for precision, cosines in written.cosines.items():
    np.testing.assert_array_equal(read.cosines[precision], cosines)
  for name in ('same', 'fold', 'images', 'people'):
    one, two = getattr(read, name), getattr(written, name)
    np.testing.assert_array_equal(one, two)
    assert one is None or one.dtype == two.dtype
  assert read.images.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_folder_without_scores_says_how_to_make_them(tmp_path):
  with pytest.raises(ValueError, match=r'no scores.safetensors; .*evaluate'):
    scores.load(tmp_path)


def test_a_damaged_file_is_refused(tmp_path):
  scores.save(_scores(), tmp_path)
  path = tmp_path / 'scores.safetensors'
  path.write_bytes(path.read_bytes()[:-8])
  with pytest.raises(ValueError, match=f'{path} is damaged'):
    scores.load(tmp_path)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'fold': np.zeros(2, np.int64)}, r'fold is int64\(2,\), wanted int64'),
    ({'people': np.zeros((3, 2))}, r'people is float64\(3, 2\), wanted int64'),
    ({'cosines': {'float': np.zeros(2)}}, r'cosine/float is float64\(2,\)'),
    ({'cosines': {}}, 'does not say of which pairs or precisions'),
  ],
)
def test_arrays_that_do_not_fit_are_named(change, message, tmp_path):
  scores.save(dataclasses.replace(_scores(), **change), tmp_path)
  with pytest.raises(ValueError, match=message):
    scores.load(tmp_path)


def test_a_foreign_file_is_refused(tmp_path):
  safetensors.numpy.save_file(
    {'kernel': np.zeros(3)}, tmp_path / 'scores.safetensors'
  )
  with pytest.raises(ValueError, match='same is absent, wanted bool'):
    scores.load(tmp_path)
