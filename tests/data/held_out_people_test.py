"""Whom a run holds out stays held out, whoever comes or goes."""

import zlib

import pytest
from pictures import write_people

from configs import common
from faceqat.data import datasets
from faceqat.data.held_out_people import hold_out
from faceqat.data.sources.folder import FolderSource

SIZE = 8


def write_faces(root, names):
  """Three images of each; nobody has another's picture."""

  def color(person, image):
    return tuple(
      zlib.crc32(f'{root}/{person}/{image}'.encode()).to_bytes(4)[:3]
    )

  return write_people(root, dict.fromkeys(names, 3), color)


def data_config(path, **changes):
  config = common.data()
  config.update(image_size=SIZE, path=str(path), validation_people=20)
  config.update(validation_pairs=40, **changes)
  return config


def going_on(config, held_out):
  """The config as a run has it that goes on."""
  config = config.copy_and_resolve_references()
  config.held_out = held_out
  return config


@pytest.fixture
def faces(tmp_path):
  return write_faces(tmp_path / 'a', [f'p{i:02d}' for i in range(30)])


def test_the_same_people_are_parted_alike(faces):
  config = data_config(faces)
  first = datasets.make_training_data(config)
  again = datasets.make_training_data(going_on(config, first.held_out))
  assert again.train.class_names == first.train.class_names
  assert again.held_out == first.held_out
  assert again.summary == first.summary


def test_who_is_new_is_trained_on_and_who_is_gone_is_named(faces):
  config = data_config(faces)
  first = datasets.make_training_data(config)
  # Drawn anew, others would be held out.
  write_faces(faces, [f'n{i}' for i in range(5)])
  drawn = datasets.make_training_data(config)
  assert not {*first.held_out}.isdisjoint(drawn.train.class_names)
  gone = first.held_out[3]
  (faces / gone).rename(faces / '.gone')
  for open_people in (
    lambda c: datasets.make_training_data(c).held_out,
    lambda c: datasets.make_held_out_people(c).class_names,
  ):
    found = open_people(going_on(config, first.held_out))
    assert found == [name for name in first.held_out if name != gone]
  data = datasets.make_training_data(going_on(config, first.held_out))
  # The pairs were of ten folds with two people each.
  assert 0 < data.validation.same.sum() <= 20
  trained = {*first.train.class_names} | {f'n{i}' for i in range(5)}
  assert {*data.train.class_names} == trained
  note = f'1 people whom this run held out are no more there: {gone}'
  assert note in data.summary[1]


@pytest.mark.parametrize('same_names', ['apart', 'merged'])
def test_another_set_does_not_bring_them_back(same_names, faces, tmp_path):
  config = data_config(faces, same_names=same_names)
  first = datasets.make_training_data(config)
  one, other = first.held_out[0], first.train.class_names[0]
  more = write_faces(tmp_path / 'b', [one, other, 'zoe'])
  config.path = f'{faces},{more}'
  data = datasets.make_training_data(going_on(config, first.held_out))
  expected = {*first.held_out}
  if same_names == 'apart':
    expected = expected - {one} | {f'a/{one}', f'b/{one}'}
  assert {*data.held_out} == expected
  # The sets, what is trained on, and the names that they share.
  assert sum('picture' not in line for line in data.summary) == 3
  # And without it again.
  config.path = str(faces)
  alone = datasets.make_training_data(going_on(config, data.held_out))
  assert alone.held_out == first.held_out


@pytest.mark.parametrize('left', [1, 29])
def test_too_few_who_are_left_are_refused(left, faces):
  names = [f'p{i:02d}' for i in range(left)] + ['gone']
  message = rf'Of the {left + 1} people whom this run has held out, {left} are'
  config = going_on(data_config(faces), names)
  with pytest.raises(ValueError, match=message):
    hold_out(FolderSource(faces, SIZE), config)


@pytest.mark.parametrize('people', [3, 21])
def test_a_small_set_is_told_to_hold_out_nobody(people, tmp_path):
  source = FolderSource(
    write_faces(tmp_path, [f'p{i:02d}' for i in range(people)]), SIZE
  )
  message = (
    f'data.validation_people is 20, .* has {people} people: .*; give 0 to'
  )
  with pytest.raises(ValueError, match=message):
    hold_out(source, data_config(tmp_path))
