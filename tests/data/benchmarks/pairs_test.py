import pickle

import numpy as np
import pytest
import real_data
from benchmark_files import value_of
from numbered_images import Numbered
from pictures import filled

from faceqat.data.benchmarks import pair_lists, pairs
from faceqat.data.sources import folder
from faceqat.faces import images

LFW = real_data.path('data/lfw')
FACES = real_data.path('data/faces_train')
FIRST_30 = real_data.path('data/lfw_600pairs.bin')
ARRAYS = real_data.path('data/lfw_20pairs_ndarray.bin')
SIZE = 8


def test_drawn_pairs_are_balanced_distinct_and_true():
  source = Numbered([4] * 12)
  pair_set = pairs.synthetic_pairs(source, 36, seed=0, folds=3)
  assert len(pair_set) == 36
  people = {}
  for fold in range(3):
    chosen = pair_set.fold == fold
    assert pair_set.same[chosen].sum() == 6
    assert chosen.sum() == 12
    shown = np.concatenate([pair_set.first[chosen], pair_set.second[chosen]])
    people[fold] = {
      int(source.labels[value_of(pair_set, index)]) for index in shown
    }
  assert not people[0] & people[1]
  assert not people[0] & people[2]
  assert not people[1] & people[2]
  seen = set()
  assert pair_set.people.dtype == np.int64
  for a, b, same, people in zip(
    pair_set.first, pair_set.second, pair_set.same, pair_set.people
  ):
    one, other = value_of(pair_set, a), value_of(pair_set, b)
    assert one != other
    assert (source.labels[one] == source.labels[other]) == same
    assert people.tolist() == source.labels[[one, other]].tolist()
    seen.add(frozenset((one, other)))
  assert len(seen) == 36


def test_same_pairs_go_around_the_people():
  # One person could fill the fold alone.
  source = Numbered([30, 3, 3, 3])
  pair_set = pairs.synthetic_pairs(source, 16, seed=0, folds=1)
  firsts = pair_set.first[pair_set.same]
  labels = [int(source.labels[value_of(pair_set, index)]) for index in firsts]
  assert np.bincount(labels).tolist() == [2, 2, 2, 2]


def test_drawn_pairs_follow_the_seed():
  source = Numbered([5] * 10)
  one, same, other = (
    pairs.synthetic_pairs(source, 40, seed, folds=2) for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(one.first, same.first)
  np.testing.assert_array_equal(one.second, same.second)
  assert not np.array_equal(one.first, other.first)


def test_the_last_possible_pairs_are_found():
  pair_set = pairs.synthetic_pairs(Numbered([2, 2]), 4, seed=0, folds=1)
  assert len(pair_set) == 4


@pytest.mark.parametrize(
  ('counts', 'num_pairs', 'folds', 'message'),
  [
    ([4] * 20, 30, 10, 'num_pairs is 30, wanted a positive multiple of 20'),
    ([4] * 20, 0, 10, 'num_pairs is 0'),
    ([4] * 19, 20, 10, '19 people: 10 person-disjoint folds need at least 20'),
    ([1] * 4, 4, 2, '1 same pairs .* only 0 different ones'),
    ([2, 2], 8, 1, '4 same pairs .* only 2 different ones'),
    ([9, 1], 40, 1, '20 different pairs .* only 9'),
  ],
)
def test_pairs_that_cannot_be_drawn_are_explained(
  counts, num_pairs, folds, message
):
  with pytest.raises(ValueError, match=message):
    pairs.synthetic_pairs(Numbered(counts), num_pairs, seed=0, folds=folds)


def test_verification_file_is_cut_into_ten_consecutive_folds(tmp_path):
  entries = [filled(i) for i in range(46)]
  same = [index % 3 == 0 for index in range(23)]
  path = tmp_path / 'small.bin'
  path.write_bytes(pickle.dumps((entries, same)))
  pair_set = pairs.read_bin(path, SIZE)
  assert pair_set.name == 'small'
  assert np.bincount(pair_set.fold).tolist() == [3, 3, 3, *[2] * 7]
  assert (np.diff(pair_set.fold) >= 0).all()
  assert pair_set.same.tolist() == same
  # The file does not say who is shown.
  assert pair_set.people is None
  for index in range(23):
    assert value_of(pair_set, pair_set.first[index]) == 2 * index
    assert value_of(pair_set, pair_set.second[index]) == 2 * index + 1


def test_damaged_image_of_a_verification_file_is_named(tmp_path):
  entries = [filled(i) for i in range(20)]
  entries[7] = entries[7][:30]
  path = tmp_path / 'small.bin'
  path.write_bytes(pickle.dumps((entries, [True] * 10)))
  pair_set = pairs.read_bin(path, SIZE)
  message = r'small\.bin: image 7 cannot be decoded'
  with pytest.raises(images.DamagedImageError, match=message):
    pair_set.images[7]


def test_too_few_pairs_for_ten_folds_are_refused(tmp_path):
  path = tmp_path / 'small.bin'
  path.write_bytes(pickle.dumps(([filled(1)] * 18, [True] * 9)))
  with pytest.raises(ValueError, match='9 pairs: ten folds'):
    pairs.read_bin(path, SIZE)


@real_data.needs(LFW, FIRST_30)
def test_real_verification_files_agree_with_the_list():
  lfw = pair_lists.read_list(LFW / 'images', LFW / 'pairs.txt', 112)
  first_30 = pairs.read_bin(FIRST_30, 112)
  assert len(first_30) == 600
  assert first_30.same.sum() == 300
  # The first 30 same and 30 different pairs of every fold of View 2.
  for index in (0, 29, 30, 59, 60, 599):
    fold, place = divmod(index, 60)
    line = 600 * fold + place + (270 if place >= 30 else 0)
    assert first_30.same[index] == lfw.same[line]
    for side in ('first', 'second'):
      np.testing.assert_array_equal(
        first_30.images[int(getattr(first_30, side)[index])],
        lfw.images[int(getattr(lfw, side)[line])],
      )


@real_data.needs(ARRAYS)
def test_real_verification_file_of_arrays_is_read():
  pair_set = pairs.read_bin(ARRAYS, 112)
  assert len(pair_set) == 20
  assert np.bincount(pair_set.fold).tolist() == [2] * 10
  for index in range(40):
    assert pair_set.images[index].shape == (112, 112, 3)


@real_data.needs(FACES)
def test_pairs_are_drawn_from_real_faces():
  source = folder.FolderSource(FACES, 112)
  pair_set = pairs.synthetic_pairs(source, 6000, seed=0)
  assert len(pair_set) == 6000
  assert pair_set.same.sum() == 3000
  assert pair_set.images[0].shape == (112, 112, 3)
