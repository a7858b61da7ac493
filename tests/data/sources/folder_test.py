import pickle

import numpy as np
import pytest
import real_data
from PIL import Image

from faceqat.data.sources import folder
from faceqat.faces import images

FACES = real_data.path('data/faces_train')


def make_people(root, counts, size=8):
  """One folder for each person; image j of person i has the value 40 i + j."""
  for person, (name, count) in enumerate(counts.items()):
    (root / name).mkdir(parents=True)
    for image in range(count):
      value = np.full((size, size, 3), 40 * person + image, np.uint8)
      Image.fromarray(value).save(root / name / f'{image:03d}.png')
  return root


def test_images_come_in_sorted_order_with_contiguous_labels(tmp_path):
  # Made in an order that is not the sorted one.
  make_people(tmp_path, {'zoe': 2, 'Ann': 1, 'bob': 3})
  source = folder.FolderSource(tmp_path, 8)
  assert source.class_names == ['Ann', 'bob', 'zoe']
  assert source.labels.dtype == np.int32
  np.testing.assert_array_equal(source.labels, [0, 1, 1, 1, 2, 2])
  values = [int(source[i]['image'][0, 0, 0]) for i in range(len(source))]
  assert values == [40, 80, 81, 82, 0, 1]
  assert [source[i]['label'] for i in range(6)] == source.labels.tolist()
  assert source[0]['label'].dtype == np.int32
  assert source.name(3) == str(tmp_path / 'bob' / '002.png')


def test_hidden_files_and_notes_beside_the_people_are_ignored(tmp_path):
  make_people(tmp_path, {'a': 1, 'b': 1})
  (tmp_path / '.cache').mkdir()
  (tmp_path / '.DS_Store').write_text('x')
  (tmp_path / 'a' / '.000.png').write_text('x')
  (tmp_path / 'LICENSE.txt').write_text('x')
  (tmp_path / 'Thumbs.db').write_text('x')
  (tmp_path / 'a' / 'Thumbs.db').write_text('x')
  (tmp_path / 'b' / 'desktop.ini').write_text('x')
  source = folder.FolderSource(tmp_path, 8)
  assert len(source) == 2
  assert source.ignored == ['LICENSE.txt']


def test_a_pickled_source_gives_the_same_images(tmp_path):
  source = folder.FolderSource(make_people(tmp_path, {'a': 2, 'b': 1}), 8)
  copy = pickle.loads(pickle.dumps(source))
  for index in range(3):
    np.testing.assert_array_equal(copy[index]['image'], source[index]['image'])


def test_missing_folder_is_named(tmp_path):
  with pytest.raises(ValueError, match=r'no image folder .*nowhere'):
    folder.FolderSource(tmp_path / 'nowhere', 8)


def test_folder_without_people_says_where_images_must_lie(tmp_path):
  with pytest.raises(ValueError, match='no person folders: images must lie'):
    folder.FolderSource(tmp_path, 8)


def test_one_person_cannot_be_trained_on(tmp_path):
  make_people(tmp_path, {'ann': 3})
  with pytest.raises(ValueError, match=r'one person only \(ann\)'):
    folder.FolderSource(tmp_path, 8)


def test_empty_person_folder_is_named(tmp_path):
  make_people(tmp_path, {'a': 1, 'b': 1, 'nobody': 0})
  with pytest.raises(ValueError, match=r'folder .*nobody has no images'):
    folder.FolderSource(tmp_path, 8)


@pytest.mark.parametrize('name', ['notes.txt', 'data.db', 'noending'])
def test_non_image_file_is_named(tmp_path, name):
  make_people(tmp_path, {'a': 1, 'b': 1})
  (tmp_path / 'b' / name).write_text('x')
  with pytest.raises(ValueError, match=f'{name} is not an image file'):
    folder.FolderSource(tmp_path, 8)


def test_folder_inside_a_person_is_named(tmp_path):
  make_people(tmp_path, {'a': 1, 'b': 1})
  (tmp_path / 'b' / 'more.jpg').mkdir()
  with pytest.raises(ValueError, match=r'more\.jpg is not an image file'):
    folder.FolderSource(tmp_path, 8)


def test_a_folder_one_level_too_high_says_which_one_to_give(tmp_path):
  make_people(tmp_path / 'test', {'a': 1, 'b': 1})
  make_people(tmp_path / 'train', {'c': 1, 'd': 1})
  with pytest.raises(ValueError, match=r'set data.path to .*/test') as info:
    folder.FolderSource(tmp_path, 8)
  assert 'emove' not in str(info.value)
  (tmp_path / 'train').rename(tmp_path.parent / 'elsewhere')
  # One folder around all is no single person.
  with pytest.raises(ValueError, match='holds no images but folders'):
    folder.FolderSource(tmp_path, 8)


def test_a_link_that_leads_nowhere_is_no_person_less(tmp_path):
  make_people(tmp_path, {'a': 1, 'b': 1})
  (tmp_path / 'c').symlink_to('/nowhere/c')
  with pytest.raises(ValueError, match=r'/c is a link to /nowhere/c, which'):
    folder.FolderSource(tmp_path, 8)


def test_a_link_to_no_image_is_damage(tmp_path):
  make_people(tmp_path, {'a': 1, 'b': 1})
  (tmp_path / 'a' / '0.png').symlink_to('/nowhere/0.png')
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


def test_image_beside_the_people_is_an_error(tmp_path):
  make_people(tmp_path, {'a': 1, 'b': 1})
  Image.new('RGB', (8, 8)).save(tmp_path / 'stray.PNG')
  with pytest.raises(ValueError, match=r'stray\.PNG lies beside the people'):
    folder.FolderSource(tmp_path, 8)


def test_the_folder_of_one_person_is_told_from_that_of_all(tmp_path):
  make_people(tmp_path, {'a': 2})
  message = rf'a has images and no folders.* set data.path to .* as {tmp_path};'
  with pytest.raises(ValueError, match=message):
    folder.FolderSource(tmp_path / 'a', 8)


def test_files_that_are_no_images_are_counted(tmp_path):
  make_people(tmp_path, {'a': 1, 'b': 1})
  for name in ('1.txt', '2.txt', '3.txt'):
    (tmp_path / 'b' / name).touch()
  with pytest.raises(ValueError, match=r'1\.txt is not .* and 2 more that are'):
    folder.FolderSource(tmp_path, 8)


def test_damaged_image_is_named_when_it_is_read(tmp_path):
  make_people(tmp_path, {'a': 1, 'b': 1})
  (tmp_path / 'b' / '000.png').write_bytes(b'')
  source = folder.FolderSource(tmp_path, 8)
  with pytest.raises(images.DamagedImageError, match=r'b/000\.png is empty'):
    source[1]


def test_stored_images_of_another_size_are_resized(tmp_path):
  make_people(tmp_path, {'a': 1, 'b': 1})
  source = folder.FolderSource(tmp_path, 12, stored_size=8)
  assert source[1]['image'].shape == (12, 12, 3)
  with pytest.raises(ValueError, match='has 8x8 pixels, wanted 12x12'):
    folder.FolderSource(tmp_path, 8, stored_size=12)[1]


@real_data.needs(FACES)
def test_real_faces_are_listed_whole():
  source = folder.FolderSource(FACES, 112)
  assert len(source) == 11569
  assert len(source.class_names) == 366
  assert np.bincount(source.labels).min() >= 1
  assert source[len(source) - 1]['image'].shape == (112, 112, 3)
