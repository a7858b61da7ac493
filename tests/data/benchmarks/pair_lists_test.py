import unicodedata

import numpy as np
import pytest
import real_data
from benchmark_files import (
  SIZE,
  make_calfw,
  read,
  values,
  write_images,
  write_text,
)
from pictures import filled

from faceqat.data.benchmarks import pair_lists

LFW = real_data.path('data/lfw')


def make_lfw(root, header='2\t1', lines=None, suffix='.png'):
  """Ann has images 1 to 3, Bo (a .jpg name) 1 and 2; returns the list."""
  colors = {('Ann', 1): 1, ('Ann', 2): 2, ('Ann', 3): 3}
  colors |= {('Bo_Li', 1): 101, ('Bo_Li', 2): 102}
  for (name, number), value in colors.items():
    person = root / 'images' / name
    person.mkdir(parents=True, exist_ok=True)
    (person / f'{name}_{number:04d}{suffix}').write_bytes(filled(value))
  if lines is None:
    lines = ['Ann\t1\t2', 'Ann\t1\tBo_Li\t2', 'Bo_Li\t1\t2', 'Bo_Li\t1\tAnn\t3']
  path = root / 'pairs.txt'
  path.write_text('\n'.join([header, *lines]) + '\n')
  return path


@pytest.mark.parametrize(
  'suffix', ['.png', '.jpg', '.jpeg', '.JPG', '.webp', '.bmp', '.PNG', '.tif']
)
def test_list_of_pairs_is_read_with_its_folds(tmp_path, suffix):
  pair_set = read(tmp_path, make_lfw(tmp_path, suffix=suffix))
  assert values(pair_set) == [(1, 2), (1, 102), (101, 102), (101, 3)]
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
    (target / '.._0001.png').write_bytes(filled(1))
    (target / '.._0002.png').write_bytes(filled(1))
  path = make_lfw(
    tmp_path, header='1 1', lines=[f'{name}\t1\t2', 'Ann\t1\tBo_Li\t1']
  )
  with pytest.raises(ValueError, match=r'line 2 names .* no folder name'):
    read(tmp_path, path)


def test_lists_that_disagree_with_their_header_are_refused(tmp_path):
  path = make_lfw(tmp_path, header='2\t2')
  with pytest.raises(ValueError, match=r'has 4 pairs, .* announces 8'):
    read(tmp_path, path)
  # Which Python does not even read as a number.
  path = make_lfw(tmp_path, header='9' * 5000)
  with pytest.raises(ValueError, match=f'{path}, line 1 is "999'):
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
    pair_lists.read_list(tmp_path / 'nowhere', path, SIZE)
  path.write_bytes(b'\xff\xfe\x00')
  with pytest.raises(ValueError, match='not UTF-8'):
    read(tmp_path, path)


@pytest.mark.parametrize('folders', [False, True])
def test_two_lines_are_a_pair_and_tenths_of_either_kind_a_fold(
  folders, tmp_path
):
  pair_set = read(tmp_path, make_calfw(tmp_path, folders=folders))
  assert pair_set.name == 'CALFW'
  wanted = [(2 * i, 2 * i + 1) for i in range(10)]
  wanted += [(2 * i, 2 * ((i - 1) % 10)) for i in range(10)]
  assert values(pair_set) == wanted
  assert pair_set.same.tolist() == [True] * 10 + [False] * 10
  assert pair_set.fold.tolist() == [*range(10), *range(10)]
  assert len(pair_set.images) == 20
  # Known by their names.
  assert pair_set.people[:10, 0].tolist() == list(range(10))
  assert pair_set.people[10].tolist() == [0, 9]


def test_numbers_of_folds_are_labels_too(tmp_path):
  path = make_calfw(tmp_path, same_label=lambda pair: 10 - pair)
  pair_set = read(tmp_path, path)
  assert pair_set.same.tolist() == [True] * 10 + [False] * 10
  assert pair_set.fold.tolist() == [*range(9, -1, -1), *range(10)]


def test_names_that_contradict_the_labels_are_not_those_of_people(tmp_path):
  path = make_calfw(tmp_path)
  lines = path.read_text().splitlines()
  # A same pair of two names.
  lines[1] = lines[3]
  pair_set = read(tmp_path, write_text(path, lines))
  assert pair_set.people is None


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda lines: lines[:-1], 'has 39 lines, wanted two for each pair'),
    (lambda lines: ['P_A_0001.jpg 0', *lines[1:]], 'the labels 0 and 1'),
    (lambda lines: ['P_A_0001.jpg x', *lines[1:]], 'wanted "image label"'),
    (lambda lines: ['P_X_0001.jpg 1', *lines[1:]], 'not exist: .*P_X_0001'),
    (lambda lines: ['../P_A_0001.jpg 1', *lines[1:]], 'is no file name'),
    (lambda lines: lines[2:], 'has 9 same and 10 different pairs'),
  ],
)
def test_wrong_lines_of_two_are_named(change, message, tmp_path):
  path = make_calfw(tmp_path)
  write_text(path, change(path.read_text().splitlines()))
  with pytest.raises(ValueError, match=rf'pairs_CALFW\.txt.*{message}'):
    read(tmp_path, path)


