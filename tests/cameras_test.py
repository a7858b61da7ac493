"""The benchmark of how far rates go astray on other cameras."""

import itertools

import command_line
import numpy as np
import pytest
from drawn_faces import draw_folder, find_whole, stand_in

from benchmarks import cameras
from benchmarks.cameras import Key
from benchmarks.face_folders import Faces
from faceqat.evaluators.match_rates import Rate
from faceqat.faces import detection
from faceqat.identification import embedders

FORMS = (cameras.AS_IT_IS, 'grey', 'dark', 'small')


def make_set(source, form, alike):
  """Faces of 60 people that share a part, as those of one camera do."""
  rng = np.random.default_rng(hash_of(source, form))
  templates = rng.normal(size=(120, 32)) + alike
  return Faces(source, templates, np.repeat(np.arange(60), 2))


def hash_of(source, form):
  return 10 * 'abc'.index(source) + FORMS.index(form)


@pytest.fixture(scope='module')
def cells():
  sets = {
    Key(source, form): make_set(source, form, 0.1 + 0.1 * FORMS.index(form))
    for source, form in itertools.product('abc', FORMS)
  }
  return cameras.run_cells(sets, [0.1], strangers=20, cohort=15)


def test_limits_come_from_other_people_and_other_forms():
  keys = [Key(*x) for x in itertools.product('abc', FORMS)]
  known = cameras.known_to(Key('b', 'grey'), keys)
  assert len(known) == 6
  assert {x.source for x in known} == {'a', 'c'}
  assert 'grey' not in {x.form for x in known}


def test_the_parts_of_a_set_share_nobody():
  faces = make_set('a', 'grey', 0.0)
  parts = cameras.split(faces, 20, 15)
  assert len(parts.faces.people) == 50
  rows = [tuple(x) for x in np.concatenate(parts[1:])]
  assert len(set(rows)) == 35
  assert not set(rows) & {tuple(x) for x in parts.faces.templates}


def test_every_set_is_tried_once_a_mode(cells):
  modes = ('stated', 'moved', 'z-norm', 's-norm', 'z-norm own', 's-norm own')
  assert {(x.mode, x.key) for x in cells} == {
    (mode, Key(*key))
    for mode in modes
    for key in itertools.product('abc', FORMS)
  }
  assert len(cells) == len(modes) * 12


def test_limits_hold_what_a_threshold_alone_does_not(cells, capsys):
  stated = [x for x in cells if x.mode == 'stated']
  exact = [x.measured.low <= 0.1 <= x.measured.high for x in stated]
  inside = [x.limits[0] <= x.measured.value <= x.limits[1] for x in stated]
  assert sum(inside) >= 11 > sum(exact)
  own = [x for x in cells if x.mode == 'z-norm own']
  assert sum(exact) < sum(x.measured.low <= 0.1 <= x.measured.high for x in own)
  cameras.show(cells)
  row = next(
    x for x in capsys.readouterr().out.splitlines() if x.startswith('| stated')
  )
  assert [int(x) for x in row.split('|')[3:5]] == [12, sum(inside)]


@pytest.mark.parametrize('sets', [3, 10])
def test_a_further_set_lies_within_nineteen_times_in_twenty(sets):
  rng = np.random.default_rng(sets)
  inside = 0
  for _ in range(2000):
    values = 1 / (1 + np.exp(-rng.normal(-5, 0.6, sets + 1)))
    rates = [Rate(x, 0, 1, round(x * 10**9), 10**9) for x in values]
    low, high = cameras.limits_of(rates[1:])
    inside += low <= values[0] <= high
  # Four standard errors of 2,000 draws.
  assert abs(inside / 2000 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000)


def test_the_command_tries_every_set(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(embedders, 'load', lambda name: stand_in([]))
  monkeypatch.setattr(detection, 'make_detector', lambda *_: find_whole)
  folders = [
    draw_folder(tmp_path / name, people=24, images=2, seed=i)
    for i, name in enumerate('abc')
  ]
  command_line.run(
    cameras,
    model='any',
    sets=','.join(f'{x.name}={x}/p*' for x in folders),
    cache=tmp_path / 'cache',
    rates='0.3',
    images='2,2,2',
    strangers=4,
    cohort=4,
    draws=2,
  )
  printed = capsys.readouterr().out
  assert '| stated | 30 | 30 | ' in printed
  assert '| c | dark | ' in printed
