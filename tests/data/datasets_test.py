import numpy as np
import pytest
from face_sets import (
  FORMS,
  IMAGES,
  PEOPLE,
  SIZE,
  data_config,
  eval_config,
  images_of,
  pair_images,
  who,
  write_bin,
  write_folder,
  write_list,
)

from faceqat.data import datasets
from faceqat.data.drawn.synthetic import SyntheticFaces


def pixels(images):
  return {image.tobytes() for image in images}


@pytest.mark.parametrize(('write', 'name'), FORMS)
def test_held_out_people_and_images_are_never_trained_on(write, name, tmp_path):
  path = write(tmp_path / name)
  data = datasets.make_training_data(data_config(path=str(path)))
  train, known, validation = (
    [who(image) for image in images]
    for images in (
      images_of(data.train),
      images_of(data.known),
      pair_images(data.validation),
    )
  )
  people = [{person for person, _ in images} for images in (train, validation)]
  assert len(people[0]) == 10
  assert people[0].isdisjoint(people[1])
  # One image of each trained person validates the classifier.
  assert sorted(person for person, _ in known) == sorted(people[0])
  assert set(known).isdisjoint(train)
  assert len(train) == 10 * (IMAGES - 1)
  # Labels count the trained people from 0, in both parts alike.
  label_of = {
    who(data.train[i]['image'])[0]: int(data.train[i]['label'])
    for i in range(len(data.train))
  }
  assert sorted(label_of.values()) == list(range(10))
  for i in range(len(data.known)):
    person, _ = who(data.known[i]['image'])
    assert data.known[i]['label'] == label_of[person]
  assert len(data.train.class_names) == 10


def test_people_held_out_of_training_are_a_source_of_their_own(tmp_path):
  config = data_config(path=str(write_folder(tmp_path / 'faces')))
  data = datasets.make_training_data(config)
  held_out = datasets.make_held_out_people(config)
  people = {who(image)[0] for image in images_of(held_out)}
  trained = {who(data.train[i]['image'])[0] for i in range(len(data.train))}
  assert people == set(range(PEOPLE)) - trained
  # All of their images, with labels from 0.
  assert np.bincount(held_out.labels).tolist() == [IMAGES] * 20
  config.validation_people = 0
  assert datasets.make_held_out_people(config) is None


def test_without_a_path_faces_are_drawn():
  data = datasets.make_training_data(data_config())
  train = pixels(images_of(data.train))
  assert len(train) == 10 * (IMAGES - 1)
  drawn = SyntheticFaces(PEOPLE, IMAGES, image_size=SIZE, seed=0)
  assert train < pixels(images_of(drawn))
  for others in (images_of(data.known), pair_images(data.validation)):
    assert others
    assert train.isdisjoint(pixels(others))


def test_nothing_is_kept_out_unless_it_is_asked_for():
  config = data_config(validation_people=0, holdout_images_per_person=0)
  data = datasets.make_training_data(config)
  assert len(data.train) == PEOPLE * IMAGES
  assert len(data.known) == 0
  assert data.validation is None


def test_drawn_people_of_the_evaluation_are_in_no_training_set():
  pair_set = datasets.make_evaluation_pairs(eval_config(), image_size=SIZE)
  images = pixels(pair_images(pair_set))
  # The seed is the same in both blocks: the people's numbers differ.
  far_away = SyntheticFaces(
    20, 4, image_size=SIZE, seed=0, first_person=1_000_000
  )
  assert images <= pixels(images_of(far_away))
  trained = SyntheticFaces(PEOPLE, IMAGES, image_size=SIZE, seed=0)
  assert images.isdisjoint(pixels(images_of(trained)))
  assert len(pair_set) == 40
  assert pair_set.same.sum() == 20


def test_a_training_set_that_reached_the_evaluation_is_refused():
  with pytest.raises(ValueError, match=r'num_people is 1000001; .* most'):
    datasets.make_training_data(data_config(num_people=1_000_001))


def test_a_bin_file_gives_its_pairs(tmp_path):
  path = write_bin(tmp_path / 'lfw.bin')
  pair_set = datasets.make_evaluation_pairs(
    eval_config(path=str(path)), image_size=SIZE
  )
  assert pair_set.name == 'lfw'
  assert pair_set.same.tolist() == [True, False] * 10
  assert who(pair_set.images[pair_set.second[1]]) == (3, 3)


