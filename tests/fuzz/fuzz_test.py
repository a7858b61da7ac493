"""No bytes make a reader hang, crash, or raise an error that helps nobody."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import time

import harness
import pytest
import targets

HERE = pathlib.Path(__file__).parent
NIGHTLY = os.environ.get('FACEQAT_NIGHTLY') == '1'
# In the suite it takes seconds.
LIMIT = '--seconds=60' if NIGHTLY else '--runs=150'


@pytest.mark.parametrize(
  'target', targets.TARGETS, ids=lambda target: target.name
)
def test_seeds_are_read_and_old_findings_refused(target):
  with harness.opened(target) as is_read:
    for data in target.seeds():
      assert is_read(data)
    for path in sorted((HERE / 'corpus' / target.name).glob('*')):
      is_read(path.read_bytes())


def nameless(path):
  raise ValueError('it is damaged')


def unexpected(path):
  raise KeyError(str(path))


def out_of_memory(path):
  try:
    raise MemoryError
  except MemoryError as error:
    raise ValueError(f'{path} is damaged') from error


def slow(path):
  end = time.process_time() + 0.01
  while time.process_time() < end:
    pass


@pytest.mark.parametrize(
  ('read', 'message'),
  [
    (nameless, 'no name of a file'),
    (unexpected, 'KeyError'),
    (out_of_memory, 'out of memory'),
    (slow, 'seconds'),
  ],
)
def test_what_no_reader_may_do_is_a_finding(read, message, monkeypatch):
  monkeypatch.setattr(harness, 'MAX_SECONDS', 0.005)
  target = harness.Target('target', 'a.bin', read, lambda: [b''])
  with harness.opened(target) as is_read:
    with pytest.raises(harness.FindingError, match=message):
      is_read(b'')
    named = target._replace(read=lambda path: path.with_name('b').read_bytes())
  # The error of the system names the file.
  with harness.opened(named) as is_read:
    assert not is_read(b'')


@pytest.mark.skipif(
  importlib.util.find_spec('atheris') is None,
  reason='Atheris is not installed: it has no wheel for this system, or '
  'requirements-dev.txt was not installed',
)
def test_nothing_is_found_that_no_reader_may_do(tmp_path):
  command = [sys.executable, str(HERE / 'run.py'), LIMIT]
  command.append(f'--findings={tmp_path}')
  done = subprocess.run(command, text=True, capture_output=True, check=False)
  print(done.stdout)
  assert not done.returncode, done.stdout + done.stderr[-2000:]
