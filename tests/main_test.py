import contextlib
import os
import signal
import types

import pytest
from face_sets import write_folder
from tiny_run import make_config

from faceqat import main
from faceqat.evaluation import networks, sets
from faceqat.training import checkpoint, distributed, loop


@pytest.fixture
def start(monkeypatch, tmp_path):
  """A function that runs the command on a config."""

  def start(config, **flags):
    flags = types.SimpleNamespace(
      config=config,
      workdir=str(tmp_path / 'run'),
      full=False,
      distributed=bool(flags),
      coordinator_address=flags.get('coordinator_address'),
      num_processes=flags.get('num_processes'),
      process_id=flags.get('process_id'),
    )
    monkeypatch.setattr(main, 'flags', types.SimpleNamespace(FLAGS=flags))
    main.main()

  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=8')
  return start


@pytest.mark.usefixtures('undrawn')
def test_sets_are_opened_and_warned_of_once(start, tmp_path, capsys):
  faces = str(write_folder(tmp_path / 'faces', size=32))
  config = make_config(total_steps=1)
  config.data.path = config.eval.path = faces
  config.quant.update(enabled=False, calibration_steps=0)
  start(config)
  printed = capsys.readouterr().out
  for text in ('has no list in eval.pairs', f'eval.path {faces} is of the'):
    assert printed.count(text) == 1
  # Before the training.
  assert printed.index('has no list') < printed.index('trains on')
  assert printed.index('step 1/1') < printed.index('evaluating float')
  assert (tmp_path / 'run' / 'results.json').is_file()


@pytest.fixture
def calls(monkeypatch):
  """What the command calls; nothing of it does anything."""
  calls = []

  def replace(module, name, result=None):
    def called(*arguments, **_):
      calls.append((name, *arguments))
      return result

    monkeypatch.setattr(module, name, called)

  replace(distributed, 'connected', contextlib.nullcontext())
  replace(sets, 'open_sets')
  replace(loop, 'train')
  replace(checkpoint, 'load_network')
  replace(networks, 'evaluate_network')
  return calls


def test_a_smoke_run_compiles_quickly_under_the_flags_of_the_user(start, calls):
  start(make_config(quick_compilation=True))
  first, *_, last = os.environ['XLA_FLAGS'].split()
  assert first == '--xla_backend_optimization_level=0'
  assert last == '--xla_force_host_platform_device_count=8'


def test_only_the_first_process_evaluates(start, calls, monkeypatch):
  monkeypatch.setattr(distributed, 'is_first', lambda: False)
  options = {'coordinator_address': 'host:1', 'num_processes': 4}
  start(make_config(), process_id=2, **options)
  assert calls[0] == ('connected', True, 'host:1', 4, 2)
  assert [name for name, *_ in calls] == ['connected', 'train']


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_training_exits_as_its_signal_says(
  number, start, calls, monkeypatch
):
  monkeypatch.setattr(loop, 'train', lambda *_: number)
  with pytest.raises(SystemExit) as raised:
    start(make_config())
  assert raised.value.code == 128 + number
  assert [name for name, *_ in calls] == ['connected', 'open_sets']
