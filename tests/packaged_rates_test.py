"""The benchmark that writes the false-match rates of a packaged network."""

import itertools

import command_line
import numpy as np

from benchmarks import match_rates
from faceqat.calibration import packaged_files
from faceqat.calibration.lower import lower
from faceqat.data.benchmarks import pair_lists
from faceqat.evaluators import rate_table, verification
from faceqat.identification import embedders, match_table
from faceqat.integer import program as integer_program
from faceqat.report import results_tables

pytest_plugins = ['identify_fixtures']


def write_pairs(people, path):
  """A pair of each person, and of each person with the next."""
  names = sorted(folder.name for folder in people.iterdir())
  lines = [f'1 {name}/0.png {name}/1.png' for name in names]
  lines += [
    f'0 {one}/{place}.png {other}/2.png'
    for one, other in itertools.pairwise(names)
    for place in (0, 1)
  ]
  path.write_text('\n'.join(lines) + '\n')
  return path


def test_rates_are_measured_written_and_printed(
  quantized_run, people, tmp_path, monkeypatch, capsys
):
  network = embedders.load(quantized_run[0])
  monkeypatch.setattr(embedders, 'load', lambda name: network)
  # Which gives the kept program of a packaged network, without its layers.
  monkeypatch.setattr(
    match_rates, 'load_packaged', lambda name: network.network
  )
  path = tmp_path / 'rates.json'
  monkeypatch.setattr(packaged_files, 'rates_path_of', lambda name: path)
  images = people / 'gallery'
  pairs = write_pairs(images, tmp_path / 'pairs.txt')
  command_line.run(
    match_rates,
    name='sface_int8',
    images=images,
    pairs=pairs,
    faces='DRAWN',
    provenance='drawn for a test',
    cache=tmp_path / 'cache',
  )
  table = rate_table.load(path)
  assert table == match_table.find(network.digest(8))
  # Of 17 images none is of the shortest 0.5 %.
  assert table.least_norm == 0
  assert table.program == integer_program.digest(lower(network.network))
  # Of the first person no pair shows the third image.
  assert (table.images, table.people) == (17, 6)
  (row,) = table.rows
  rate = row.false_matches
  # Five people have three images, and one has two.
  assert rate.pairs == 17 * 16 // 2 - 5 * 3 - 1
  assert 10 <= rate.count <= 0.1 * rate.pairs
  pair_set = pair_lists.read_list(images, pairs, network.image_size)
  embedded = verification.embed_pairs(network.predict, pair_set, 64)
  cosines = verification.cosine(embedded.first, embedded.second)
  assert row.misses.pairs == 6
  assert row.misses.count == np.sum(cosines[pair_set.same] < row.threshold)
  printed = capsys.readouterr().out
  assert (
    f'| {row.threshold:.4f} | {results_tables.short_percent(rate.value)} ['
    in printed
  )
