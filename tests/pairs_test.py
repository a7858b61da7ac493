import io
import pathlib
import pickle

import numpy as np
import pytest
from PIL import Image

from faceqat.data import folder, images, pairs

DATA = pathlib.Path(__file__).parents[2] / 'shared' / 'data'
needs_data = pytest.mark.skipif(
  not DATA.is_dir(), reason='needs ../shared/data'
)
SIZE = 8


def encode(value):
  stream = io.BytesIO()
  pixels = np.full((SIZE, SIZE, 3), value, np.uint8)
  Image.fromarray(pixels).save(stream, 'PNG')
  return stream.getvalue()


def value_of(pair_set, index):
  return int(pair_set.images[int(index)][0, 0, 0])


class Labelled:
  """Image i is filled with i."""

  def __init__(self, counts):
    self.labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    self.class_names = [str(i) for i in range(len(counts))]

  def __len__(self):
    return len(self.labels)

  def __getitem__(self, index):
    image = np.full((SIZE, SIZE, 3), index, np.uint8)
    return {'image': image, 'label': self.labels[index]}

  def name(self, index):
    return f'image{index}'


def make_lfw(root, header='2\t1', lines=None, suffix='.png'):
  """Ann has images 1 to 3, Bo (a .jpg name) 1 and 2; returns the list."""
  values = {('Ann', 1): 1, ('Ann', 2): 2, ('Ann', 3): 3}
  values |= {('Bo_Li', 1): 101, ('Bo_Li', 2): 102}
  for (name, number), value in values.items():
    person = root / 'images' / name
    person.mkdir(parents=True, exist_ok=True)
    (person / f'{name}_{number:04d}{suffix}').write_bytes(encode(value))
  if lines is None:
    lines = ['Ann\t1\t2', 'Ann\t1\tBo_Li\t2', 'Bo_Li\t1\t2', 'Bo_Li\t1\tAnn\t3']
  path = root / 'pairs.txt'
  path.write_text('\n'.join([header, *lines]) + '\n')
  return path


def read(root, path):
  return pairs.read_pairs_txt(root / 'images', path, SIZE)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.jpeg'])
def test_list_of_pairs_is_read_with_its_folds(tmp_path, suffix):
  pair_set = read(tmp_path, make_lfw(tmp_path, suffix=suffix))
  values = [
    (value_of(pair_set, a), value_of(pair_set, b))
    for a, b in zip(pair_set.first, pair_set.second)
  ]
  assert values == [(1, 2), (1, 102), (101, 102), (101, 3)]
  assert pair_set.same.tolist() == [True, False, True, False]
  assert pair_set.same.dtype == bool
  assert pair_set.fold.tolist() == [0, 0, 1, 1]
  # Ann is 0, Bo 1.
  assert pair_set.people.tolist() == [[0, 0], [0, 1], [1, 1], [1, 0]]
  # Each image is there once, however many pairs name it.
  assert len(pair_set.images) == 5
  assert len(pair_set) == 4


def test_one_number_in_the_header_is_one_fold(tmp_path):
  pair_set = read(tmp_path, make_lfw(tmp_path, header='2'))
  assert pair_set.fold.tolist() == [0, 0, 0, 0]


def test_spaces_do_in_place_of_tabs_and_windows_line_ends_do(tmp_path):
  path = make_lfw(tmp_path)
  path.write_bytes(
    path.read_bytes().replace(b'\t', b'  ').replace(b'\n', b'\r\n')
  )
  assert len(read(tmp_path, path)) == 4


@pytest.mark.parametrize(
  'header', ['', 'ten 300', '10 300 1', '0 1', '-1', '2.5']
)
def test_header_that_is_none_is_quoted(tmp_path, header):
  path = make_lfw(tmp_path, header=header)
  with pytest.raises(ValueError, match=f'line 1 is "{header}"'):
    read(tmp_path, path)


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    ('Ann\t1', 'is "Ann\t1", wanted "name i j"'),
    ('Ann\t1\tx', 'wanted "name i j"'),
    ('Ann\t1\t-2', 'wanted "name i j"'),
    ('Ann\t1\tBo_Li\t2\t3', 'wanted "name i j"'),
    ('', 'wanted "name i j"'),
    ('Ann\t1\tAnn\t2', 'different pair of one person, Ann'),
    ('Ann\t1\t4', 'does not exist: .*Ann_0004.jpg'),
    ('Cy\t1\t2', 'does not exist: .*Cy_0001.jpg'),
  ],
)
def test_wrong_line_is_named_by_number(tmp_path, line, message):
  lines = ['Ann\t1\t2', 'Ann\t1\tBo_Li\t2', line, 'Bo_Li\t1\tAnn\t3']
  path = make_lfw(tmp_path, lines=lines)
  with pytest.raises(ValueError, match=rf'pairs\.txt, line 4 .*{message}'):
    read(tmp_path, path)


