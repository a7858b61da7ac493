"""Synthetic faces: deterministic, distinct people, hard for linear methods."""

import concurrent.futures
import hashlib
import pickle
import subprocess
import sys

import command_line
import numpy as np
import pytest
from PIL import Image

from faceqat.data.drawn import face_parameters, synthetic
from faceqat.data.drawn.synthetic import SyntheticFaces


def _stack(source):
  return np.stack([source[i]['image'] for i in range(len(source))])


def test_items_have_the_types_of_a_source():
  source = SyntheticFaces(3, 4, image_size=20, first_person=7)
  assert len(source) == 12
  assert source.labels.dtype == np.int32
  assert source.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
  assert source.class_names == [
    'person_000007',
    'person_000008',
    'person_000009',
  ]
  assert source.name(6) == 'person_000008/0002'
  item = source[6]
  assert item['image'].shape == (20, 20, 3)
  assert item['image'].dtype == np.uint8
  assert item['image'].flags.c_contiguous
  assert item['label'] == 1
  assert isinstance(item['label'], np.int32)


def test_order_of_access_does_not_matter():
  source = SyntheticFaces(3, 4, image_size=32)
  forward = _stack(source)
  other = SyntheticFaces(3, 4, image_size=32)
  for i in reversed(range(12)):
    np.testing.assert_array_equal(other[i]['image'], forward[i])
  np.testing.assert_array_equal(source[-1]['image'], forward[11])


def test_threads_and_pickling_give_the_same_images():
  source = SyntheticFaces(6, 10, image_size=48, seed=3)
  expected = _stack(source)
  clone = pickle.loads(pickle.dumps(source))
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    items = list(pool.map(clone.__getitem__, range(len(clone))))
  np.testing.assert_array_equal([item['image'] for item in items], expected)


def test_another_process_gives_the_same_images():
  code = (
    'import hashlib\n'
    'from faceqat.data.drawn.synthetic import SyntheticFaces\n'
    's = SyntheticFaces(4, 3, 40, seed=5)\n'
    'd = b"".join(s[i]["image"].tobytes() for i in reversed(range(12)))\n'
    'print(hashlib.sha256(d).hexdigest())\n'
  )
  # Another hash seed: nothing may depend on Python's own randomisation.
  result = subprocess.run(
    [sys.executable, '-c', code],
    env={'PYTHONHASHSEED': '77', 'PYTHONPATH': ':'.join(sys.path)},
    capture_output=True,
    text=True,
    check=True,
  )
  images = _stack(SyntheticFaces(4, 3, 40, seed=5))[::-1]
  expected = hashlib.sha256(images.tobytes()).hexdigest()
  assert result.stdout.strip() == expected


def test_a_person_is_the_same_in_every_source():
  few = SyntheticFaces(2, 3, image_size=24, first_person=5)
  many = SyntheticFaces(8, 6, image_size=24)
  for person in range(2):
    for image in range(3):
      np.testing.assert_array_equal(
        few[person * 3 + image]['image'],
        many[(5 + person) * 6 + image]['image'],
      )


def test_disjoint_ranges_and_other_seeds_have_no_person_in_common():
  ranges = (
    SyntheticFaces(50, 1),
    SyntheticFaces(50, 1, first_person=50),
    SyntheticFaces(50, 1, seed=1),
  )
  assert not set(ranges[0].class_names) & set(ranges[1].class_names)
  heads = {
    face_parameters.sample_person(source.seed, source.first_person + k).head
    for source in ranges
    for k in range(50)
  }
  assert len(heads) == 150


def test_all_images_differ():
  images = _stack(SyntheticFaces(5, 20, image_size=32))
  assert len({image.tobytes() for image in images}) == 100


@pytest.mark.parametrize('image_size', [1, 2, 7, 64, 113])
def test_every_image_size_works(image_size):
  images = _stack(SyntheticFaces(6, 5, image_size=image_size))
  assert images.shape == (30, image_size, image_size, 3)
  assert images.std() > 10


def test_a_size_shows_the_same_scene():
  small = _stack(SyntheticFaces(3, 3, image_size=56)).astype(np.float32)
  large = _stack(SyntheticFaces(3, 3, image_size=112)).astype(np.float32)
  shrunk = large.reshape(9, 56, 2, 56, 2, 3).mean((2, 4))
  # Grain of up to 7 grey levels is drawn anew, and edges are as sharp as the
  # pixels; images of different scenes differ by about 55.
  assert np.abs(shrunk - small).mean() < 8
  assert np.abs(np.roll(shrunk, 1, axis=0) - small).mean() > 20


