import shutil

import numpy as np
import pytest
from identify_run import SIZE, table_of
from match_tables import make_table
from PIL import Image

from faceqat.calibration import packaged_files
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.evaluators import rate_table
from faceqat.identification import embedders

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


@pytest.fixture
def ship(program, tmp_path, monkeypatch):
  """Ships rates of a network, by default those of the program."""
  path = tmp_path / 'rates.json'
  monkeypatch.setattr(packaged_files, 'rates_path_of', lambda name: path)

  def write(network=None, thresholds=(0.5, 0.9, 0.95)):
    network = network or embedders.load(program).digest(16)
    rate_table.save(make_table(network, thresholds), path)

  return write


def test_a_network_with_rates_has_a_threshold(ask, ship, tmp_path, capsys):
  ship()
  out = tmp_path / 'out'
  rows = ask(out)
  printed = capsys.readouterr().out
  assert 'threshold 0.9000: 0.01 % [0.005, 0.02] of the p' in printed
  assert 'A gallery of 18 gives at most 0.18 % [0.09, 0.36] of' in printed
  assert table_of(printed)['threshold'] == '0.9000'
  for row in rows:
    assert row['accepted'] == str(float(row['score']) >= 0.9).lower()
  ask(out, prototypes=True)
  assert 'as --prototypes takes, are reached more' in capsys.readouterr().out
  # One that is given is taken, and all are named again.
  ask(out, threshold=-1.0)
  printed = capsys.readouterr().out
  assert '--threshold=-1: more than 1 % of the pairs of different' in printed
  assert table_of(printed)['accepted %'] == '100.00'


def test_a_share_of_strangers_asks_for_a_threshold_by_the_gallery(
  ask, ship, tmp_path, capsys
):
  ship()
  out = tmp_path / 'out'
  # Eighteen images: 1e-4 known to 2e-4 gives at most 0.36 % of them a name.
  rows = ask(out, false_positive_rate=0.004)
  printed = capsys.readouterr().out
  assert (
    'threshold 0.9000: a gallery of 18 gives at most 0.4 % of str' in printed
  )
  assert {row['accepted'] for row in rows} <= {'true', 'false'}
  ask(out, false_positive_rate=0.003)
  assert 'threshold 0.9500: a gallery of 18 gives' in capsys.readouterr().out
  # No lower rate than 1e-5 is known, and that to 2e-5.
  with pytest.raises(
    ValueError, match=r'a false-match rate of 5\.6e-06, and DR'
  ):
    ask(out, false_positive_rate=1e-4)
  with pytest.raises(ValueError, match='none of means of images'):
    ask(out, false_positive_rate=0.1, prototypes=True)


def test_strangers_who_break_a_promise_are_warned_of(
  ask, ship, strangers, tmp_path, capsys
):
  ship(thresholds=(-0.5, -0.2, 0.0))
  ask(tmp_path / 'out', calibration=strangers, false_positive_rate=0.1)
  printed = capsys.readouterr().out
  assert 'WARNING: the false-match rates of the network do not hold' in printed
  assert 'of 120 images of strangers reach -0.2000, where the rates pr' in (
    printed
  )


def test_own_strangers_take_the_place_of_rates_that_ship(
  ask, ship, strangers, tmp_path, capsys
):
  ship()
  ask(tmp_path / 'out', calibration=strangers, false_positive_rate=0.1)
  printed = capsys.readouterr().out
  assert 'DRAWN' not in printed
  assert 'of 120 images of 10 strangers' in printed


def test_rates_of_another_network_are_not_used(
  program, ask, ship, tmp_path, monkeypatch, capsys
):
  ship('ef' * 32)
  assert ask(tmp_path / 'out')[0]['accepted'] == ''
  printed = capsys.readouterr().out
  assert 'warning: no false-match rates are known' in printed
  assert 'DRAWN' not in printed
  # One that ought to have some says why it has none.
  monkeypatch.setattr(packaged_files, 'NAMES', (program,))
  assert ask(tmp_path / 'out')[0]['accepted'] == ''
  printed = capsys.readouterr().out
  assert f'false-match rates that ship with {program} are not used' in printed
  assert '(efefefefefef there, ' in printed
  assert 'threshold' not in table_of(printed)
