import importlib.util
import os

import pytest

from faceqat.preparation import listing


def make(root, *names):
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'')
  return root


def names(found):
  return [photograph.name for photograph in found.photographs]


def test_photographs_are_listed_by_person_and_other_files_are_named(tmp_path):
  make(tmp_path, 'Bob/2.PNG', 'Bob/1.jpg', 'Ann/1.tiff', 'Ann/notes.txt')
  make(tmp_path, 'Ann/.hidden.jpg', 'readme.md', 'Ann/sub/3.jpg')
  (tmp_path / 'Eve').mkdir()
  found = listing.list_photographs(tmp_path)
  assert names(found) == ['Ann/1.tiff', 'Bob/1.jpg', 'Bob/2.PNG']
  assert found.people == ['Ann', 'Bob', 'Eve']
  assert found.ignored == ['Ann/notes.txt', 'Ann/sub/', 'readme.md']
  assert [listing.crop_name(p) for p in found.photographs] == [
    'Ann/1.jpg',
    'Bob/1.jpg',
    'Bob/2.jpg',
  ]


def test_no_two_photographs_have_one_crop(tmp_path):
  make(tmp_path, 'Ann/1.jpg', 'Ann/1.png', 'Ann/A.jpg', 'Ann/a.webp')
  make(tmp_path, 'Ann/2.jpg', 'Ann/2.face1.jpg', 'Ann/3.jpg')
  found = listing.list_photographs(tmp_path)
  crops = [listing.crop_name(p) for p in found.photographs]
  crops += [listing.crop_name(p, 1) for p in found.photographs]
  assert len({crop.lower() for crop in crops}) == 14
  assert 'Ann/3.jpg' in crops
  assert 'Ann/1.png.jpg' in crops
  assert 'Ann/3.face1.jpg' in crops


@pytest.mark.parametrize('around', ['lfw', 'data/lfw'])
def test_single_folders_around_the_people_are_entered(around, tmp_path):
  make(tmp_path, f'{around}/Ann/1.jpg', f'{around}/Bob/1.jpg', 'readme.txt')
  found = listing.list_photographs(tmp_path)
  assert found.root == tmp_path / around
  assert found.people == ['Ann', 'Bob']


def test_a_single_person_is_a_person(tmp_path):
  found = listing.list_photographs(make(tmp_path, 'Ann/1.jpg', 'Ann/sub/2.jpg'))
  assert names(found) == ['Ann/1.jpg']
  assert found.ignored == ['Ann/sub/']


@pytest.mark.parametrize(
  ('files', 'part'),
  [
    ([], 'has no photographs'),
    (['Ann/notes.txt'], 'has no photographs'),
    pytest.param(
      ['Ann/notes.txt', 'Ann/IMG_1.HEIC'],
      'has no photographs.*; HEIC is read after pip install pillow-heif',
      marks=pytest.mark.skipif(
        importlib.util.find_spec('pillow_heif') is not None, reason='reads HEIC'
      ),
    ),
    (['Ann/1.jpg', '2.jpg'], 'beside the people'),
    (['train/Ann/1.jpg', 'test/Ann/2.jpg'], 'test/Ann, which is deeper'),
  ],
)
def test_a_folder_without_people_is_refused(files, part, tmp_path):
  with pytest.raises(ValueError, match=part):
    listing.list_photographs(make(tmp_path, *files))


def test_a_missing_folder_is_refused(tmp_path):
  with pytest.raises(ValueError, match='There is no folder'):
    listing.list_photographs(tmp_path / 'none')


def test_a_name_that_is_no_text_is_refused(tmp_path):
  make(tmp_path, 'Ann/1.jpg')
  os.mkdir(os.fsencode(tmp_path) + b'/\xff')
  with pytest.raises(ValueError, match='no UTF-8'):
    listing.list_photographs(tmp_path)
