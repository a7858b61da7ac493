"""Stops a training after a step, so that it can save first."""

import os
import signal

import jax
import numpy as np
from jax.experimental import multihost_utils

from faceqat import interruption

_NOTE = (
  '\nstopping after this step, which is saved; Ctrl-C again ends at once, and '
  'the checkpoint before it stays\n'
)


class StopRequest:
  """Notes Ctrl-C and SIGTERM while it is entered; a second Ctrl-C interrupts.

  Attributes:
    signal: the one that came, or None.
  """

  def __init__(self):
    self.signal: signal.Signals | None = None

  def __enter__(self) -> 'StopRequest':
    self._previous = {
      number: signal.signal(number, self._note)
      for number in (signal.SIGINT, signal.SIGTERM)
    }
    interruption.answer = _NOTE
    return self

  def _note(self, number, frame):
    del frame
    if self.signal is signal.SIGINT == number:
      raise KeyboardInterrupt
    self.signal = signal.Signals(number)
    # In a command, a thread has said so at once.
    if not interruption.is_watched:
      # Not by print, which may be interrupted in the middle of another one.
      os.write(2, _NOTE.encode())

  def agreed(self, together: bool) -> bool:
    """Whether to stop after this step.

    Several processes have to stop after the same step, even if the signal has
    reached only one of them, or they would wait for each other for ever.

    Args:
      together: whether every process asks after this step. Several processes
        stop at no other.
    """
    if jax.process_count() == 1:
      return self.signal is not None
    if not together:
      return False
    number = int(
      multihost_utils.process_allgather(np.int32(self.signal or 0)).max()
    )
    if number:
      self.signal = signal.Signals(number)
    return bool(number)

  def __exit__(self, *_):
    interruption.answer = ''
    for number, handler in self._previous.items():
      signal.signal(number, handler)
