"""The benchmark that asks whether a stated rate holds on other faces."""

import command_line
import numpy as np
import pytest
from drawn_embeddings import draw
from drawn_faces import draw_folder, find_whole, stand_in
from match_tables import make_table

from benchmarks import face_folders, transfer
from benchmarks.transfer import Faces
from faceqat.evaluators import match_rates
from faceqat.faces import detection
from faceqat.identification import embedders


def make_set(name, offset, seed):
  """Faces that share a part, as those of one camera do."""
  rng = np.random.default_rng(seed)
  templates = rng.normal(size=(240, 32)) + offset
  return Faces(name, templates, np.repeat(np.arange(120), 2))


@pytest.fixture(scope='module')
def cells():
  sets = [
    make_set('a', 0.1, 0),
    make_set('b', 0.1, 1),
    make_set('grey', 0.5, 2),
  ]
  return transfer.run_cells(sets, [0.1, 0.01], strangers=60, draws=2)


def test_a_rate_is_that_of_an_evaluation():
  _, embedded = draw()
  people = np.repeat(np.arange(40), 2)
  unit = transfer.unit(embedded.images)
  scores = unit @ unit.T
  threshold = transfer.threshold_for(transfer.impostors(scores, people), 0.05)
  (row,) = match_rates.at_thresholds(
    embedded.images, people, np.zeros([2, 0], int), [threshold]
  )
  found = transfer.measured(scores, people, row.threshold)
  np.testing.assert_allclose(found, row.false_matches, rtol=1e-9)
  assert found.value <= 0.05
  assert transfer.threshold_for(np.zeros(99), 0.1) is None


def test_a_camera_whose_faces_are_more_alike_breaks_a_promise(cells):
  by_mode = {(c.mode, c.left_out, c.stated): c.measured for c in cells}
  for rate in (0.1, 0.01):
    assert by_mode['stated', 'grey', rate].low > 2 * rate
    # Sixty strangers mend most of it.
    assert by_mode['moved', 'grey', rate].low <= 1.5 * rate
    assert by_mode['stated', 'a', rate].low <= rate
  assert by_mode['own', 'grey', 0.1].low <= 0.1
  # 1,770 pairs.
  assert ('own', 'grey', 0.01) in by_mode


def test_the_cells_that_hold_are_counted(cells, capsys):
  transfer.show(cells)
  lines = capsys.readouterr().out.splitlines()
  row = next(line for line in lines if line.startswith('| stated | 10 | '))
  count, holds, exact = map(int, row.split('|')[3:6])
  assert count == 3
  assert exact <= holds == 2


def test_people_and_images_are_drawn_once_and_others_are_left(tmp_path):
  for person in range(6):
    folder = tmp_path / f'p{person}'
    folder.mkdir()
    for image in range(5):
      (folder / f'{image}.jpg').touch()
  first = face_folders.choose_files(tmp_path, 6, 2)
  assert first == face_folders.choose_files(tmp_path, 6, 2)
  assert len(set(first)) == 12
  assert not set(first) & set(
    face_folders.choose_files(tmp_path, 6, 2, skipped=2)
  )
  some = face_folders.choose_files(tmp_path, 4, 2)
  assert set(some) < set(first)
  assert len({number for number, _ in some}) == 4


def test_the_command_embeds_each_set_once(tmp_path, monkeypatch, capsys):
  calls = []
  monkeypatch.setattr(embedders, 'load', lambda name: stand_in(calls))
  monkeypatch.setattr(detection, 'make_detector', lambda: find_whole)
  faces = draw_folder(tmp_path / 'faces', people=6, images=4)
  flags = {
    'model': 'any',
    'sets': f'one={faces},other={draw_folder(tmp_path / "o", 6, 4, seed=1)}',
    'grey': faces,
    'cache': tmp_path / 'cache',
    'images': 2,
    'rates': '0.3',
    'strangers': 4,
    'draws': 1,
  }
  command_line.run(transfer, **flags)
  printed = capsys.readouterr().out
  for name in ('one', 'other', 'grey'):
    assert f'| stated | {name} | 30 | ' in printed
  # Twelve images, with their mirror images; of the grey ones one a person.
  assert len(calls) == 6
  command_line.run(transfer, **flags)
  assert capsys.readouterr().out == printed
  assert len(calls) == 6


def test_answers_of_identify_are_held_to_the_table(tmp_path):
  table = make_table(thresholds=(0.2, 0.4, 0.6))
  path = tmp_path / 'predictions.csv'
  lines = ['probe,rank,person,score']
  for one in 'abc':
    lines += [f'{one}/1.jpg,1,{one},0.9', f'{one}/1.jpg,2,d,0.3']
  lines += ['e/1.jpg,1,d,0.5', 'e/1.jpg,2,a,0.25']
  path.write_text('\n'.join(lines) + '\n')
  # Somebody behind the second answer may reach 0.2.
  cells = list(transfer.answered('own', path, table))
  assert [cell.threshold for cell in cells] == [0.4, 0.6]
  found = cells[0].measured
  # Each of a, b and c has three others in the gallery, and e has four.
  assert (found.count, found.pairs) == (1, 13)
  assert found.low < found.value == 1 / 13 < found.high
  assert cells[1].measured.value == 0
