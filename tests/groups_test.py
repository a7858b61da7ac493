"""The benchmark of errors by group."""

import command_line
import numpy as np
from drawn_embeddings import draw
from drawn_faces import draw_folder, stand_in

from benchmarks import groups
from faceqat.evaluators import group_rates, rate_table
from faceqat.evaluators.group_rates import read_groups
from faceqat.identification import embedders


def make_tables(pair_set, embedded):
  table = rate_table.measure(
    pair_set,
    embedded,
    network='',
    program='',
    faces='',
    provenance='',
    default_rate=0.05,
  )
  return {'float': table, 'integer': table}


def measure(people_groups, embedded, pair_set, tables):
  both = dict.fromkeys(tables, embedded)
  return group_rates.measure(pair_set, both, tables, people_groups)


def test_halves_are_drawn_anew_and_share_nobody():
  pair_set, embedded = draw()
  people = groups.people_of(pair_set, embedded)
  drawn = list(groups.halves(pair_set, people, 3))
  for one, other in drawn:
    assert len(one) == len(other) == 20
    assert not set(one) & set(other)
  assert len({frozenset(one) for one, _ in drawn}) == 3


def test_groups_are_alike_unless_they_are_not():
  pair_set, embedded = draw(num_people=80)
  tables = make_tables(pair_set, embedded)
  halves = next(groups.halves(pair_set, np.arange(80), 1))
  (one,), (other,) = (
    measure(half, embedded, pair_set, tables) for half in halves
  )
  assert all(groups.compared(one, other).values())
  # All faces of the other half are more alike.
  alike = embedded._replace(images=embedded.images + 1.5)
  (near,) = measure(halves[1], alike, pair_set, tables)
  found = groups.compared(one, near)
  assert not found['false_matches float']
  assert set(found) == {
    f'{figure} {name}'
    for figure in ('false_matches', 'misses')
    for name in ('float', 'integer', 'integer - float')
  }


def test_the_command_draws_halves_and_writes_groups(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(embedders, 'load', lambda *args: stand_in([]))
  images = draw_folder(tmp_path / 'faces', people=24, images=3)
  pairs = tmp_path / 'pairs.txt'
  pairs.write_text(
    ''.join(
      f'1 p{i}/0.png p{i}/1.png\n0 p{i}/0.png p{(i + 1) % 24}/{i % 2}.png\n'
      for i in range(24)
    )
  )
  flags = {
    'model': 'any',
    'images': images,
    'pairs': pairs,
    'cache': tmp_path / 'cache',
    'rate': 0.1,
  }
  command_line.run(groups, **flags, by='random', draws=2)
  assert '| false_matches float | 2 | ' in capsys.readouterr().out
  path = tmp_path / 'groups.csv'
  command_line.run(groups, **flags, by='brightness', csv=path)
  assert 'low brightness (12)' in capsys.readouterr().out
  written = read_groups(path)
  assert len(written) == 24
  command_line.run(groups, **flags, by='images')
  assert 'several images (24)' in capsys.readouterr().out
