import shutil

import numpy as np
import pytest
from identify_run import SIZE, table_of
from PIL import Image

from faceqat.data.drawn.synthetic import SyntheticFaces

pytest_plugins = ['identify_fixtures']


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
  ask, strangers, tmp_path, capsys
):
  flags = {'calibration': strangers, 'false_positive_rate': 0.1}
  # The strangers themselves as probes: 12 of 120, or fewer if scores tie.
  rows = ask(tmp_path / 'a', probe=strangers, **flags)
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
  rows = ask(tmp_path / 'b', **flags)
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
  changes, message, ask, strangers, tmp_path, capsys
):
  flags = {'calibration': strangers, 'false_positive_rate': 0.1, **changes}
  with pytest.raises(ValueError, match=message):
    ask(tmp_path / 'out', **flags)
  assert not (tmp_path / 'out').exists()
  # Nothing was embedded before.
  assert 'gallery: ' not in capsys.readouterr().out


def test_strangers_who_are_in_the_gallery_are_refused_by_name(
  people, ask, strangers, tmp_path
):
  flags = {'calibration': strangers, 'false_positive_rate': 0.1}
  # Under a name that is written otherwise, then as an image.
  (strangers / 'person_000050').rename(strangers / 'Person 000003')
  with pytest.raises(ValueError, match='people of the gallery: Person 000003'):
    ask(tmp_path / 'out', **flags)
  (strangers / 'Person 000003').rename(strangers / 'stranger')
  shutil.copy(
    people / 'gallery' / 'person_000001' / '0.png', strangers / 'stranger'
  )
  with pytest.raises(ValueError, match=r'stranger/0\.png is an image of the g'):
    ask(tmp_path / 'out', **flags)


def test_a_threshold_can_be_given(ask, tmp_path, capsys):
  for threshold, accepted in ((1.0, '0.00'), (-1.0, '100.00')):
    ask(tmp_path, threshold=threshold)
    assert table_of(capsys.readouterr().out)['accepted %'] == accepted
  with pytest.raises(ValueError, match='=35: a cosine is between -1 and 1'):
    ask(tmp_path, threshold=35)
