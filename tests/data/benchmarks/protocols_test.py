import numpy as np
import pytest
import scipy.io
from benchmark_files import read, values, write_images, write_text
from pictures import filled


def make_cfp(tmp_path):
  """Two folds of a same and a different pair; people 001 to 004."""
  for kind, letter in (('frontal', 'F'), ('profile', 'P')):
    names = [f'{p:03d}/{kind}/{i:02d}.jpg' for p in range(1, 5) for i in (1, 2)]
    lines = [f'{i} ../Data/Images/{n}' for i, n in enumerate(names, start=1)]
    write_text(tmp_path / 'Protocol' / f'Pair_list_{letter}.txt', lines)
    for i, name in enumerate(names):
      path = tmp_path / 'images' / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(filled(i + 1 + 100 * (letter == 'P')))
  split = tmp_path / 'Protocol' / 'Split'
  for kind in ('FF', 'FP'):
    for fold, (same, different) in enumerate([('1,2', '1,3'), ('5,6', '6,8')]):
      write_text(split / kind / f'{fold + 1:02d}' / 'same.txt', [same])
      write_text(split / kind / f'{fold + 1:02d}' / 'diff.txt', [different])
  return split


@pytest.mark.parametrize(('kind', 'offset'), [('FF', 0), ('FP', 100)])
def test_numbers_of_cfp_are_those_of_its_image_lists(kind, offset, tmp_path):
  split = make_cfp(tmp_path)
  pair_set = read(tmp_path, split / kind)
  assert pair_set.name == f'CFP-{kind}'
  pairs = [(1, 2), (1, 3), (5, 6), (6, 8)]
  assert values(pair_set) == [(a, b + offset) for a, b in pairs]
  assert pair_set.same.tolist() == [True, False] * 2
  assert pair_set.fold.tolist() == [0, 0, 1, 1]
  assert pair_set.people.tolist() == [[0, 0], [0, 1], [2, 2], [2, 3]]


@pytest.mark.parametrize(
  ('file', 'line', 'message'),
  [
    ('Split/FP/02/diff.txt', '1,9', r'line 1 names image 9, which'),
    ('Split/FP/02/diff.txt', '1 2', r'line 1 is "1 2", wanted "1,2"'),
    ('Pair_list_P.txt', '1 x.jpg', r'line 1 is "1 x.jpg", wanted'),
    ('Pair_list_F.txt', '1 ../../../x', r'no file name'),
  ],
)
def test_wrong_lines_of_cfp_are_named(file, line, message, tmp_path):
  split = make_cfp(tmp_path)
  path = tmp_path / 'Protocol' / file
  write_text(path, [line, *path.read_text().splitlines()[1:]])
  with pytest.raises(ValueError, match=message):
    read(tmp_path, split / 'FP')


def test_a_folder_that_is_no_protocol_is_refused(tmp_path):
  (tmp_path / 'images').mkdir()
  with pytest.raises(ValueError, match='is no protocol of CFP: give Protocol'):
    read(tmp_path, tmp_path)


def make_agedb(path, splits):
  """The layout of the published file: cells of cells of structures."""
  outer = np.empty((len(splits), 1), object)
  for i, split in enumerate(splits):
    cells = np.empty((2, len(split)), object)
    for column, pair in enumerate(split):
      for row, name in enumerate(pair):
        cells[row, column] = {'name': name, 'age': 30}
    outer[i, 0] = cells
  scipy.io.savemat(path, {'splits': outer})
  return path


def test_agedb_says_who_is_shown_in_its_names(tmp_path):
  names = [f'{p}_{i}_Some.One_{i}_f' for p in range(4) for i in range(2)]
  write_images(tmp_path / 'images', [f'{name}.jpg' for name in names])
  splits = [
    [(names[0], names[1]), (names[1], names[2]), (names[3], names[0])],
    [(names[4], names[6]), (names[7], names[6]), (names[6], names[5])],
  ]
  path = make_agedb(tmp_path / '04_FINAL_protocol_30_years.mat', splits)
  pair_set = read(tmp_path, path)
  assert pair_set.name == 'AgeDB-30'
  wanted = [(0, 1), (1, 2), (3, 0), (4, 6), (7, 6), (6, 5)]
  assert values(pair_set) == wanted
  assert pair_set.same.tolist() == [True, False, False, False, True, False]
  assert pair_set.fold.tolist() == [0, 0, 0, 1, 1, 1]
  assert pair_set.people.tolist()[:2] == [[0, 0], [0, 1]]
  path.write_bytes(path.read_bytes()[:200])
  with pytest.raises(ValueError, match='is no protocol of AgeDB'):
    read(tmp_path, path)
  with pytest.raises(ValueError, match=r'no list of pairs .*none\.mat'):
    read(tmp_path, tmp_path / 'none.mat')
