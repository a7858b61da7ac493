"""The commands of the README on the main config, as a user runs them.

As if TensorFlow and its data sets were not installed, which no user needs.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import sys

import command_line
import pytest
import settings
from settings import ROOT

from faceqat.integer import program as integer_program

PRECISIONS = ['float', 'fake_quant', 'integer', 'integer_match']
CONFIG = '--config=configs/mbv2_int8.py:smoke'


@pytest.fixture(scope='module')
def start(tmp_path_factory):
  """A function that starts a command."""
  folder = tmp_path_factory.mktemp('site')
  # Python imports it as it starts.
  (folder / 'sitecustomize.py').write_text(
    'import without_tensorflow\n'
    "without_tensorflow.remove('tensorflow', 'tensorflow_datasets')\n"
  )
  places = (ROOT, folder, ROOT / 'tests' / 'support')

  def start(module, *flags, stderr=subprocess.PIPE):
    return subprocess.Popen(
      [sys.executable, '-m', f'faceqat.{module}', *map(str, flags)],
      cwd=ROOT,
      env={
        **settings.one_device(),
        'PYTHONPATH': os.pathsep.join(map(str, places)),
      },
      stdout=subprocess.PIPE,
      stderr=stderr,
      text=True,
    )

  return start


@pytest.fixture(scope='module')
def run(start):
  """A function from a command, which must succeed, to its output."""

  def run(module, *flags):
    process = start(module, *flags)
    printed, complaints = process.communicate(timeout=900)
    # No warnings of libraries.
    assert process.returncode == 0, complaints
    assert command_line.complaints(complaints) == []
    return printed

  return run


@pytest.fixture(scope='module')
def trained(run, tmp_path_factory):
  """The folder of a run, and what it printed."""
  workdir = tmp_path_factory.mktemp('runs') / 'mbv2_int8'
  width = '--config.model.width=0.25'
  return workdir, run('main', CONFIG, f'--workdir={workdir}', width)


def row(printed, precision):
  """The cells of a precision or a format in the first printed table."""
  lines = iter(printed.splitlines())
  rules = itertools.dropwhile(lambda line: not line.startswith('----'), lines)
  next(rules)
  found = [
    line.split()[1:]
    for line in itertools.takewhile(bool, rules)
    if line.split()[:1] == [precision]
  ]
  assert len(found) == 1, printed
  return found[0]


def test_a_stopped_command_continues_where_it_was(start, run, tmp_path):
  # A float network that compiles quickly; this is about the command.
  workdir = tmp_path / 'run'
  flags = [
    '--config=tests/support/tiny_run.py',
    f'--workdir={workdir}',
    '--config.total_steps=40',
    '--config.checkpoint_steps=40',
    '--config.eval_steps=40',
    '--config.quant.enabled=False',
    '--config.quant.calibration_steps=0',
  ]
  before = []
  with start('main', *flags, stderr=subprocess.STDOUT) as process:
    for line in process.stdout:
      before += command_line.complaints(line)
      if line.startswith('step 2/40'):
        process.send_signal(signal.SIGTERM)
  assert process.returncode == 128 + signal.SIGTERM, before
  (step,) = re.findall(rf'^SIGTERM: saved step (\d+) in {workdir}', before[-1])
  after = run('main', *flags).splitlines()
  assert after[:2] == [
    before[0],
    f'continues from step {step} of 40',
  ]
  assert any(line.startswith('step 40/40') for line in after)
  assert row('\n'.join(after), 'float')


def test_one_command_trains_and_ends_with_the_table(trained):
  workdir, printed = trained
  lines = printed.splitlines()
  assert lines[0].startswith('trains on ')
  assert lines[1].endswith(f'listed in {workdir / "parameters.txt"}')
  assert [line.split()[0] for line in lines[2:6]] == (
    ['step', 'step', 'validation:', 'step']
  )
  assert lines[2].endswith('[float]')
  assert lines[5].endswith('[fake_quant]')
  results = json.loads((workdir / 'results.json').read_text())
  assert list(results) == PRECISIONS
  for precision, values in results.items():
    assert row(printed, precision)[0] == f'{100 * values["accuracy"]:.2f}'
  # Eight bits in place of 32: scales are more, and names and biases are less.
  assert 3.5 < results['float']['bytes'] / results['integer']['bytes'] < 4.2
  for name in (
    'program.safetensors',
    'float.safetensors',
    'roc.png',
    'pairs.png',
    'curves.png',
    'agreement.txt',
    'metrics.jsonl',
    'parameters.txt',
  ):
    assert (workdir / name).stat().st_size > 0, name
  assert list(workdir.glob('events.out.tfevents.*'))
  kept = sorted(p.name for p in (workdir / 'checkpoints').iterdir())
  assert kept == ['2', '4']


def test_the_program_alone_has_the_accuracy_of_the_table(
  run, trained, tmp_path
):
  workdir, printed = trained
  alone = run(
    'evaluate',
    f'--model={workdir / "program.safetensors"}',
    CONFIG,
    f'--out={tmp_path}',
  )
  first, second = (
    json.loads((folder / 'results.json').read_text())
    for folder in (workdir, tmp_path)
  )
  assert list(second) == PRECISIONS[2:]
  for precision, values in second.items():
    # Without the float network, fewer metrics are known.
    assert values.items() <= first[precision].items()
    assert 'accuracy' in values
    assert row(alone, precision)[0] == row(printed, precision)[0]


def test_the_exported_files_have_the_bits_of_the_table(run, trained, tmp_path):
  workdir, _ = trained
  out = tmp_path / 'export'
  printed = run(
    'convert',
    f'--checkpoint={workdir}',
    f'--out={out}',
    '--num_images=4',
  )
  for name in ('program', 'tflite', 'onnx'):
    contract, _, outputs, differing, largest, _ = row(printed, name)
    assert (contract, differing, largest) == ('tflite_ref', '0', '0')
    assert outputs == '512'
  # With the false-match rates of the evaluation beside it, and the same bits.
  programs = [
    integer_program.load(folder / 'program.safetensors')
    for folder in (workdir, out)
  ]
  assert 'match_rates' in programs[1].metadata
  assert integer_program.digest(programs[0]) == integer_program.digest(
    programs[1]
  )
