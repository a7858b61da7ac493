import math
import signal
import subprocess
import sys
import types

import numpy as np
from settings import ROOT

from faceqat.training.events import EventFile
from faceqat.training.history import MetricLog, read_curves


def read(path):
  """By name: the (step, value) that TensorBoard itself reads."""
  # Where this module exists, it reads without TensorFlow, as it does for
  # whoever has none.
  name = 'tensorboard.compat.notf'
  sys.modules.setdefault(name, types.ModuleType(name))
  from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
  )

  accumulator = EventAccumulator(str(path), size_guidance={'scalars': 0})
  accumulator.Reload()
  return {
    name: [(event.step, event.value) for event in accumulator.Scalars(name)]
    for name in accumulator.Tags()['scalars']
  }


def test_tensorboard_reads_the_same_names_steps_and_values(tmp_path):
  steps = range(0, 2**33, 2**30)
  values = {
    'train/loss': math.pi,
    'ranges/a b/ü': -0.0,
    'train/rate': 1e-30,
    'inf': -math.inf,
  }
  file = EventFile(tmp_path)
  for step in steps:
    file.write(step, {**values, 'step': step, 'large': 1e300, 'nan': math.nan})
  file.close()
  found = read(tmp_path)
  assert all(math.isnan(value) for _, value in found.pop('nan'))
  assert found == {
    **{n: [(s, np.float32(v)) for s in steps] for n, v in values.items()},
    'step': [(s, np.float32(s)) for s in steps],
    'large': [(s, math.inf) for s in steps],
  }


def test_ranges_come_behind_losses_as_names_are_sorted(tmp_path):
  log = MetricLog(tmp_path)
  log.write(1, {'ranges/stem/maximum': 6.0, 'validation/loss': 2.0})
  log.close()
  assert sorted(read(tmp_path)) == [
    'validation/loss',
    'watch/ranges/stem/maximum',
  ]
  assert 'ranges/stem/maximum' in read_curves(tmp_path)


def test_a_killed_run_keeps_all_that_it_wrote_and_needs_no_tensorflow(tmp_path):
  code = (
    'import os, sys; from faceqat.training.events import EventFile; '
    'file = EventFile(sys.argv[1]); file.write(7, {"loss": 0.5}); '
    'assert "tensorflow" not in sys.modules; os.abort()'
  )
  result = subprocess.run(
    [sys.executable, '-c', code, tmp_path], cwd=ROOT, check=False
  )
  assert result.returncode == -signal.SIGABRT
  assert read(tmp_path) == {'loss': [(7, 0.5)]}


def test_a_run_that_goes_on_adds_a_file(tmp_path):
  for step in (1, 2, 3):
    file = EventFile(tmp_path)
    file.write(step, {'loss': step})
    file.close()
  assert len(list(tmp_path.iterdir())) == 3
  assert read(tmp_path) == {'loss': [(1, 1), (2, 2), (3, 3)]}
