import json
import os
import pathlib
import subprocess
import sys

import command_line
import pytest

from benchmarks import seed_spread

# ml_collections loads config files with it.
pytestmark = pytest.mark.filterwarnings(
  r'ignore:the load_module\(\) method:DeprecationWarning'
)


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
  command_line.run(seed_spread, *words)
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
    return subprocess.CompletedProcess(command, 0)

  monkeypatch.setattr(subprocess, 'run', train)
  write_results(tmp_path / 'cores_1' / 'seed_1', 0.9, 0.9)
  config = '--config=configs/mbv2_int8.py:smoke'
  value = '--config.batch_size=4'
  words = config, value, f'--workdir={tmp_path}', '--cores=1', '--seeds=0,1,2'
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
      {config, value, f'--config.seed={seed}', f'--workdir={folder}'}
    )
    assert cores == 1
  # What is there is read, not made again.
  assert run(monkeypatch, capsys, *words)[0][:-1] == rows[0][:-1]
  assert len(runs) == 2


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (['--cores=100000'], '--cores is 100000, but there are'),
    (['--config.seed', '3'], 'give it as --config.seed=VALUE'),
  ],
)
def test_what_cannot_be_run_is_refused(
  words, message, monkeypatch, capsys, tmp_path
):
  with pytest.raises(ValueError, match=message):
    run(monkeypatch, capsys, f'--workdir={tmp_path}', *words)
