import io
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
  assert capsys.readouterr().out.splitlines() == [
    'embedded 1,003/1,006  0.5 images/s  0:12 left'
  ]


def test_a_terminal_gets_a_bar_that_does_not_stay(monkeypatch):
  terminal = io.StringIO()
  terminal.isatty = lambda: True
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setattr(sys, 'stdout', terminal)
  assert list(track(range(3), 'images of [a/b]', 3)) == [0, 1, 2]
  assert 'images of [a/b] ' in terminal.getvalue()
  assert '3/3' in terminal.getvalue()
  assert terminal.getvalue().endswith('\x1b[2K')
