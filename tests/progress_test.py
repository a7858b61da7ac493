import io
import re
import sys
import time

import pytest

from faceqat import progress
from faceqat.progress import Bar, Pace, track


@pytest.fixture
def clock(monkeypatch):
  """A clock that stands until a test moves it."""
  clock = [100.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: clock[0])
  return clock


def make_terminal(monkeypatch):
  """A terminal of 100 columns, to which standard output and error go.

  No fixture: pytest replaces both between that and a test.
  """
  terminal = io.StringIO()
  terminal.isatty = lambda: True
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '100')
  monkeypatch.setattr(sys, 'stderr', terminal)
  monkeypatch.setattr(sys, 'stdout', terminal)
  monkeypatch.delenv('NO_COLOR', raising=False)
  return terminal


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


@pytest.mark.parametrize('speaks', [False, True])
def test_a_silence_is_broken_until_something_is_shown(
  speaks, monkeypatch, capsys
):
  monkeypatch.setattr(progress, '_SECONDS_PER_LINE', 0.05)
  with progress.doing('loading'):
    if speaks:
      progress.note('step 1')
    time.sleep(0.2)
  said = len(capsys.readouterr().err.splitlines())
  assert said == 1 if speaks else said > 2
  time.sleep(0.1)
  assert capsys.readouterr().err == ''


def test_bars_stand_below_each_other_and_below_what_is_printed(monkeypatch):
  terminal = make_terminal(monkeypatch)
  with Bar('step', 4, done=1, images=8) as bar:
    assert bar.is_shown
    bar.advance('loss 6.2')
    assert list(track('ab', 'batch', 2)) == ['a', 'b']
    print('a line that stays')
    bar.restart()
    bar.advance('loss [5.1]')
  shown = terminal.getvalue()
  assert 'a line that stays\n' in shown
  for part in ('2/4', '0/2', '3/4', 'loss 6.2', 'loss [5.1]'):
    assert part in shown


def test_a_bar_needs_that_all_goes_to_the_terminal(monkeypatch):
  terminal = make_terminal(monkeypatch)
  monkeypatch.setattr(sys, 'stdout', io.StringIO())
  with Bar('step', 4) as bar:
    bar.advance('loss 6.2')
  assert not bar.is_shown
  assert terminal.getvalue() == ''


def test_a_file_gets_a_line_every_ten_seconds(clock, capsys):
  for thing in track('abcdef', 'embedded', 1006, done=1000, images=2):
    clock[0] += 4 if thing < 'f' else 1
  assert capsys.readouterr().err.splitlines() == [
    'embedded 1,003/1,006  0.5 images/s  0:12 left'
  ]


def test_a_terminal_gets_a_bar_that_does_not_stay(monkeypatch):
  terminal = make_terminal(monkeypatch)
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
  with progress.doing('loading'):
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
