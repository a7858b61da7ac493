"""Images made of others are trained on, and never held out or compared."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from configs import common
from faceqat.data import datasets
from faceqat.data.benchmarks import pair_lists
from faceqat.data.held_out_people import split_holdout
from faceqat.data.sources.folder import FolderSource
from faceqat.faces import made

SIZE = 8


def write_faces(root, originals, copies, people=24):
  """Everybody has `originals` images, and `copies` made of each."""
  for person in range(people):
    folder = root / f'p{person:02d}'
    folder.mkdir(parents=True)
    for image in range(originals):
      name = f'{image}.png'
      names = [made.name_of(name, number + 1) for number in range(copies)]
      for file in (name, *names):
        Image.new('RGB', (SIZE, SIZE)).save(folder / file)
  return root


@pytest.mark.parametrize(
  ('name', 'is_one'),
  [
    ('1.made1.jpg', True),
    ('ann/b.c.face2.made12.png', True),
    ('1.jpg', False),
    ('1.made.jpg', False),
    ('1.made0.jpg', False),
    ('made1.jpg', False),
    ('x.made1.d/1.jpg', False),
  ],
)
def test_a_name_says_that_an_image_was_made(name, is_one):
  assert made.is_made(name) == is_one
  if not is_one:
    assert made.is_made(made.name_of(name, 3))


def test_what_was_made_of_an_image_held_out_is_not_trained_on(tmp_path):
  source = FolderSource(write_faces(tmp_path, 4, 2), SIZE)
  train, known = split_holdout(source, 1)
  names = [pathlib.Path(known.name(i)).name for i in range(len(known))]
  assert names == 24 * ['3.png']
  trained = {pathlib.Path(train.name(i)).name for i in range(len(train))}
  assert len(trained) == 9
  assert not any(name.startswith('3.') for name in trained)
  assert len(train) == 24 * 9
  assert train.made.sum() == 24 * 6


def test_only_own_images_make_a_person_have_enough_to_hold_one_out(tmp_path):
  source = FolderSource(write_faces(tmp_path, 2, 5), SIZE)
  with pytest.raises(ValueError, match='takes 3 images of a person'):
    split_holdout(source, 1)


def test_no_pair_has_one_that_was_made(tmp_path, capsys):
  root = write_faces(tmp_path / 'faces', 3, 2)
  config = common.data()
  config.update(image_size=SIZE, path=str(root))
  config.update(validation_people=20, validation_pairs=40)
  data = datasets.make_training_data(config)
  held_out = datasets.make_held_out_people(config)
  assert len(held_out) == 20 * 3
  assert not held_out.made.any()
  files, own_files = (
    {images.encoded(i) for i in range(len(images))}
    for images in (data.validation.images, held_out)
  )
  assert files <= own_files
  # Of four people, two images each with two made of each, and one held out.
  assert data.summary[0].startswith(
    'trains on 24 images of 4 people; 16 of them made of others'
  )
  evaluation = common.evaluation()
  evaluation.update(path=str(root))
  pair_set = datasets.make_evaluation_pairs(evaluation, image_size=SIZE)
  # Three pairs of everybody's three images.
  assert pair_set.same.sum() == 24 * 3
  assert f'{len(pair_set)} pairs' in capsys.readouterr().out


def test_a_list_does_not_pair_one_either(tmp_path):
  root = write_faces(tmp_path / 'faces', 2, 1, people=4)
  path = tmp_path / 'pairs.csv'
  path.write_text(
    'image,other,same\np00/0.png,p00/0.made1.png,1\np00/0.png,p01/1.png,0\n'
  )
  with pytest.raises(ValueError, match='made of another image by prepare'):
    pair_lists.read_list(root, path, SIZE)


def test_a_set_without_any_has_none(tmp_path):
  source = FolderSource(write_faces(tmp_path, 2, 0), SIZE)
  assert not made.are_made(source).any()
  assert made.independent_of(source, [0]).all()
  assert not made.are_made(np.zeros(3)).any()
