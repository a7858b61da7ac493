"""Runs the commands of `small_forms`.

A benchmark that is not among them is one that `shown_commands_test` finds.
"""

import importlib.util
import pathlib
import shutil
import subprocess
import sys

import mxnet_files
import pytest
import real_data
import small_forms
from PIL import Image
from small_forms import COMMANDS

from benchmarks import smoke_configs
from faceqat.data.drawn.synthetic import SyntheticFaces

PHOTOS = real_data.path('data/photos')
# Packages that only benchmarks need, and of whom.
NEEDS = {
  'benchmarks.training_step': 'torch',
}


def lacking(module: str) -> str:
  """What it needs and this environment lacks, or ''."""
  package = NEEDS.get(module, '')
  return '' if importlib.util.find_spec(package or 'json') else package


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
  """Four images each of four drawn people, and a list of their pairs."""
  folder = tmp_path_factory.mktemp('faces')
  drawn = SyntheticFaces(4, 4, image_size=112)
  for index, label in enumerate(drawn.labels):
    name = f'Ann_{label}'
    (folder / name).mkdir(exist_ok=True)
    path = folder / name / f'{name}_{index % 4 + 1:04}.png'
    Image.fromarray(drawn[index]['image']).save(path)
  same = [f'Ann_{person}\t1\t2' for person in range(4)]
  other = [f'Ann_{person}\t3\tAnn_{(person + 1) % 4}\t4' for person in range(4)]
  lines = ['2\t2', *same[:2], *other[:2], *same[2:], *other[2:]]
  (folder / 'pairs.txt').write_text('\n'.join(lines))
  return folder


@pytest.fixture(scope='module')
def outcomes(faces, quantized_run, tmp_path_factory):
  """By their words; what lacks a package is not there."""
  folder = tmp_path_factory.mktemp('small_forms')
  workdir = folder / 'run'
  shutil.copytree(quantized_run[0], workdir)
  # Of no photograph but drawings, where those of others are absent.
  photographs = folder / 'photographs'
  shutil.copytree(faces / 'Ann_0', photographs / 'Ann_0')
  if PHOTOS.is_dir():
    one = next(path for path in sorted(PHOTOS.rglob('*.jpg')))
    shutil.copy(one, photographs / 'Ann_0')
  (folder / 'y1').mkdir()
  places = {
    'run': workdir,
    'faces': faces,
    'photographs': photographs,
    'y1': mxnet_files.Y1(112).save(folder / 'y1').parent,
  }
  commands = {
    words: [word.format(**places) for word in words]
    for words in COMMANDS
    if not lacking(words[0])
  }
  results = small_forms.run(commands.values())
  return dict(zip(commands, results, strict=True))


@pytest.mark.parametrize('words', COMMANDS, ids=lambda words: words[0])
def test_a_command_runs_in_a_small_form(words, outcomes):
  if lacking(words[0]):
    pytest.skip(f'needs {lacking(words[0])}')
  outcome = outcomes[words]
  assert outcome['status'] == 0, outcome['complaints']
  assert COMMANDS[words] in outcome['printed']


def test_a_smoke_form_is_trained_lowered_and_exported(
  quantized_run, monkeypatch, tmp_path
):
  """All but the training, which `end_to_end_test` runs as it is run here."""
  commands = []

  def train(command, **_):
    *words, workdir = command
    commands.append(words)
    pathlib.Path(workdir.removeprefix('--workdir=')).symlink_to(
      quantized_run[0]
    )
    return subprocess.CompletedProcess(command, 0)

  monkeypatch.setattr(subprocess, 'run', train)
  *seconds, size, outputs, tflite, onnx = smoke_configs.measure(
    'mbv2_int8', tmp_path
  )
  cache = f'--compilation_cache={tmp_path}/mbv2_int8.compiled'
  run = [sys.executable, '-m', 'faceqat.main', small_forms.SMOKE, cache]
  assert commands == [run, run]
  assert seconds == ['0', '0']
  assert int(size.replace(',', '')) > 1000
  # Eight images of 16 numbers, and none differs.
  assert (outputs, tflite, onnx) == ('128', '0', '0')
