"""Two processes with four devices each, over the loopback."""

import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from settings import ROOT
from tiny_run import assert_trained_alike, make_config, read_log, read_state

from faceqat.training import distributed
from faceqat.training.loop import train

RUN = ROOT / 'tests' / 'support' / 'distributed_run.py'


def run_two(function, *arguments):
  """Runs both processes: exit status, printed lines and errors of each."""
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{probe.getsockname()[1]}'
  processes = [
    subprocess.Popen(
      [sys.executable, RUN, function, address, str(index), *arguments],
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(2)
  ]
  results = []
  try:
    for process in processes:
      output, errors = process.communicate(timeout=300)
      results.append((process.returncode, output.splitlines(), errors))
  finally:
    for process in processes:
      process.kill()
  return results


def test_two_processes_train_as_one_does(float_run, tmp_path):
  # Plain gradient descent that learns little, as in the test of eight devices.
  config = make_config(total_steps=5, log_steps=1, eval_steps=9)
  config.optimizer.update(name='sgd', learning_rate=1e-3)
  config.quant.update(start_step=2, freeze_bn_step=-1)
  # Each process has half of the class weights; all else is on both.
  config.loss.sharded = True
  assert len(jax.devices()) == 8
  train(config, str(tmp_path / 'one'))

  workdir = tmp_path / 'two'
  dense_workdir, dense_config = tmp_path / 'dense', make_config(total_steps=2)
  dense_config.quant.update(enabled=False, calibration_steps=0)
  first, second = run_two(
    'train_in_parts',
    str(workdir),
    config.to_json(),
    str(dense_workdir),
    dense_config.to_json(),
  )
  assert first[0] == second[0] == 0, first[2] + second[2]
  # Only the second process got the signal. It prints nothing else.
  stops = [
    'stopped by SIGTERM after 2 batches',
    'stopped by SIGTERM after 6 batches',
  ]
  assert second[1] == stops
  assert [line for line in first[1] if line.startswith('stopped')] == stops
  assert sum('SIGTERM: saved step 2 in' in line for line in first[1]) == 1
  assert sum('continues from step 2 of 5' in line for line in first[1]) == 1
  assert first[1][-1] == 'step 4 read alone: (1, 16)'

  # Dense, too; the parts of a run in parts lie beside its checkpoints.
  assert (workdir / 'classes').is_dir()
  assert not (dense_workdir / 'classes').exists()
  two, one = read_log(dense_workdir), read_log(float_run)
  # The same sums in another order; then a step of Adam, which makes whole steps
  # of gradients that are zero but for rounding, and moving statistics of them.
  for line, name, rtol in (
    (0, 'train/loss', 1e-5),
    (1, 'train/loss', 0.02),
    (-1, 'validation/loss', 0.1),
  ):
    np.testing.assert_allclose(two[line][name], one[line][name], rtol=rtol)

  # Continued by one process to the end.
  train(config, str(workdir))
  logs = [read_log(tmp_path / name) for name in ('one', 'two')]
  for one, two in zip(*logs, strict=True):
    # The first step after a start has no speed.
    names = one.keys() - {'train/images_per_second'}
    assert names == two.keys() - {'train/images_per_second'}
    for name in names:
      # Accuracies and thresholds jump when two scores change places. The rest
      # are the same sums of the same float32 parts, in another order at most,
      # of a few steps that learn little; half of a batch is off by a tenth.
      if 'verification' not in name and 'accuracy' not in name:
        np.testing.assert_allclose(
          two[name], one[name], rtol=0.02, atol=1e-5, err_msg=name
        )
  (one, position), (two, other_position) = (
    read_state(config, tmp_path / name, 5) for name in ('one', 'two')
  )
  assert position == other_position
  assert_trained_alike(config, one, two)


def test_processes_agree_and_one_that_fails_ends_both():
  first, second = run_two('fail', 'the disk is full')
  agreed = [
    "value {'of': [0, None, 'ä']}",
    'array [0.5 0.5]',
    'process 1 has other labels than process 0; give every process the same '
    'command and the same files',
  ]
  assert first[1] == ['printed by 0', *agreed]
  assert second[1] == agreed
  assert second[0] == 1
  assert second[2].splitlines()[-1] == 'process 1: error: the disk is full'
  # The first cannot go on alone, and does not wait for ever.
  assert first[0] != 0


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (
      (False, None, 2, None),
      '--num_processes is given without --distributed; add it',
    ),
    (
      (True, '10.0.0.2:8476', None, None),
      '--coordinator_address is given without --num_processes and --process_id',
    ),
    ((True, 'host', 2, 0), "is 'host'; give host:port of the process"),
    ((True, 'host:1', 2, 2), '--process_id is 2 of --num_processes 2'),
    ((True, 'host:1', 2, -1), '--process_id is -1 of'),
  ],
)
def test_options_that_do_not_fit_are_refused(options, message):
  with (
    pytest.raises(ValueError, match=message),
    distributed.connected(*options),
  ):
    pass
  assert not jax.distributed.is_initialized()


def test_no_cluster_is_one_sentence(monkeypatch):
  def initialize(*_, **__):
    raise ValueError('coordinator_address should be defined.')

  monkeypatch.setattr(jax.distributed, 'initialize', initialize)
  with (
    pytest.raises(ValueError, match=r'found no cluster .*give --coordinator'),
    distributed.connected(True),
  ):
    pass


def test_one_process_agrees_with_itself():
  tree = {'a': np.arange(3)}
  with distributed.connected(False):
    assert distributed.is_first()
    assert distributed.arrays_of_first(tree) is tree
    assert distributed.value_of_first(None) is None
    distributed.check_same({'seed': object()})