def test_a_folder_gives_the_pairs_of_its_list(tmp_path):
  root = write_folder(tmp_path / 'lfw', people=4)
  config = eval_config(
    path=str(root), pairs=str(write_list(tmp_path, range(4)))
  )
  pair_set = datasets.make_evaluation_pairs(config, image_size=SIZE)
  assert pair_set.same.tolist() == [True, True, False, False] * 2
  assert pair_set.fold.tolist() == [0] * 4 + [1] * 4
  ends = [
    (who(pair_set.images[a]), who(pair_set.images[b]))
    for a, b in zip(pair_set.first, pair_set.second)
  ]
  assert ends[0] == ((0, 0), (0, 1))
  assert ends[7] == ((2, 1), (3, 1))


def test_images_of_another_size_are_found_at_once(tmp_path):
  root = write_folder(tmp_path / 'faces', size=24)
  message = 'has 24x24 pixels, wanted 16x16: align the faces'
  with pytest.raises(ValueError, match=message):
    datasets.make_training_data(data_config(path=str(root)))
  path = write_bin(tmp_path / 'a.bin', size=24)
  with pytest.raises(ValueError, match=f'{path}: image 0 {message}'):
    datasets.make_evaluation_pairs(eval_config(path=str(path)), image_size=SIZE)


@pytest.mark.parametrize(('write', 'name'), FORMS)
def test_training_images_of_stored_size_are_resized(write, name, tmp_path):
  config = data_config(
    path=str(write(tmp_path / name)), image_size=20, stored_size=SIZE
  )
  data = datasets.make_training_data(config)
  people = {who(image)[0] for image in images_of(data.train)}
  assert len(people) == 10
  for images in (
    images_of(data.train),
    images_of(data.known),
    pair_images(data.validation),
    images_of(datasets.make_held_out_people(config)),
  ):
    assert {image.shape for image in images} == {(20, 20, 3)}
  config.stored_size = 24
  with pytest.raises(ValueError, match=r'16x16 .* wanted 24x24: .*stored_'):
    datasets.make_training_data(config)


def test_evaluation_images_of_stored_size_are_resized(tmp_path):
  root = write_folder(tmp_path / 'lfw', people=4)
  configs = [
    eval_config(path=str(write_bin(tmp_path / 'lfw.bin')), stored_size=SIZE),
    eval_config(
      path=str(root),
      pairs=str(write_list(tmp_path, range(4))),
      stored_size=SIZE,
    ),
  ]
  for config in configs:
    pair_set = datasets.make_evaluation_pairs(config, image_size=12)
    images = pair_images(pair_set)
    assert {image.shape for image in images} == {(12, 12, 3)}
    assert who(images[0]) == (0, 0)
    config.stored_size = 12
    with pytest.raises(ValueError, match=r'16x16 .* wanted 12x12: .*stored_'):
      datasets.make_evaluation_pairs(config, image_size=12)


def test_drawn_faces_ignore_the_stored_size():
  config = data_config(image_size=20, stored_size=SIZE, validation_people=0)
  drawn = SyntheticFaces(PEOPLE, IMAGES, image_size=20, seed=0)
  train = datasets.make_training_data(config).train
  np.testing.assert_array_equal(train[0]['image'], drawn[0]['image'])
  pair_set = datasets.make_evaluation_pairs(
    eval_config(stored_size=SIZE), image_size=20
  )
  assert pair_set.images[0].shape == (20, 20, 3)


def test_a_damaged_first_image_may_be_passed_over(tmp_path):
  root = write_folder(tmp_path / 'faces')
  (root / 'p00' / 'p00_0001.png').write_bytes(b'')
  config = data_config(path=str(root), validation_people=0)
  with pytest.raises(ValueError, match=r'p00_0001\.png is empty'):
    datasets.make_training_data(config)
  config.skip_damaged = True
  data = datasets.make_training_data(config)
  assert len(data.train.class_names) == PEOPLE


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'path': 'none.bin'}, 'There is no verification file none.bin'),
    ({'path': 'none'}, r'no image folder none: set eval\.path to'),
    ({'path': 'none', 'pairs': 'pairs.txt'}, 'no list of pairs pairs.txt'),
    ({'num_pairs': 41}, 'num_pairs is 41, wanted a positive multiple of 20'),
  ],
)
def test_missing_or_wrong_pairs_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    datasets.make_evaluation_pairs(eval_config(**changes), image_size=SIZE)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'path': 'none'}, 'There is no image folder none'),
    ({'validation_people': 29}, 'people is 29, .*from 20 to 28, or 0'),
    ({'validation_people': 10}, 'people is 10, .*from 20 to 28, or 0'),
    ({'holdout_images_per_person': 3}, 'person is 3, which takes 9 images'),
  ],
)
def test_missing_or_small_training_sets_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    datasets.make_training_data(data_config(**changes))
