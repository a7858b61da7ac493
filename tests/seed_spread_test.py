import json
import os
import pathlib
import sys

import pytest

from benchmarks import seed_spread


def write_results(folder, floats, integers):
  folder.mkdir(parents=True, exist_ok=True)
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


def test_each_seed_is_trained_once_on_its_cores(monkeypatch, capsys, tmp_path):
  """All but the training, which `end_to_end_test` runs as it is run here."""
  runs = []

  def train(command, **_):
    runs.append((command, len(os.sched_getaffinity(0))))
    (workdir,) = (word for word in command if word.startswith('--workdir='))
    folder = pathlib.Path(workdir.removeprefix('--workdir='))
    write_results(folder, 0.8, 0.7 + 0.01 * len(runs))

  monkeypatch.setattr(seed_spread.subprocess, 'run', train)
  write_results(tmp_path / 'cores_1' / 'seed_1', 0.9, 0.9)
  config = '--config=configs/mbv2_int8.py:smoke'
  words = config, f'--workdir={tmp_path}', '--cores=1', '--seeds=0,1,2'
  cores = os.sched_getaffinity(0)
  rows = run(monkeypatch, capsys, *words)
  assert os.sched_getaffinity(0) == cores
  assert [row[1] for row in rows] == ['0', '1', '2', 'mean', 'deviation']
  assert [row[4] for row in rows[:3]] == ['71.00', '90.00', '72.00']
  assert [bool(row[-1]) for row in rows[:3]] == [True, False, True]
  for seed, (command, cores) in zip((0, 2), runs, strict=True):
    assert command[:3] == [sys.executable, '-m', 'faceqat.main']
    folder = tmp_path / 'cores_1' / f'seed_{seed}'
    assert {*command[3:]} == (
      {config, f'--config.seed={seed}', f'--workdir={folder}'}
    )
    assert cores == 1
  # What is there is read, not made again.
  assert run(monkeypatch, capsys, *words)[0][:-1] == rows[0][:-1]
  assert len(runs) == 2


def test_more_cores_than_there_are_is_an_error(monkeypatch, capsys, tmp_path):
  with pytest.raises(SystemExit):
    run(monkeypatch, capsys, f'--workdir={tmp_path}', '--cores=100000')
  assert '--cores: there are' in capsys.readouterr().err
