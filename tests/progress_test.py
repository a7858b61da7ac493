import io
import re
import sys

import pytest

from faceqat import progress
from faceqat.progress import Pace, track


@pytest.fixture
def clock(monkeypatch):
  """A clock that stands until a test moves it."""
  clock = [100.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: clock[0])
  return clock


def test_the_pace_is_of_the_images_since_the_last_call(clock):
  pace = Pace(done=2, total=10, images=4)
  assert pace.describe(2) == ''
  clock[0] += 5
  pace.restart(3)
  clock[0] += 2
  with pace.paused():
    clock[0] += 50
  assert pace.rate(5) == 4.0
  assert pace.rate(5) == 4.0
  assert pace.describe(5) == '4.0 images/s  0:05 left'
  assert Pace(0, 1).rate(1) > 0


def test_a_file_gets_a_line_every_ten_seconds(clock, capsys):
  for thing in track('abcdef', 'embedded', 1006, done=1000, images=2):
    clock[0] += 4 if thing < 'f' else 1
  assert capsys.readouterr().err.splitlines() == [
    'embedded 1,003/1,006  0.5 images/s  0:12 left'
  ]


def test_a_terminal_gets_a_bar_that_does_not_stay(monkeypatch):
  terminal = io.StringIO()
  terminal.isatty = lambda: True
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setattr(sys, 'stderr', terminal)
  monkeypatch.delenv('NO_COLOR', raising=False)
  assert list(track(range(1, 3), 'images of [a/b]', 3, done=1)) == [1, 2]
  shown = terminal.getvalue()
  assert 'images of [a/b] ' in shown
  assert '3/3' in shown
  assert shown.endswith('\x1b[2K')
  # In colours, unless the user wants none.
  colour = re.compile(r'\x1b\[(?:\d+;)*3\d')
  assert colour.search(shown)
  terminal.truncate(0)
  monkeypatch.setenv('NO_COLOR', '1')
  assert list(track(range(3), 'images', 3)) == [0, 1, 2]
  assert '3/3' in terminal.getvalue()
  assert not colour.search(terminal.getvalue())


@pytest.mark.parametrize('quiet', [False, True])
def test_a_quiet_command_says_nothing_on_the_way(
  quiet, clock, monkeypatch, capsys
):
  monkeypatch.setattr(progress, 'quiet', quiet)
  progress.say('loading')
  progress.note('step 1')
  for _ in track(range(2), 'embedded', 2):
    clock[0] += 10
  printed = capsys.readouterr()
  assert printed.out == ('' if quiet else 'step 1\n')
  assert printed.err.splitlines() == (
    []
    if quiet
    else [
      'loading ...',
      'embedded 1/2  0.1 images/s  0:10 left',
      'embedded 2/2  0.1 images/s  0:00 left',
    ]
  )
