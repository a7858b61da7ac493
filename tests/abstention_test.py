"""The benchmark of what it buys to refuse faces."""

import command_line
import numpy as np
import pytest
from drawn_faces import draw_folder, find_whole, stand_in
from match_tables import make_table

from benchmarks import abstention
from benchmarks.abstention import Measured
from faceqat.faces import detection
from faceqat.faces.quality import Quality
from faceqat.identification import embedders

GOOD = Quality(80, 10.0, -20.0, 3, 0.1, 1)


def make_faces(templates, people, found=GOOD):
  """Faces of which those that follow each other show one person."""
  return Measured(
    np.asarray(templates, float),
    people,
    np.arange(len(people)).reshape(-1, 2).T,
    np.tile(np.array(found, float), [len(people), 1]),
  )


def rows_of(printed, table=0):
  """The cells of one of the printed tables by their first column."""
  lines = [x for x in printed.split('\n\n') if '|---' in x][table]
  rows = [line.split('|')[1:-1] for line in lines.splitlines()]
  return {row[0].strip(): [x.strip() for x in row[1:]] for row in rows if row}


def test_refusing_the_worst_lowers_the_error(capsys):
  rng = np.random.default_rng(0)
  people = np.repeat(np.arange(100), 2)
  sharpness = rng.uniform(size=200)
  templates = rng.normal(size=(100, 32))[people]
  templates += rng.normal(size=(200, 32)) * 0.3 / sharpness[:, np.newaxis]
  faces = make_faces(templates, people)
  faces.quality[:, 4] = sharpness
  faces.quality[:, 0] = rng.uniform(30, 90, 200)
  abstention.show_curves(faces, 0.5)
  rows = rows_of(capsys.readouterr().out)
  errors = {
    name: [float(x.split()[0]) for x in rows[name]]
    for name in ('size', 'sharpness')
  }
  assert errors['size'][0] == errors['sharpness'][0] > 0
  assert errors['sharpness'][-1] < 0.8 * errors['sharpness'][0]
  # Faces that were not found are refused first.
  faces.quality[3] = np.nan
  good = abstention.worth(faces)['sharpness']
  assert not abstention.refusing(good, 0.005)[3]


def test_errors_are_those_of_what_is_refused_and_what_is_left(capsys):
  people = np.repeat(np.arange(8), 2)
  templates = np.eye(16)[2 * people]
  # The first two people have a second image that resembles nobody.
  templates[[1, 3]] = np.eye(16)[[1, 3]]
  faces = make_faces(templates, people)
  faces.quality[1] = GOOD._replace(yaw=-60.0)
  reasons = abstention.reasons_of(faces, least_norm=0.5)
  assert [i for i, reason in enumerate(reasons) if reason] == [1]
  abstention.show_bars(faces, 0.5, reasons)
  printed = capsys.readouterr().out
  rows = rows_of(printed)
  assert rows['all'][0] == '16'
  assert rows['all'][1].startswith('25.00 [')
  assert rows['all'][2] == '2 of 8'
  assert rows['all'][3].startswith('0 [0, ')
  assert rows['usable'][0] == '15'
  assert rows['usable'][2] == '1 of 7'
  assert rows['pairs with one refused'][0:3:2] == ['1', '1 of 1']
  assert "{'turned': 1}" in printed
  abstention.show_turned(faces, 0.5)
  rows = rows_of(capsys.readouterr().out)
  assert (rows['missed'], rows['found']) == (['2', '1'], ['6', '0'])
  assert abstention.worth(faces)['turn'][1] == -60
  # All of them are shorter.
  assert set(abstention.reasons_of(faces, least_norm=2)[2:]) == {
    'short embedding'
  }


def test_measures_are_shown_from_the_worst_with_their_bars(capsys):
  faces = make_faces(np.eye(8), np.repeat(np.arange(4), 2))
  faces.quality[0] = GOOD._replace(yaw=70.0, sharpness=0.001)
  faces.quality[5] = np.nan
  abstention.show_measures(faces, least_norm=0.0)
  printed = capsys.readouterr().out
  rows = rows_of(printed)
  assert rows['turn'] == ['70', '67', '55', '20', '55', '14.29']
  assert rows['sharpness'][-2:] == ['0.012', '14.29']
  assert rows['norm'] == ['1', '1', '1', '1', '', '']
  assert 'no face is found in 1 images' in printed


def test_the_command_measures_spoilt_faces(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(embedders, 'load', lambda name: stand_in([]))
  monkeypatch.setattr(detection, 'make_detector', lambda *_: find_whole)
  flags = {
    'model': 'any',
    'faces': draw_folder(tmp_path / 'faces', people=6, images=2),
    'cache': tmp_path / 'cache',
  }
  with pytest.raises(ValueError, match='has no threshold of its own'):
    command_line.run(abstention, **flags)
  command_line.run(abstention, **flags, rate=0.3)
  printed = capsys.readouterr().out
  assert rows_of(printed, 2)['usable'][0] == '12'
  threshold = float(printed.split()[1])
  command_line.run(abstention, **flags, dark=0.05, threshold=threshold)
  rows = rows_of(capsys.readouterr().out, 2)
  assert rows['usable'][:3] == ['0', '', '0 of 0']


def test_the_command_takes_a_list_of_pairs_and_photographs(
  tmp_path, monkeypatch, capsys
):
  calls = []
  network = stand_in(calls)
  network.table = make_table()._replace(least_norm=1e9)
  network.template, network.stored_size = 'arcface', 0
  monkeypatch.setattr(embedders, 'load', lambda name: network)
  monkeypatch.setattr(detection, 'make_detector', lambda *_: find_whole)
  faces = draw_folder(tmp_path / 'faces', people=6, images=2)
  pairs = tmp_path / 'pairs.txt'
  pairs.write_text(
    ''.join(f'1 p{i}/0.png p{i}/1.png\n' for i in range(5))
    + ''.join(f'0 p{i}/0.png p{i + 1}/1.png\n' for i in range(5))
  )
  flags = {'model': 'any', 'faces': faces, 'cache': tmp_path / 'cache'}
  command_line.run(abstention, **flags, pairs=pairs)
  printed = capsys.readouterr().out
  # Of the last person one image is in a pair, of the default threshold.
  assert printed.startswith('threshold 0.3750')
  rows = rows_of(printed, 2)
  assert rows['all'][0] == '11'
  assert rows['all'][2].endswith(' of 5')
  # All are shorter than the bar of the network's table.
  assert rows_of(printed)['norm'][-1] == '100.00'
  assert rows['usable'][0] == '0'
  command_line.run(abstention, **flags, photographs=True)
  assert rows_of(capsys.readouterr().out, 2)['all'][0] == '12'
  assert len(calls) == 4