def _pixels(source):
  return _stack(source).reshape(len(source), -1) / 128.0 - 1


def _accuracy(embedding, labels):
  """Best accuracy of one cosine threshold, half of the pairs the same."""
  embedding = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
  first, second = np.triu_indices(len(labels), 1)
  score = (embedding @ embedding.T)[first, second]
  same = labels[first] == labels[second]
  order = np.argsort(-score)
  accepted = np.cumsum(same[order]) / same.sum()
  false_accepted = np.cumsum(~same[order]) / (~same).sum()
  return np.max(0.5 * (accepted + 1 - false_accepted))


def test_linear_methods_see_something_but_not_much_in_new_people():
  train = SyntheticFaces(60, 20, image_size=16)
  test = SyntheticFaces(50, 6, image_size=16, first_person=1000)
  x, y = _pixels(train), _pixels(test)
  mean = x.mean(0)
  # Fisher's discriminant on 100 principal components of 768 numbers.
  _, components = np.linalg.eigh((x - mean).T @ (x - mean))
  components = components[:, -100:]
  x, y_reduced = (x - mean) @ components, (y - mean) @ components
  centres = x.reshape(60, 20, -1).mean(1)
  within = x - centres[train.labels]
  scatter = within.T @ within / len(x) + 1e-3 * np.eye(100)
  whiten = np.linalg.inv(np.linalg.cholesky(scatter)).T
  _, directions = np.linalg.eigh(whiten.T @ np.cov(centres.T) @ whiten)
  linear = y_reduced @ whiten @ directions[:, -30:]

  raw_accuracy = _accuracy(y - mean, test.labels)
  linear_accuracy = _accuracy(linear, test.labels)
  # Chance is 0.5; a small network trained on 200 people reaches 0.95.
  assert 0.53 < raw_accuracy < 0.68, raw_accuracy
  assert 0.60 < linear_accuracy < 0.88, linear_accuracy


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('num_people', 1),
    ('num_people', 2.5),
    ('images_per_person', 0),
    ('seed', -1),
    ('first_person', -1),
  ],
)
def test_bad_arguments_are_named(name, value):
  arguments = {'num_people': 3, 'images_per_person': 2, name: value}
  with pytest.raises(ValueError, match=f'{name} is {value}; give a whole'):
    SyntheticFaces(**arguments)


def test_a_size_that_is_none_is_named():
  with pytest.raises(ValueError, match='image_size is 0, wanted a number of p'):
    SyntheticFaces(2, 1, image_size=0)


@pytest.mark.parametrize(
  ('size', 'part'), [((28, 24), np.s_[:, :, 2:26]), ((23, 28), np.s_[:, 2:25])]
)
def test_an_oblong_face_is_the_middle_of_a_square_one(size, part):
  square = _stack(SyntheticFaces(2, 2, image_size=28))
  oblong = SyntheticFaces(2, 2, image_size=size)
  assert oblong[0]['image'].flags.c_contiguous
  np.testing.assert_array_equal(_stack(oblong), square[part])
  sheet = synthetic.draw_faces(oblong)
  assert sheet.shape == (2 * size[0], 2 * size[1], 3)
  np.testing.assert_array_equal(sheet[size[0] :, : size[1]], oblong[2]['image'])


def test_an_index_out_of_range_is_an_index_error():
  source = SyntheticFaces(2, 2, image_size=8)
  with pytest.raises(IndexError, match='4 images; there is no image 4'):
    source[4]
  assert len(list(source)) == 4


def test_contact_sheet_has_a_row_for_each_person(tmp_path):
  path = tmp_path / 'sheet.png'
  flags = ('--people=3', '--images=5', '--size=16')
  command_line.run(synthetic, path, *flags)
  with Image.open(path) as sheet:
    picture = np.asarray(sheet)
  assert picture.shape == (3 * 16, 5 * 16, 3)
  source = SyntheticFaces(3, 5, image_size=16)
  np.testing.assert_array_equal(picture[16:32, 32:48], source[7]['image'])
