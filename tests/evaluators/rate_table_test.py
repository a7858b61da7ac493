"""Tables of an evaluation: measured, written, and in the files of a network."""

import dataclasses
import hashlib
import json

import numpy as np
import onnx
import pytest
from drawn_embeddings import draw
from match_tables import make_table
from small_programs import PROGRAM

from faceqat.evaluators import match_rates, rate_table, verification
from faceqat.export import digests, tflite_builder
from faceqat.export.formats import FORMATS
from faceqat.identification import embedders
from faceqat.integer import matching
from faceqat.integer import program as integer_program

_ORIGIN = {'network': '', 'program': 'cd' * 32, 'provenance': 'drawn'}


def test_all_images_of_different_people_are_compared():
  pair_set, embedded = draw()
  table = rate_table.measure(pair_set, embedded, faces='DRAWN', **_ORIGIN)
  assert (table.images, table.people) == (80, 40)
  people = np.repeat(np.arange(40), 2)
  wanted = match_rates.measure(
    embedded.images, people, embedded.rows[:, :40], rate_table.RATES
  )
  assert table.rows == tuple(wanted)
  assert rate_table.known(table).rows == table.rows[:-1]
  assert table.rows[0].false_matches.pairs == 80 * 78 // 2


def test_of_very_many_images_some_are_compared(monkeypatch):
  pair_set, embedded = draw()
  whole = rate_table.measure(pair_set, embedded, faces='DRAWN', **_ORIGIN)
  monkeypatch.setattr(rate_table, '_MOST_IMAGES', 60)
  some, again = (
    rate_table.measure(pair_set, embedded, faces='DRAWN', **_ORIGIN)
    for _ in range(2)
  )
  assert some == again
  assert some.images == 60
  assert 60 * 58 // 2 <= some.rows[0].false_matches.pairs < 60 * 59 // 2
  # Pairs of one person are all of the list's.
  assert some.rows[0].misses.pairs == whole.rows[0].misses.pairs == 40
  assert abs(some.rows[0].threshold - whole.rows[0].threshold) < 0.1


def test_pairs_of_unknown_people_are_those_of_the_list():
  pair_set, embedded = draw(people=False)
  table = rate_table.measure(pair_set, embedded, faces='DRAWN', **_ORIGIN)
  assert (table.images, table.people) == (80, 0)
  cosines = verification.cosine(embedded.first, embedded.second)
  impostors = cosines[~pair_set.same]
  assert len(table.rows) == 4
  for row, rate in zip(table.rows, rate_table.RATES):
    found = row.false_matches
    assert found.pairs == len(impostors) == 1560
    assert found.count == np.sum(impostors >= row.threshold)
    # The next lower step is one too many.
    lower = row.threshold - 2 / match_rates._STEPS
    assert found.count <= rate * 1560 < np.sum(impostors >= lower) + 1
    # Wilson's interval, of independent pairs.
    z, n = 1.959964, 1560
    middle = (found.value + z**2 / 2 / n) / (1 + z**2 / n)
    assert (found.low + found.high) / 2 == pytest.approx(middle)
    assert row.misses.count == np.sum(cosines[pair_set.same] < row.threshold)


def test_a_rate_of_a_few_people_is_not_known():
  # Two people who look alike, of many images, make nearly all false matches.
  pair_set, embedded = draw(num_people=10, spread=0.01)
  table = rate_table.measure(pair_set, embedded, faces='DRAWN', **_ORIGIN)
  with pytest.raises(ValueError, match='DRAWN has too few pairs of different'):
    rate_table.known(table)


def test_where_no_rate_is_as_low_the_lowest_is_taken():
  table = make_table()
  assert rate_table.default_row(table).threshold == 0.375
  for rate, threshold in ((1e-3, 0.375), (1e-6, 0.5), (1e-2, 0.25)):
    found = rate_table.default_row(table._replace(default_rate=rate))
    assert found.threshold == threshold


def test_a_measured_table_is_read_as_it_was_written(tmp_path):
  tables = {'float': make_table(), 'integer': make_table('ef' * 32)}
  rate_table.save_measured(tables, tmp_path)
  assert rate_table.load_measured(tmp_path) == tables
  path = tmp_path / rate_table.FILE_NAME
  row = json.loads(path.read_text())['integer']['rows'][0]
  assert row['threshold_q29'] == 0.25 * matching.ONE
  path.write_text(path.read_text().replace('"faces"', '"face"'))
  with pytest.raises(ValueError, match='evaluate that run again'):
    rate_table.load_measured(tmp_path)
  # Those of an earlier evaluation are not of this one.
  rate_table.save_measured({}, tmp_path)
  assert rate_table.load_measured(tmp_path) == {}


def test_the_files_of_a_network_carry_its_table(tmp_path):
  digest = integer_program.digest(PROGRAM)
  table = make_table()._replace(program=digest)
  program = rate_table.with_table(PROGRAM, table)
  assert integer_program.digest(program) == digest
  for name in ('program', 'tflite', 'onnx'):
    form = FORMATS[name]
    path = tmp_path / form.file
    path.write_bytes(form.to_bytes(program))
    # What is loaded has a threshold.
    assert embedders.load(path).table == table
  content = (tmp_path / 'model.tflite').read_bytes()
  metadata = tflite_builder.read_metadata(content)
  assert digests.program_of(metadata) == digest
  model = onnx.load_from_string((tmp_path / 'model.onnx').read_bytes())
  entries = {entry.key: entry.value for entry in model.metadata_props}
  assert rate_table.of_metadata(entries) == table


def test_a_program_has_the_table_of_its_folder_if_it_is_its_own(tmp_path):
  path = tmp_path / 'program.safetensors'
  integer_program.save(PROGRAM, path)
  assert embedders.load(path).table is None
  table = make_table()._replace(program=integer_program.digest(PROGRAM))
  rate_table.save_measured({'integer': table}, tmp_path)
  assert embedders.load(path).table == table
  rate_table.save_measured({'integer': make_table()}, tmp_path)
  assert embedders.load(path).table is None


def test_a_damaged_table_in_a_file_is_named(tmp_path):
  path = tmp_path / 'program.safetensors'
  spoilt = {integer_program.MATCH_RATES: '{"rows": []}'}
  integer_program.save(integer_program.with_metadata(PROGRAM, spoilt), path)
  with pytest.raises(ValueError, match='its table of false-match rates is dam'):
    embedders.load(path)


def test_the_digest_of_a_program_is_that_of_a_form_without_its_rates():
  content = integer_program.digested_bytes(PROGRAM)
  assert integer_program.digest(PROGRAM) == hashlib.sha256(content).hexdigest()
  other = dataclasses.replace(PROGRAM, metadata={'model': 'another'})
  assert integer_program.digest(other) != integer_program.digest(PROGRAM)


def test_short_embeddings_mean_something_where_they_are_missed():
  rng = np.random.default_rng(0)
  people = np.repeat(np.arange(1500), 2)
  images = rng.normal(size=(1500, 32))[people]
  length = rng.uniform(0.5, 1.5, len(people))
  genuine = np.arange(3000).reshape(-1, 2).T
  # Shorter ones are noisier, or not.
  for noise, means in ((0.3 / length**3, True), (0.8 + 0 * length, False)):
    noisy = images + rng.normal(size=images.shape) * noise[:, np.newaxis]
    noisy *= (length / np.linalg.norm(noisy, axis=1))[:, np.newaxis]
    bar = rate_table.least_norm(noisy, genuine, threshold=0.5)
    assert (bar > 0) == means
    if means:
      assert np.mean(length < bar) == pytest.approx(0.005, abs=1e-3)
