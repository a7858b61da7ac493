import json

import pytest
from match_tables import make_table

from faceqat.calibration import packaged_files
from faceqat.evaluators import rate_table
from faceqat.identification import match_table


def test_a_table_is_read_as_it_was_written(tmp_path):
  path = tmp_path / 'rates.json'
  rate_table.save(make_table(), path)
  assert rate_table.load(path) == make_table()


def cut(fields):
  del fields['people']


def fall(fields):
  fields['rows'].reverse()


def lose(fields):
  fields['rows'] = []


def spoil(fields):
  fields['rows'][0]['false_matches']['low'] = 'none'


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (cut, "'people'"),
    (fall, 'its thresholds do not rise'),
    (lose, 'its thresholds do not rise'),
    (spoil, 'could not convert'),
  ],
)
def test_a_damaged_table_is_named(change, message, tmp_path):
  path = tmp_path / 'rates.json'
  rate_table.save(make_table(), path)
  fields = json.loads(path.read_text())
  change(fields)
  path.write_text(json.dumps(fields))
  with pytest.raises(ValueError, match=f'{message}.*install faceqat again'):
    rate_table.load(path)


def test_a_missing_table_is_named(tmp_path):
  path = tmp_path / 'rates.json'
  with pytest.raises(ValueError, match=f'{path} is no table .*No such file'):
    rate_table.load(path)


def test_a_model_has_the_table_that_ships_or_that_of_its_evaluation(tmp_path):
  shipped = match_table.of_model('sface_int8')
  assert shipped == match_table.find_program(shipped.program)
  assert match_table.of_model(tmp_path) is None
  rate_table.save_measured({'integer': make_table()}, tmp_path)
  assert match_table.of_model(tmp_path) == make_table()


def test_the_threshold_is_that_of_one_false_match_in_ten_thousand():
  assert rate_table.default_row(make_table()).threshold == 0.375
  # Twelve templates: at most twelve times the rate, and not above all.
  text = match_table.about_default(make_table(), 12, False)
  assert text.startswith(
    'threshold 0.3750: 0.01 % [0.005, 0.02] of the pairs of different people '
    'in DRAWN (1,500 images of 1,000) reach it. A gallery of 12 gives at most '
    '0.12 % [0.06, 0.24] of strangers like those a name; '
  )
  text = match_table.about_default(make_table(), 8_000, False)
  assert 'at most 80 % [40, 100] of strangers' in text
  # Nothing is known of means.
  text = match_table.about_default(make_table(), 12, True)
  assert 'Means of images, as --prototypes takes, are reached more' in text
  assert 'at most' not in text


@pytest.mark.parametrize(
  ('threshold', 'share'),
  [
    (-1, 'more than 1 % of the pairs'),
    (0.3, 'between 0.01 % and 1 % of the pairs'),
    (0.375, '0.01 % [0.005, 0.02] of the pairs'),
    (0.6, 'fewer than 0.001 % of the pairs'),
  ],
)
def test_a_threshold_has_the_rates_of_its_neighbours(threshold, share):
  text = match_table.about_given(make_table(), threshold)
  assert text.startswith(f'--threshold={threshold:g}: {share} of different')


@pytest.mark.parametrize('name', packaged_files.NAMES)
def test_each_packaged_files_has_rates(name):
  table = rate_table.load(packaged_files.rates_path_of(name))
  assert match_table.find(table.network) == table
  assert match_table.find('0' * 64) is None
  row = rate_table.default_row(table)
  rate = row.false_matches
  assert rate.low < rate.value <= rate_table.DEFAULT_RATE < 2 * rate.value
  assert row.misses.value < 0.05
  values = [row.false_matches.value for row in table.rows]
  assert values == sorted(values, reverse=True)
  for row in table.rows:
    rate = row.false_matches
    assert rate.count / rate.pairs == rate.value
    assert rate.low < rate.value < rate.high
