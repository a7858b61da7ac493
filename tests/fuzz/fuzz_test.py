"""No bytes make a reader hang, crash, or say what helps nobody."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import harness
import pytest
import targets

HERE = pathlib.Path(__file__).parent
NIGHTLY = os.environ.get('FACEQAT_NIGHTLY') == '1'
# In the suite only so many that it takes seconds.
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
