import numpy as np
import pytest
import real_data
from pictures import write_people
from PIL import Image

from faceqat.data.sources import folder
from faceqat.faces import images

FACES = real_data.path('data/faces_train')


def test_images_come_in_sorted_order_with_contiguous_labels(tmp_path):
  # Made in an order that is not the sorted one.
  write_people(tmp_path, {'zoe': 2, 'Ann': 1, 'bob': 3})
  source = folder.FolderSource(tmp_path, 8)
  assert source.class_names == ['Ann', 'bob', 'zoe']
  assert source.labels.dtype == np.int32
  np.testing.assert_array_equal(source.labels, [0, 1, 1, 1, 2, 2])
  values = [int(source[i]['image'][0, 0, 0]) for i in range(len(source))]
  assert values == [40, 80, 81, 82, 0, 1]
  assert [source[i]['label'] for i in range(6)] == source.labels.tolist()
  assert source[0]['label'].dtype == np.int32
  assert source.name(3) == str(tmp_path / 'bob' / '2.png')


def test_hidden_files_and_notes_beside_the_people_are_ignored(tmp_path):
  write_people(tmp_path, {'a': 1, 'b': 1})
  (tmp_path / '.cache').mkdir()
  (tmp_path / '.DS_Store').write_text('x')
  (tmp_path / 'a' / '.0.png').write_text('x')
  (tmp_path / 'LICENSE.txt').write_text('x')
  (tmp_path / 'Thumbs.db').write_text('x')
  (tmp_path / 'a' / 'Thumbs.db').write_text('x')
  (tmp_path / 'b' / 'desktop.ini').write_text('x')
  source = folder.FolderSource(tmp_path, 8)
  assert len(source) == 2
  assert source.ignored == ['LICENSE.txt']


def test_folder_without_people_says_where_images_must_lie(tmp_path):
  with pytest.raises(ValueError, match='no person folders: images must lie'):
    folder.FolderSource(tmp_path, 8)


@pytest.mark.parametrize(
  ('spoil', 'message'),
  [
    (lambda root: (root / 'nobody').mkdir(), 'folder .*nobody has no images'),
    *(
      (lambda root, n=name: (root / 'b' / n).touch(), f'{name} is not an image')
      for name in ('notes.txt', 'data.db', 'noending')
    ),
    (
      lambda root: [(root / 'b' / f'{i}.txt').touch() for i in (1, 2, 3)],
      r'1\.txt is not .* and 2 more that are',
    ),
    (
      lambda root: (root / 'b' / 'more.jpg').mkdir(),
      r'more\.jpg is not an image file',
    ),
    (
      lambda root: (root / 'c').symlink_to('/nowhere/c'),
      '/c is a link to /nowhere/c, which',
    ),
    (
      lambda root: (root / 'stray.PNG').touch(),
      r'stray\.PNG lies beside the people',
    ),
  ],
)
def test_what_does_not_belong_there_is_named(spoil, message, tmp_path):
  write_people(tmp_path, {'a': 1, 'b': 1})
  spoil(tmp_path)
  with pytest.raises(ValueError, match=message):
    folder.FolderSource(tmp_path, 8)


def test_a_folder_one_level_too_high_says_which_one_to_give(tmp_path):
  write_people(tmp_path / 'test', {'a': 1, 'b': 1})
  write_people(tmp_path / 'train', {'c': 1, 'd': 1})
  with pytest.raises(ValueError, match=r'set data.path to .*/test') as info:
    folder.FolderSource(tmp_path, 8)
  assert 'emove' not in str(info.value)
  (tmp_path / 'train').rename(tmp_path.parent / 'elsewhere')
  # One folder around all is no single person.
  with pytest.raises(ValueError, match='holds no images but folders'):
    folder.FolderSource(tmp_path, 8)


def test_a_link_to_no_image_is_damage(tmp_path):
  write_people(tmp_path, {'a': 1, 'b': 1})
  (tmp_path / 'a' / '0.jpg').symlink_to('/nowhere/0.jpg')
  source = folder.FolderSource(tmp_path, 8)
  with pytest.raises(images.DamagedImageError, match='a link to /nowhere'):
    source[0]


@pytest.mark.parametrize('suffix', ['.JPG', '.jfif', '.pgm', '.TIF', '.avif'])
def test_images_of_all_suffixes_are_read(suffix, tmp_path):
  for person in 'ab':
    (tmp_path / person).mkdir()
    path = tmp_path / person / f'1{suffix}'
    Image.new('L', (8, 8), 90).save(path, 'JPEG' if suffix == '.jfif' else None)
  image = folder.FolderSource(tmp_path, 8)[0]['image']
  # A lossy file keeps a flat grey to a level or two.
  np.testing.assert_allclose(image, np.full((8, 8, 3), 90), atol=2)


def test_the_folder_of_one_person_is_told_from_that_of_all(tmp_path):
  write_people(tmp_path, {'a': 2})
  message = (
    rf'a has images and no folders.* set data.path to .* as {tmp_path}, or'
  )
  with pytest.raises(ValueError, match=message):
    folder.FolderSource(tmp_path / 'a', 8)


@real_data.needs(FACES)
def test_real_faces_are_listed_whole():
  source = folder.FolderSource(FACES, 112)
  assert len(source) == 11569
  assert len(source.class_names) == 366
  assert np.bincount(source.labels).min() >= 1
  assert source[len(source) - 1]['image'].shape == (112, 112, 3)
