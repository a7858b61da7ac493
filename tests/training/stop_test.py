import os
import signal

import jax
import numpy as np
import pytest

from faceqat.training import stop
from faceqat.training.stop import StopRequest


@pytest.fixture
def gathered(monkeypatch):
  """Two processes: what each call gathers, and what was given to it."""
  answers, given = [], []

  def gather(number):
    given.append(int(number))
    return np.array([number, answers.pop(0)])

  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(stop.multihost_utils, 'process_allgather', gather)
  return answers, given


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('together', [False, True])
def test_one_process_stops_after_the_step_of_the_signal(number, together):
  before = signal.getsignal(number)
  with StopRequest() as request:
    assert not request.agreed(together)
    os.kill(os.getpid(), number)
    assert request.agreed(together)
  assert request.signal is number
  assert signal.getsignal(number) == before


def test_a_second_interruption_does_not_wait(capfd):
  with StopRequest() as request:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert request.signal is signal.SIGINT
    assert 'stopping after this step' in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)


def test_of_several_all_stop_when_they_ask_together(gathered):
  answers, given = gathered
  answers += [0, signal.SIGTERM]
  request = StopRequest()
  assert not request.agreed(together=False)
  assert not given
  assert not request.agreed(together=True)
  assert request.signal is None
  # The other one has had a signal by now.
  assert request.agreed(together=True)
  assert request.signal is signal.SIGTERM
  assert given == [0, 0]


def test_of_several_a_signal_waits_until_they_ask(gathered):
  answers, given = gathered
  answers += [0]
  with StopRequest() as request:
    os.kill(os.getpid(), signal.SIGINT)
    assert not request.agreed(together=False)
    assert request.agreed(together=True)
  assert given == [signal.SIGINT]