@pytest.mark.parametrize('name', ['..', '.', '../images/Ann', '/etc', 'a\\b'])
def test_names_cannot_leave_the_folder(tmp_path, name):
  # The file exists: only the name is the reason to refuse it.
  for target in (tmp_path / 'images', tmp_path):
    target.mkdir(exist_ok=True)
    (target / '.._0001.png').write_bytes(encode(1))
    (target / '.._0002.png').write_bytes(encode(1))
  path = make_lfw(
    tmp_path, header='1 1', lines=[f'{name}\t1\t2', 'Ann\t1\tBo_Li\t1']
  )
  with pytest.raises(ValueError, match=r'line 2 names .* no folder name'):
    read(tmp_path, path)


def test_lists_that_disagree_with_their_header_are_refused(tmp_path):
  path = make_lfw(tmp_path, header='2\t2')
  with pytest.raises(ValueError, match=r'has 4 pairs, .* announces 8'):
    read(tmp_path, path)
  lines = ['Ann\t1\t2', 'Ann\t1\t3', 'Bo_Li\t1\t2', 'Bo_Li\t1\tAnn\t3']
  path = make_lfw(tmp_path, lines=lines)
  with pytest.raises(ValueError, match=r'Fold 1 of .* has 2 same pairs'):
    read(tmp_path, path)


def test_missing_files_are_named(tmp_path):
  with pytest.raises(ValueError, match=r'no list of pairs .*none\.txt'):
    read(tmp_path, tmp_path / 'none.txt')
  path = make_lfw(tmp_path)
  with pytest.raises(ValueError, match=r'no image folder .*nowhere'):
    pairs.read_pairs_txt(tmp_path / 'nowhere', path, SIZE)
  path.write_bytes(b'\xff\xfe\x00')
  with pytest.raises(ValueError, match='not UTF-8'):
    read(tmp_path, path)


def test_drawn_pairs_are_balanced_distinct_and_true():
  source = Labelled([4] * 12)
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
  source = Labelled([30, 3, 3, 3])
  pair_set = pairs.synthetic_pairs(source, 16, seed=0, folds=1)
  firsts = pair_set.first[pair_set.same]
  labels = [int(source.labels[value_of(pair_set, index)]) for index in firsts]
  assert np.bincount(labels).tolist() == [2, 2, 2, 2]


def test_drawn_pairs_follow_the_seed():
  source = Labelled([5] * 10)
  one, same, other = (
    pairs.synthetic_pairs(source, 40, seed, folds=2) for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(one.first, same.first)
  np.testing.assert_array_equal(one.second, same.second)
  assert not np.array_equal(one.first, other.first)


def test_the_last_possible_pairs_are_found():
  pair_set = pairs.synthetic_pairs(Labelled([2, 2]), 4, seed=0, folds=1)
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
    pairs.synthetic_pairs(Labelled(counts), num_pairs, seed=0, folds=folds)


def test_verification_file_is_cut_into_ten_consecutive_folds(tmp_path):
  entries = [encode(i) for i in range(46)]
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
  entries = [encode(i) for i in range(20)]
  entries[7] = entries[7][:30]
  path = tmp_path / 'small.bin'
  path.write_bytes(pickle.dumps((entries, [True] * 10)))
  pair_set = pairs.read_bin(path, SIZE)
  message = r'small\.bin: image 7 cannot be decoded'
  with pytest.raises(images.DamagedImageError, match=message):
    pair_set.images[7]


def test_too_few_pairs_for_ten_folds_are_refused(tmp_path):
  path = tmp_path / 'small.bin'
  path.write_bytes(pickle.dumps(([encode(1)] * 18, [True] * 9)))
  with pytest.raises(ValueError, match='9 pairs: ten folds'):
    pairs.read_bin(path, SIZE)


@needs_data
def test_lfw_view_2_is_read_whole():
  pair_set = pairs.read_pairs_txt(
    DATA / 'lfw' / 'images', DATA / 'lfw' / 'pairs.txt', 112
  )
  assert pair_set.name == 'lfw'
  assert len(pair_set) == 6000
  assert len(pair_set.images) == 7701
  assert pair_set.same.sum() == 3000
  assert np.bincount(pair_set.fold).tolist() == [600] * 10
  # The folds share nobody, though that is a property of the list alone.
  people = [np.unique(pair_set.people[pair_set.fold == f]) for f in range(10)]
  assert sum(map(len, people)) == len(np.unique(pair_set.people))
  assert pair_set.images[7700].shape == (112, 112, 3)


@needs_data
def test_real_verification_files_agree_with_the_list():
  lfw = pairs.read_pairs_txt(
    DATA / 'lfw' / 'images', DATA / 'lfw' / 'pairs.txt', 112
  )
  first_30 = pairs.read_bin(DATA / 'lfw_600pairs.bin', 112)
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


@needs_data
def test_real_verification_file_of_arrays_is_read():
  pair_set = pairs.read_bin(DATA / 'lfw_20pairs_ndarray.bin', 112)
  assert len(pair_set) == 20
  assert np.bincount(pair_set.fold).tolist() == [2] * 10
  for index in range(40):
    assert pair_set.images[index].shape == (112, 112, 3)


@needs_data
def test_pairs_are_drawn_from_real_faces():
  source = folder.FolderSource(DATA / 'faces_train', 112)
  pair_set = pairs.synthetic_pairs(source, 6000, seed=0)
  assert len(pair_set) == 6000
  assert pair_set.same.sum() == 3000
  assert pair_set.images[0].shape == (112, 112, 3)
