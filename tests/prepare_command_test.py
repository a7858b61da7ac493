"""The command prepare: its flags, and a run of its own process."""

import re
import shutil
import signal
import subprocess
import sys

import command_line
import pytest
import real_data
from settings import ROOT

from faceqat import prepare as prepare_command
from faceqat.data.sources import folder

PHOTOS = real_data.path('data/photos')


@pytest.mark.parametrize(
  ('source', 'flags', 'part'),
  [
    ('in', {'remove': 'all'}, '--remove=all is none of duplicates'),
    ('in', {'remove': 'shared'}, 'needs --evaluation'),
    ('in', {'size': 8}, '--size is 8, wanted 16 to 1024 pixels'),
    ('/none', {'split': '80,10,10'}, 'There is no /none'),
    ('in', {'split': '80,10'}, 'split is 80,10, wanted three percentages'),
  ],
)
def test_wrong_flags_are_one_sentence(source, flags, part, monkeypatch):
  # Of the test's own process.
  monkeypatch.setattr(signal, 'signal', lambda *_: None)
  with pytest.raises(ValueError, match=part) as error:
    command_line.run(prepare_command, source, 'out', **flags)
  assert '\n' not in str(error.value)


def command(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'faceqat.prepare', *map(str, arguments)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=100,
  )


@pytest.mark.parametrize(
  ('arguments', 'part'),
  [
    (['in'], 'OUT is missing; give PHOTOS OUT'),
    (['in', 'out', 'more'], "unexpected argument 'more'"),
  ],
)
def test_a_wrong_command_is_one_sentence(arguments, part):
  result = command(*arguments)
  assert result.returncode == 1
  assert result.stderr.startswith('error: ')
  assert part in result.stderr
  assert result.stderr.count('\n') == 1


@real_data.needs(PHOTOS)
def test_the_command_prepares_photographs_on_two_cores(tmp_path):
  for person in sorted(PHOTOS.iterdir())[:3]:
    for photo in sorted(person.iterdir())[:3]:
      target = tmp_path / 'in' / person.name / photo.name
      target.parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(photo, target)
  result = command(tmp_path / 'in', tmp_path / 'out', '--workers=2')
  assert result.returncode == 0, result.stderr
  assert command_line.complaints(result.stderr) == []
  assert re.search('^photographs +9', result.stdout, re.MULTILINE)
  assert len(folder.FolderSource(tmp_path / 'out', 112)) == 9
  assert not (tmp_path / 'out.work/missed.png').exists()
