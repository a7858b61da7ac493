"""How fast a long work goes on, and how long it has to go."""

import contextlib
import time
from collections.abc import Iterator


class Pace:
  """Measures throughput.

  What comes between, as compilation and validation in a training, does not
  count.
  """

  def __init__(self, start: int, total: int, batch_size: int):
    self._total = total
    self._batch_size = batch_size
    self._rate = 0.0
    self.restart(start)

  def restart(self, step: int):
    """Measures from here on, with `step` steps done."""
    self._step = step
    self._time = time.monotonic()

  def rate(self, step: int) -> float:
    """Images per second since the last call; the last rate if none since."""
    images = (step - self._step) * self._batch_size
    if images:
      self._rate = images / max(time.monotonic() - self._time, 1e-9)
    self.restart(step)
    return self._rate

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves out the time spent inside."""
    began = time.monotonic()
    yield
    self._time += time.monotonic() - began


def minutes(seconds: float) -> str:
  """Seconds as 3:07."""
  return f'{int(seconds // 60)}:{int(seconds % 60):02d}'
