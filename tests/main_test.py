import contextlib
import os
import signal
import types

import pytest

from configs import mbv2_int8
from faceqat import main
from faceqat.evaluation import networks, sets
from faceqat.training import checkpoint, distributed, loop


@pytest.fixture
def calls(monkeypatch, tmp_path):
  """What `main` calls, in order, none of which does anything."""
  calls = []

  def note(name, result=None):
    def called(*arguments, **_):
      calls.append((name, *arguments))
      return result

    return called

  flags = types.SimpleNamespace(
    config=mbv2_int8.get_config('smoke'),
    workdir=str(tmp_path),
    distributed=True,
    coordinator_address='host:1',
    num_processes=4,
    process_id=2,
  )
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=8')
  monkeypatch.setattr(main, 'flags', types.SimpleNamespace(FLAGS=flags))
  monkeypatch.setattr(
    distributed, 'connected', note('connected', contextlib.nullcontext())
  )
  monkeypatch.setattr(sets, 'open_sets', note('pairs'))
  monkeypatch.setattr(loop, 'train', note('train'))
  monkeypatch.setattr(checkpoint, 'load_network', note('load', 'network'))
  monkeypatch.setattr(networks, 'evaluate_network', note('evaluate'))
  return calls


def test_pairs_are_opened_before_training_and_evaluated_after_it(calls):
  main.main()
  assert [name for name, *_ in calls] == [
    *('connected', 'pairs', 'train', 'load', 'evaluate')
  ]
  assert calls[0][1:] == (True, 'host:1', 4, 2)
  config = mbv2_int8.get_config('smoke')
  assert calls[1][1].to_dict() == config.to_dict()
  assert calls[-1][1] == 'network'


def test_a_smoke_run_compiles_quickly_under_the_flags_of_the_user(calls):
  main.main()
  first, *_, last = os.environ['XLA_FLAGS'].split()
  assert first == '--xla_backend_optimization_level=0'
  assert last == '--xla_force_host_platform_device_count=8'


def test_only_the_first_process_evaluates(calls, monkeypatch):
  monkeypatch.setattr(distributed, 'is_first', lambda: False)
  main.main()
  assert [name for name, *_ in calls] == ['connected', 'train']


@pytest.mark.parametrize(
  ('outcome', 'status'),
  [(signal.SIGTERM, 128 + 15), (signal.SIGINT, 128 + 2)],
)
def test_a_stopped_training_exits_as_its_signal_says(
  outcome, status, calls, monkeypatch
):
  monkeypatch.setattr(loop, 'train', lambda *_: outcome)
  with pytest.raises(SystemExit) as raised:
    main.main()
  assert raised.value.code == status
  assert calls[-1][0] == 'pairs'
