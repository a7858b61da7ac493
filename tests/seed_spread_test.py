import json
import sys

import pytest
import settings

from benchmarks import seed_spread


def write_results(folder, floats, integers):
  folder.mkdir(parents=True)
  results = {
    'float': {'accuracy': floats},
    'fake_quant': {'accuracy': 0.5},
    'integer': {'accuracy': integers},
  }
  (folder / 'results.json').write_text(json.dumps(results))


def run(monkeypatch, capsys, *words):
  monkeypatch.setattr(sys, 'argv', ['seed_spread', *words])
  seed_spread.main()
  lines = capsys.readouterr().out.splitlines()[2:]
  return [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]


def test_means_and_deviations_are_those_of_the_seeds(
  monkeypatch, capsys, tmp_path
):
  for seed, floats, integers in ((0, 0.90, 0.91), (1, 0.92, 0.91)):
    write_results(tmp_path / 'cores_1' / f'seed_{seed}', floats, integers)
  rows = run(
    monkeypatch, capsys, f'--workdir={tmp_path}', '--cores=1', '--seeds=0,1'
  )
  assert rows == [
    ['1', '0', '90.00', '50.00', '91.00', '+1.00', ''],
    ['1', '1', '92.00', '50.00', '91.00', '-1.00', ''],
    ['1', 'mean', '91.00', '50.00', '91.00', '+0.00', ''],
    ['1', 'deviation', '1.41', '0.00', '0.00', '1.41', ''],
  ]


def test_each_seed_is_trained_once_and_their_spread_printed(
  monkeypatch, capsys, tmp_path
):
  monkeypatch.setenv('XLA_FLAGS', settings.xla_flags())
  write_results(tmp_path / 'cores_1' / 'seed_1', 0.9, 0.9)
  words = (
    '--config=configs/mbv2_int8.py:smoke',
    f'--workdir={tmp_path}',
    '--cores=1',
    '--seeds=0,1',
    '--config.model.width=0.25',
  )
  rows = run(monkeypatch, capsys, *words)
  assert [row[1] for row in rows] == ['0', '1', 'mean', 'deviation']
  assert float(rows[0][-1]) > 0
  results = tmp_path / 'cores_1' / 'seed_0' / 'results.json'
  accuracy = json.loads(results.read_text())['integer']['accuracy']
  assert rows[0][4] == f'{100 * accuracy:.2f}'
  # What is there is read, not made again.
  before = results.stat().st_mtime_ns
  assert run(monkeypatch, capsys, *words)[0][:-1] == rows[0][:-1]
  assert results.stat().st_mtime_ns == before


def test_more_cores_than_there_are_is_an_error(monkeypatch, capsys, tmp_path):
  with pytest.raises(SystemExit):
    run(monkeypatch, capsys, f'--workdir={tmp_path}', '--cores=100000')
  assert '--cores: there are' in capsys.readouterr().err
