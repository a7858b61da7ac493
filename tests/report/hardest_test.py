import dataclasses

import numpy as np
import pytest
import report_folder
import safetensors.numpy

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.report import hardest


def test_the_hardest_of_either_kind_come_first_with_their_images(tmp_path):
  pair_set = report_folder.make_pairs(100)
  scores = np.random.default_rng(0).permutation(100) / 100
  hardest.save(pair_set, scores, 'integer', tmp_path)
  found = hardest.load(tmp_path)
  assert found.precision == 'integer'
  different = sorted(np.flatnonzero(~pair_set.same), key=lambda i: -scores[i])
  same = sorted(np.flatnonzero(pair_set.same), key=lambda i: scores[i])
  np.testing.assert_array_equal(found.pair, different[:6] + same[:6])
  np.testing.assert_array_equal(found.score, scores[found.pair])
  np.testing.assert_array_equal(found.same, [False] * 6 + [True] * 6)
  # Image i is the grey i.
  greys = found.images.reshape(12, 2, -1)
  wanted = np.stack([2 * found.pair, 2 * found.pair + 1], axis=1)
  np.testing.assert_array_equal(greys.min(axis=2), wanted)
  np.testing.assert_array_equal(greys.max(axis=2), wanted)


@pytest.mark.parametrize('size', [100, 224])
def test_the_file_stays_below_a_megabyte(size, tmp_path):
  images = np.random.default_rng(0).integers(0, 256, (40, size, size, 3))
  positions = np.arange(20)
  pair_set = PairSet(
    name='large',
    images=images.astype(np.uint8),
    first=2 * positions,
    second=2 * positions + 1,
    same=positions % 2 == 0,
    fold=positions,
  )
  hardest.save(pair_set, positions / 20, 'float', tmp_path)
  assert (tmp_path / hardest.FILE_NAME).stat().st_size < 1_000_000
  assert hardest.load(tmp_path).images.shape[2] == min(size, 112)


def test_large_images_keep_their_proportions(tmp_path):
  pair_set = report_folder.make_pairs(4)
  images = np.zeros((len(pair_set.images), 224, 192, 3), np.uint8)
  pair_set = dataclasses.replace(pair_set, images=images)
  hardest.save(pair_set, np.arange(4.0), 'float', tmp_path)
  assert hardest.load(tmp_path).images.shape == (4, 2, 112, 96, 3)


def test_few_pairs_are_all_there(tmp_path):
  pair_set = report_folder.make_pairs(4)
  hardest.save(pair_set, np.arange(4.0), 'float', tmp_path)
  np.testing.assert_array_equal(hardest.load(tmp_path).pair, [3, 1, 0, 2])


def test_no_file_is_none(tmp_path):
  assert hardest.load(tmp_path) is None


@pytest.mark.parametrize('name', ['images', 'score', 'pair'])
def test_arrays_of_another_form_are_refused(name, tmp_path):
  arrays = {
    'same': np.zeros(2, bool),
    'pair': np.zeros(2, np.int64),
    'score': np.zeros(2),
    'images': np.zeros([2, 2, 4, 4, 3], np.uint8),
  }
  path = tmp_path / hardest.FILE_NAME
  # The second is what earlier runs wrote.
  for metadata in ({'precision': 'float'}, {'reading': 'float'}):
    safetensors.numpy.save_file(arrays, path, metadata)
    assert hardest.load(tmp_path).precision == 'float'
  short = {**arrays, name: arrays[name][:1]}
  safetensors.numpy.save_file(short, path, metadata)
  with pytest.raises(ValueError, match=r'of 2 pairs, wanted uint8'):
    hardest.load(tmp_path)
  # A number, which has no length.
  single = {**arrays, 'same': np.array(True)}
  safetensors.numpy.save_file(single, path, metadata)
  with pytest.raises(ValueError, match=r'wanted uint8'):
    hardest.load(tmp_path)
  del arrays[name]
  safetensors.numpy.save_file(arrays, path, metadata)
  with pytest.raises(ValueError, match='is damaged'):
    hardest.load(tmp_path)
