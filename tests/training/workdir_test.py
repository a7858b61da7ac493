import os
import signal
import socket
import subprocess
import sys

import pytest

from faceqat.training.history import MetricLog, read_curves
from faceqat.training.workdir import locked


def test_a_folder_that_is_in_use_says_by_whom(tmp_path):
  with (
    locked(tmp_path),
    pytest.raises(ValueError, match=f'in use by process {os.getpid()} on'),
    locked(tmp_path),
  ):
    pass
  # And is free again.
  with locked(tmp_path):
    text = (tmp_path / '.lock').read_text()
  assert text == f'process {os.getpid()} on {socket.gethostname()}\n'


def test_a_killed_process_holds_nothing(tmp_path):
  code = (
    'from faceqat.training.workdir import locked; '
    f'lock = locked({str(tmp_path)!r}); lock.__enter__(); '
    'print("held", flush=True); import time; time.sleep(99)'
  )
  with subprocess.Popen([sys.executable, '-c', code], stdout=-1) as process:
    assert process.stdout.readline() == b'held\n'
    with (
      pytest.raises(ValueError, match=f'process {process.pid} on'),
      locked(tmp_path),
    ):
      pass
    process.send_signal(signal.SIGKILL)
  with locked(tmp_path):
    pass


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path):
  for name in ('.results.json.1a2b3c4d.tmp', 'mine.tmp', '.hidden'):
    (tmp_path / name).write_text('half')
  with locked(tmp_path):
    pass
  assert {path.name for path in tmp_path.iterdir()} == {
    '.hidden',
    '.lock',
    'mine.tmp',
  }


@pytest.mark.parametrize('torn', ['{"step": 2, "train/lo', '{', 'x'])
def test_a_line_that_was_not_written_whole_is_written_over(torn, tmp_path):
  log = MetricLog(tmp_path)
  log.write(1, {'train/loss': 3.0})
  log.close()
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write(torn)
  log = MetricLog(tmp_path)
  log.write(2, {'train/loss': 2.0})
  log.write(3, {'train/loss': 1.0})
  log.close()
  steps, losses = read_curves(tmp_path)['train/loss']
  assert steps.tolist() == [1, 2, 3]
  assert losses.tolist() == [3, 2, 1]
