"""JSON that is none, of another kind, or too deep, wherever it is read."""

import pytest

from faceqat.data.sources import people_file
from faceqat.faces import fingerprint
from faceqat.files import strict_json
from faceqat.models.weights import mxnet_symbol
from faceqat.preparation import journal, report
from faceqat.report import comparison, run_folder
from faceqat.training import history

DEEP = '[' * 100_000
WRONG = {
  'deep': DEEP,
  'deep object': '{"a":' * 100_000,
  'no text': b'\xff\xfe\xfd',
  'half': '{"a":',
  'nothing': '',
  'number': '1' * 5000,
  'other kind': '7',
}


@pytest.mark.parametrize('content', WRONG.values(), ids=WRONG)
def test_every_fault_is_a_value_error(content):
  with pytest.raises(ValueError, match='JSON'):
    strict_json.parse(content, dict)


def test_other_kinds_are_named():
  assert strict_json.parse('[1, null]', list) == [1, None]
  assert strict_json.parse('7') == 7
  with pytest.raises(ValueError, match='of type list, wanted an object'):
    strict_json.parse('[]', dict)


READERS = {
  'x.people.json': lambda folder: people_file.read_people(folder / 'x.rec'),
  'faces.json': fingerprint.read,
  'metrics.jsonl': history.read_curves,
  'x-symbol.json': lambda folder: mxnet_symbol.read_symbol(
    folder / 'x-symbol.json'
  ),
  'manifest.json': lambda folder: journal.Journal(folder, {}),
  'journal.jsonl': lambda folder: journal.Journal(folder, {}),
  'results.json': lambda folder: run_folder.read_run(str(folder), 'run'),
  'agreement.json': lambda folder: run_folder.read_run(str(folder), 'run'),
  'exactness.json': lambda folder: run_folder.read_run(str(folder), 'run'),
}


@pytest.mark.parametrize('content', WRONG.values(), ids=WRONG)
@pytest.mark.parametrize('name', READERS)
def test_every_reader_names_the_file(name, content, tmp_path):
  data = content.encode() if isinstance(content, str) else content
  # A last line that is not whole is no fault of a file of lines.
  data = data + b'\n{}\n' if name.endswith('jsonl') else data
  (tmp_path / name).write_bytes(data)
  if name == 'journal.jsonl':
    (tmp_path / 'manifest.json').write_text('{}')
  with pytest.raises(ValueError, match=str(tmp_path / name)):
    READERS[name](tmp_path)


def test_a_damaged_report_of_a_preparation_owns_nothing(tmp_path):
  (tmp_path / report.REPORT).write_text(DEEP)
  found = report.not_written(tmp_path)
  assert found == [report.REPORT]


def test_compared_runs_with_damaged_results_are_named(tmp_path, monkeypatch):
  class Scores:
    cosines = {'float': None}

  monkeypatch.setattr(comparison.scores_file, 'load', lambda run: Scores)
  for content in (DEEP, '[]', '{"float": 7}'):
    (tmp_path / 'results.json').write_text(content)
    with pytest.raises(ValueError, match=str(tmp_path / 'results.json')):
      comparison.read_evaluation(str(tmp_path), 'float')
