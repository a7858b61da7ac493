"""The benchmark of what it buys to refuse faces."""

import command_line
import numpy as np
from drawn_faces import draw_folder, find_whole, stand_in

from benchmarks import abstention, transfer
from faceqat.faces import detection
from faceqat.faces.quality import Quality
from faceqat.identification import embedders


def test_refusing_the_worst_lowers_the_error(capsys):
  rng = np.random.default_rng(0)
  people = np.repeat(np.arange(100), 2)
  good = rng.uniform(size=200)
  templates = rng.normal(size=(100, 32))[people]
  templates += rng.normal(size=(200, 32)) * 0.3 / good[:, np.newaxis]
  unit = transfer.unit(templates)
  scores = unit @ unit.T
  measures = {'good': good, 'chance': rng.uniform(size=200)}
  abstention.show_curves(scores, people, 0.5, measures)
  rows = capsys.readouterr().out.splitlines()[2:]
  errors = {
    row.split('|')[1].strip(): [float(x) for x in row.split('|')[2:-1]]
    for row in rows
  }
  assert errors['good'][0] == errors['chance'][0]
  assert errors['good'][-1] < 0.8 * errors['good'][0]
  # Faces that were not found are refused first.
  good[3] = np.nan
  assert not abstention.refusing(good, 0.005)[3]


def test_errors_are_those_of_what_is_refused_and_what_is_left(capsys):
  people = np.repeat(np.arange(8), 2)
  scores = np.where(people[:, np.newaxis] == people, 0.9, 0.1)
  scores[0, 1] = scores[1, 0] = scores[2, 3] = scores[3, 2] = 0.2
  reasons = ['', 'turned by 60 degrees', *[''] * 14]
  abstention.show_bars(scores, people, 0.5, reasons)
  printed = capsys.readouterr().out
  assert '| all | 16 | 25.00 of 8 | 0.000 |' in printed
  assert '| usable | 15 | 14.29 of 7 | 0.000 |' in printed
  assert '| pairs with one refused | 1 | 100.00 of 1 |  |' in printed
  assert "{'turned': 1}" in printed
  row = Quality(80, 10.0, -50.0, 3, 0.1, 1)
  assert abstention.worth(np.array([row]))['turn'].tolist() == [-50]


def test_the_command_measures_spoilt_faces(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(embedders, 'load', lambda name: stand_in([]))
  monkeypatch.setattr(detection, 'make_detector', lambda: find_whole)
  flags = {
    'model': 'any',
    'faces': draw_folder(tmp_path / 'faces', people=6, images=2),
    'cache': tmp_path / 'cache',
    'rate': 0.3,
  }
  command_line.run(abstention, **flags)
  printed = capsys.readouterr().out
  assert '| usable | 12 | ' in printed
  threshold = float(printed.split()[1])
  command_line.run(abstention, **flags, dark=0.05, threshold=threshold)
  assert '| usable | 0 | 0.00 of 0 | ' in capsys.readouterr().out
