"""A command that is killed and restarted gives the same files."""

import json
import os
import shutil

import pytest
import real_data

from benchmarks import kills

PHOTOS = real_data.path('data/photos')
NIGHTLY = os.environ.get('FACEQAT_NIGHTLY') == '1'


@pytest.mark.parametrize(
  'command',
  [
    pytest.param('prepare', marks=real_data.needs(PHOTOS)),
    *(
      pytest.param(name, marks=pytest.mark.skipif(not NIGHTLY, reason=reason))
      for name, reason in (
        ('main', 'minutes: FACEQAT_NIGHTLY=1 kills it 20 times'),
        ('convert', 'minutes: FACEQAT_NIGHTLY=1 kills it 20 times'),
      )
    ),
  ],
)
def test_a_killed_command_goes_on_to_the_same_bits(command, tmp_path):
  photographs = tmp_path / 'photographs'
  # As few people as can be split in three, or all.
  people = sorted(PHOTOS.iterdir()) if command == 'prepare' else []
  for person in people if NIGHTLY else people[:5]:
    (photographs / person.name).mkdir(parents=True)
    images = sorted(person.iterdir())
    for image in images if NIGHTLY else images[:2]:
      shutil.copy(image, photographs / person.name)
  runner = kills.Runner(tmp_path, 'tests/support/tiny_run.py', str(photographs))
  if command == 'convert':
    runner.trained.parent.mkdir(parents=True)
    runner.finish('main', runner.trained)
  assert kills.check(command, runner, tmp_path, 20 if NIGHTLY else 1) == 0


def write(folder, **files):
  folder.mkdir(parents=True)
  for name, content in files.items():
    (folder / name.replace('__', '.')).write_text(content)
  return folder


def test_what_differs_is_named_and_times_are_not(tmp_path):
  line = {'step': 1, 'time': 5.0, 'loss': 0.5}
  wanted = write(
    tmp_path / 'a' / 'out',
    metrics__jsonl=json.dumps(line),
    exactness__json='{"onnx": {"bytes": 1, "milliseconds": 0.5}}',
    model__onnx='a',
    gone__txt='',
  )
  # A step that ran twice counts once.
  twice = (
    f'{json.dumps({**line, "loss": 9})}\n{json.dumps({**line, "time": 6})}'
  )
  found = write(
    tmp_path / 'b' / 'out',
    metrics__jsonl=twice,
    exactness__json='{"onnx": {"bytes": 2, "milliseconds": 0.7}}',
    model__onnx='b',
  )
  write(tmp_path / 'b' / '.out.1.tmp')
  assert kills.differences('convert', wanted, found) == [
    'exactness.json',
    'gone.txt',
    'model.onnx',
    '.out.1.tmp',
  ]
  write(tmp_path / 'c' / 'out.work')
  shutil.copytree(wanted, tmp_path / 'c' / 'out')
  assert kills.differences('prepare', wanted, tmp_path / 'c' / 'out') == []