def test_a_line_a_pair_has_consecutive_folds(tmp_path):
  names = [f'{i}.jpg' for i in range(40)]
  write_images(tmp_path / 'images', names)
  lines = [
    f'{names[2 * i]} {names[2 * i + 1]} {(1, 0, 1, -1)[i % 4]}'
    for i in range(20)
  ]
  path = write_text(tmp_path / 'agedb_30_pair.txt', lines)
  pair_set = read(tmp_path, path)
  assert pair_set.name == 'agedb_30'
  assert values(pair_set) == [(2 * i, 2 * i + 1) for i in range(20)]
  assert pair_set.same.tolist() == [True, False] * 10
  assert pair_set.fold.tolist() == np.repeat(range(10), 2).tolist()
  assert pair_set.people is None
  write_text(path, [*lines[:3], '1.jpg 2.jpg 3', *lines[4:]])
  with pytest.raises(ValueError, match=r'line 4: "1.jpg 2.jpg 3", wanted'):
    read(tmp_path, path)
  with pytest.raises(ValueError, match='9 pairs: ten folds need'):
    read(tmp_path, write_text(path, lines[:9]))


def test_folders_are_people_where_the_labels_say_so(tmp_path):
  names = [f'{person}/{i}.jpg' for person in 'ab' for i in range(2)]
  write_images(tmp_path / 'images', names)
  lines = ['a/0.jpg a/1.jpg 1', 'a/0.jpg b/1.jpg 0'] * 5
  pair_set = read(tmp_path, write_text(tmp_path / 'pairs.txt', lines))
  assert pair_set.people.tolist() == [[0, 0], [0, 1]] * 5


@real_data.needs(LFW)
def test_lfw_view_2_is_read_whole():
  pair_set = pair_lists.read_list(LFW / 'images', LFW / 'pairs.txt', 112)
  assert pair_set.name == 'lfw'
  assert len(pair_set) == 6000
  assert len(pair_set.images) == 7701
  assert pair_set.same.sum() == 3000
  assert np.bincount(pair_set.fold).tolist() == [600] * 10
  # The folds share nobody, though that is a property of the list alone.
  people = [np.unique(pair_set.people[pair_set.fold == f]) for f in range(10)]
  assert sum(map(len, people)) == len(np.unique(pair_set.people))
  assert pair_set.images[7700].shape == (112, 112, 3)


def test_names_of_lfw_may_be_a_table_and_have_spaces(tmp_path):
  path = make_lfw(tmp_path)
  (tmp_path / 'images' / 'Ann').rename(tmp_path / 'images' / 'Ann Lee')
  for file in (tmp_path / 'images' / 'Ann Lee').iterdir():
    file.rename(file.with_name(file.name.replace('Ann', 'Ann Lee')))
  lines = ['Ann Lee,1,2,', 'Ann Lee,1,Bo_Li,2'] * 5
  write_text(path, ['name,imagenum1,imagenum2,', *lines])
  pair_set = read(tmp_path, path)
  assert values(pair_set)[:2] == [(1, 2), (1, 102)]
  assert pair_set.fold.tolist() == list(range(10))
  write_text(path, ['1 1', 'Ann Lee 1 2', 'Ann Lee 1 Bo_Li 2'])
  assert values(read(tmp_path, path)) == [(1, 2), (1, 102)]


def test_images_may_be_named_by_whole_paths(tmp_path):
  write_images(tmp_path / 'images', ['a/0.jpg', 'b/1.jpg'])
  root = tmp_path / 'images'
  line = f'{root}/a/0.jpg,./b\\1.PNG,0'
  pair_set = read(tmp_path, write_text(tmp_path / 'pairs.csv', [line] * 10))
  assert values(pair_set) == [(0, 1)] * 10
  assert pair_set.people.tolist() == [[0, 1]] * 10
  write_text(tmp_path / 'pairs.csv', ['/etc/x.jpg,a/0.jpg,0'] * 10)
  with pytest.raises(
    ValueError, match=r'line 1 names .*inside of .*eval\.path'
  ):
    read(tmp_path, tmp_path / 'pairs.csv')


def test_the_forms_of_a_letter_in_unicode_find_each_other(tmp_path):
  names = [unicodedata.normalize('NFD', f'Zoë/é{i}.jpg') for i in range(2)]
  write_images(tmp_path / 'images', names)
  line = unicodedata.normalize('NFC', 'Zoë/é0.jpg Zoë/é1.jpg 1')
  pair_set = read(tmp_path, write_text(tmp_path / 'pairs.txt', [line] * 10))
  assert values(pair_set) == [(0, 1)] * 10


def test_a_table_may_have_folds(tmp_path):
  write_images(tmp_path / 'images', ['0.jpg', '1.jpg'])
  lines = ['image,other,same,fold', '0.jpg,1.jpg,1,0', '0.jpg,1.jpg,0,1']
  pair_set = read(tmp_path, write_text(tmp_path / 'pairs.csv', lines))
  assert pair_set.fold.tolist() == [0, 1]
  assert pair_set.same.tolist() == [True, False]
