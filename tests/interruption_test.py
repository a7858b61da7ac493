"""How a command ends on Ctrl-C, as a process of its own."""

import subprocess
import sys
import time

import pytest
from settings import ROOT

# As where a library calls back into Python, which forgets the error.
_DEAF = """
import os, signal, time
from faceqat import interruption
signal.signal(signal.SIGINT, lambda *_: None)
"""


def run(code):
  began = time.monotonic()
  result = subprocess.run(
    [sys.executable, '-c', code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )
  return result, time.monotonic() - began


@pytest.mark.parametrize(
  ('patience', 'signals', 'answer', 'said'),
  [
    (0.1, 1, '', ['interrupted']),
    (50, 2, '', ['interrupted']),
    (0.1, 2, 'stopping soon\n', ['stopping soon', 'interrupted']),
  ],
)
def test_a_signal_that_python_forgets_ends_the_process(
  patience, signals, answer, said
):
  result, seconds = run(
    f'{_DEAF}\n'
    f'interruption._SECONDS = {patience}\n'
    f'interruption.answer = {answer!r}\n'
    'interruption.watch()\n'
    f'for _ in range({signals}):\n'
    '  os.kill(os.getpid(), signal.SIGINT)\n'
    '  time.sleep(0.1)\n'
    'time.sleep(40)'
  )
  assert result.returncode == 130
  assert result.stderr.splitlines() == said
  assert seconds < 40


def test_a_first_signal_that_is_answered_ends_nothing():
  result, _ = run(
    f'{_DEAF}\n'
    'interruption._SECONDS, interruption.answer = 0.05, "soon\\n"\n'
    'interruption.watch()\n'
    'os.kill(os.getpid(), signal.SIGINT)\n'
    'time.sleep(0.3)\n'
    'print("done")'
  )
  assert (result.returncode, result.stdout, result.stderr) == (
    *(0, 'done\n'),
    'soon\n',
  )


def test_what_was_printed_is_there_before_the_last_line():
  result, _ = run(
    'from faceqat import interruption\n'
    'print("half")\n'
    'interruption.leave("3 of 8 are done")'
  )
  assert (result.returncode, result.stdout, result.stderr) == (
    *(130, 'half\n'),
    '3 of 8 are done\n',
  )


def test_an_import_is_not_interrupted_but_the_last_thing(tmp_path):
  (tmp_path / 'fragile.py').write_text(
    'import signal\n'
    'try:\n'
    '  signal.raise_signal(signal.SIGINT)\n'
    'finally:\n'
    '  print("went on")\n'
  )
  result, _ = run(
    'import sys\n'
    'from faceqat import interruption\n'
    'interruption.watch()\n'
    f'sys.path.append({str(tmp_path)!r})\n'
    'import fragile'
  )
  assert (result.returncode, result.stdout) == (130, '')
  assert result.stderr == 'interrupted\n'


def test_an_error_that_comes_of_it_is_an_interruption():
  result, _ = run(
    'import signal, sys\n'
    'from faceqat import command\n'
    'def main():\n'
    '  try:\n'
    '    signal.raise_signal(signal.SIGINT)\n'
    '  except KeyboardInterrupt:\n'
    '    raise ImportError("initialization failed")\n'
    'sys.argv = ["command"]\n'
    'command.run(main)'
  )
  assert result.returncode == 130
  assert result.stderr == 'loading ...\ninterrupted\n'
