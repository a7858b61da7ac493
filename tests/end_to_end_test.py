"""The commands of the README on the main config, as a user runs them."""

import json
import os
import signal
import subprocess
import sys

import pytest
import settings
from settings import ROOT

PRECISIONS = ['float', 'fake_quant', 'integer', 'integer_match']
CONFIG = '--config=configs/mbv2_int8.py:smoke'


def start(module, *flags, stderr=subprocess.PIPE, search_path=str(ROOT)):
  return subprocess.Popen(
    [sys.executable, '-m', f'faceqat.{module}', *map(str, flags)],
    cwd=ROOT,
    env={**settings.one_device(), 'PYTHONPATH': search_path},
    stdout=subprocess.PIPE,
    stderr=stderr,
    text=True,
  )


def run(module, *flags, **options):
  """Runs a command that must succeed; returns its output."""
  process = start(module, *flags, **options)
  printed, complaints = process.communicate(timeout=900)
  # No warnings of libraries.
  assert (process.returncode, complaints) == (0, '')
  return printed


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A run that was stopped and continued: its folder, both outputs."""
  workdir = tmp_path_factory.mktemp('runs') / 'mbv2_int8'
  flags = [CONFIG, f'--workdir={workdir}', '--config.model.width=0.25']
  before = []
  with start('main', *flags, stderr=subprocess.STDOUT) as process:
    for line in process.stdout:
      before.append(line)
      if line.startswith('step 2/4'):
        process.send_signal(signal.SIGTERM)
  assert process.returncode == 128 + signal.SIGTERM, before
  return workdir, before, run('main', *flags)


def row(printed, precision):
  """The cells of a precision or a format in the printed table."""
  lines = printed.splitlines()
  (start,) = (i for i, line in enumerate(lines) if line.startswith('----'))
  found = [
    line.split()[1:]
    for line in lines[start + 1 :]
    if line.split()[:1] == [precision]
  ]
  assert len(found) == 1, printed
  return found[0]


def test_a_stopped_command_continues_where_it_was(trained):
  workdir, before, after = trained
  # The signal came during the third step.
  assert before[0].startswith('trains on ')
  assert before[1].endswith(f'listed in {workdir / "parameters.txt"}\n')
  assert [line.split()[0] for line in before[2:]] == (
    ['step', 'step', 'validation:', 'step', 'SIGTERM:']
  )
  assert before[2].endswith('[float]\n')
  assert f'SIGTERM: saved step 3 in {workdir}' in before[-1]
  assert after.splitlines()[:2] == [
    before[0].rstrip(),
    'continues from step 3 of 4',
  ]
  assert 'step 4/4' in after
  assert '[fake_quant]' in after


def test_one_command_trains_and_ends_with_the_table(trained):
  workdir, _, printed = trained
  results = json.loads((workdir / 'results.json').read_text())
  assert list(results) == PRECISIONS
  for precision, values in results.items():
    assert row(printed, precision)[0] == f'{100 * values["accuracy"]:.2f}'
  # Eight bits in place of 32, with the names and scales of 65 layers.
  assert 3 < results['float']['bytes'] / results['integer']['bytes'] < 4
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
  assert kept == ['3', '4']


def test_the_program_alone_has_the_accuracy_of_the_table(trained, tmp_path):
  workdir, _, printed = trained
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


def test_the_exported_files_have_the_bits_of_the_table_without_tensorflow(
  trained, tmp_path
):
  workdir, _, _ = trained
  # With None for a module, its import fails.
  (tmp_path / 'sitecustomize.py').write_text(
    "import sys\nsys.modules['tensorflow'] = None\n"
  )
  out = tmp_path / 'export'
  printed = run(
    'convert',
    f'--checkpoint={workdir}',
    f'--out={out}',
    '--num_images=4',
    search_path=f'{ROOT}{os.pathsep}{tmp_path}',
  )
  for name in ('program', 'tflite', 'onnx'):
    contract, _, outputs, differing, largest, _ = row(printed, name)
    assert (contract, differing, largest) == ('tflite_ref', '0', '0')
    assert outputs == '512'
  program = (workdir / 'program.safetensors').read_bytes()
  assert (out / 'program.safetensors').read_bytes() == program
