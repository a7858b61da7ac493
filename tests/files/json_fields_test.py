"""A field that is missing or wrong is named with its file."""

import copy
import json
import math
import re

import pytest
import report_folder

from faceqat.files import json_fields
from faceqat.report import run_folder
from faceqat.training import history

WRONG = ['x', [1], {'a': 1}, True, 10**400, -(10**400)]
ROW = {'bytes': 9, 'outputs': 640, 'largest': 0, 'milliseconds': 1.25}
FILES = {
  'results.json': {'float': {'accuracy': 0.9, 'bytes': 4_000_000}},
  'agreement.json': json.loads(
    json.dumps(report_folder.make_agreement(['stem']).to_json())
  ),
  'exactness.json': {'tflite': {**ROW, 'contract': None, 'differing': 0}},
}
# Nothing is made of these.
FREE = ('worst', 'scale', 'fake_to_integer_steps')


def places(value, place=()):
  """The paths of all values within a value."""
  if place:
    yield place
  if isinstance(value, dict | list):
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in entries:
      yield from places(inner, (*place, key))


def holder(content, place):
  for key in place[:-1]:
    content = content[key]
  return content


def cases(what):
  for name, content in FILES.items():
    for place in places(content):
      if place[-1] not in FREE:
        yield pytest.param(name, place, id=f'{what} {name} {place}')


def check_named(tmp_path, name, content):
  (tmp_path / name).write_text(json.dumps(content))
  path = re.escape(str(tmp_path / name))
  with pytest.raises(ValueError, match=f'{path} is damaged'):
    run_folder.read_run(str(tmp_path), 'run')


@pytest.mark.parametrize(('name', 'place'), [*cases('wrong')])
def test_a_wrong_field_is_named_with_its_file(name, place, tmp_path):
  for wrong in WRONG:
    content = copy.deepcopy(FILES[name])
    there = holder(content, place)
    if isinstance(wrong, str) and isinstance(there[place[-1]], str | None):
      continue  # It is a text already, or may be one.
    if isinstance(wrong, dict) and place == ('float',):
      continue  # A row of results may have any figures.
    there[place[-1]] = wrong
    check_named(tmp_path, name, content)


@pytest.mark.parametrize(('name', 'place'), [*cases('missing')])
def test_a_missing_field_is_named_with_its_file(name, place, tmp_path):
  content = copy.deepcopy(FILES[name])
  del holder(content, place)[place[-1]]
  if name == 'results.json' or place == ('tflite',):
    # An older run has fewer figures, another has fewer formats.
    (tmp_path / name).write_text(json.dumps(content))
    run_folder._read_results(tmp_path / 'results.json')
  else:
    check_named(tmp_path, name, content)


def test_what_is_no_finite_number_stays_one_that_is_none(tmp_path):
  (tmp_path / 'results.json').write_text('{"float": {"tar": null}}')
  row = run_folder.read_run(str(tmp_path), 'run').results['float']
  assert math.isnan(row['tar'])
  layer = FILES['agreement.json']['layers'][0] | {'lost': math.nan}
  json_fields.check_agreement(FILES['agreement.json'] | {'layers': [layer]})


@pytest.mark.parametrize('field', ['step', 'train/loss'])
@pytest.mark.parametrize('wrong', WRONG)
def test_a_wrong_line_of_metrics_is_named(field, wrong, tmp_path):
  line = {'step': 1, 'train/loss': math.nan}
  lines = [line | {field: wrong}, line]
  (tmp_path / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, lines)))
  with pytest.raises(ValueError, match=r'metrics\.jsonl, line 1 is damaged'):
    history.read_curves(tmp_path)
