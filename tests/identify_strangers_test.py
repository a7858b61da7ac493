import functools
import shutil

import numpy as np
import pytest
from identify_run import (
  SIZE,
  draw_people,
  run_it,
  table_of,
  write_program,
)
from PIL import Image

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.identification import embedders


@pytest.fixture(scope='module')
def program(quantized_run, tmp_path_factory):
  folder = tmp_path_factory.mktemp('program')
  return write_program(quantized_run[0], folder / 'program.safetensors')


@pytest.fixture(scope='module')
def people(tmp_path_factory):
  return draw_people(tmp_path_factory.mktemp('people'))


@pytest.fixture(scope='module', autouse=True)
def compiled_once():
  """A network that is loaded once is compiled once."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(embedders, 'load', functools.cache(embedders.load))
    yield


@pytest.fixture
def strangers(tmp_path):
  """A folder of ten people who are nowhere else, with twelve images each."""
  faces = SyntheticFaces(10, 12, image_size=SIZE, seed=4, first_person=50)
  for index, label in enumerate(faces.labels):
    folder = tmp_path / 'strangers' / faces.class_names[label]
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(faces[index]['image']).save(folder / f'{index}.png')
  return tmp_path / 'strangers'


def test_a_stated_share_of_strangers_is_given_a_name(
  program, people, strangers, tmp_path, capsys
):
  flags = {
    'gallery': people / 'gallery',
    'calibration': strangers,
    'false_positive_rate': 0.1,
  }
  # The strangers themselves as probes: 12 of 120, or fewer if scores tie.
  rows = run_it(program, tmp_path / 'a', probe=strangers, **flags)
  named = [row['accepted'] == 'true' for row in rows[::5]]
  assert 10 <= sum(named) <= 12
  printed = capsys.readouterr().out
  assert f'reached by {sum(named)} of 120 images of 10 strangers' in printed
  shown = table_of(printed)
  assert shown['FPIR %'] == f'{100 * sum(named) / 120:.2f}'
  assert 'TPIR %' not in shown
  lines = (tmp_path / 'a' / 'predictions.txt').read_text().splitlines()
  unknown = [line.split()[1] == 'unknown' for line in lines]
  assert unknown == [not name for name in named]
  # And the people of the gallery.
  rows = run_it(program, tmp_path / 'b', probe=people / 'probes', **flags)
  found = [
    row['accepted'] == 'true' and row['probe'].split('/')[0] == row['person']
    for row in rows[::5]
  ]
  shown = table_of(capsys.readouterr().out)
  assert shown['TPIR %'] == f'{100 * np.mean(found):.2f}'
  assert 'FPIR %' not in shown


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'false_positive_rate': 0.01}, '1,000 images or more, or a rate of at l'),
    ({'false_positive_rate': None}, 'go together'),
    ({'calibration': None}, 'go together'),
    ({'threshold': 0.5}, 'not both'),
  ],
)
def test_a_threshold_that_cannot_be_chosen_is_refused(
  changes, message, program, people, strangers, tmp_path, capsys
):
  flags = {
    'gallery': people / 'gallery',
    'probe': people / 'probes',
    'calibration': strangers,
    'false_positive_rate': 0.1,
    **changes,
  }
  flags = {name: value for name, value in flags.items() if value is not None}
  with pytest.raises(ValueError, match=message):
    run_it(program, tmp_path / 'out', **flags)
  assert not (tmp_path / 'out').exists()
  # Nothing was embedded before.
  assert 'gallery: ' not in capsys.readouterr().out


def test_strangers_who_are_in_the_gallery_are_refused_by_name(
  program, people, strangers, tmp_path
):
  flags = {
    'gallery': people / 'gallery',
    'probe': people / 'probes',
    'calibration': strangers,
    'false_positive_rate': 0.1,
  }
  # Under a name that is written otherwise, then as an image.
  (strangers / 'person_000050').rename(strangers / 'Person 000003')
  with pytest.raises(ValueError, match='people of the gallery: Person 000003'):
    run_it(program, tmp_path / 'out', **flags)
  (strangers / 'Person 000003').rename(strangers / 'stranger')
  shutil.copy(
    people / 'gallery' / 'person_000001' / '0.png', strangers / 'stranger'
  )
  with pytest.raises(ValueError, match=r'stranger/0\.png is an image of the g'):
    run_it(program, tmp_path / 'out', **flags)


def test_a_threshold_can_be_given(program, people, tmp_path, capsys):
  flags = {'gallery': people / 'gallery', 'probe': people / 'probes'}
  for threshold, accepted in ((1.0, '0.00'), (-1.0, '100.00')):
    run_it(program, tmp_path, threshold=threshold, **flags)
    assert table_of(capsys.readouterr().out)['accepted %'] == accepted
  with pytest.raises(ValueError, match='=35: a cosine is between -1 and 1'):
    run_it(program, tmp_path, threshold=35, **flags)
