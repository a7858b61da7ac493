"""What a training run prints: step, loss, images per second, time left."""

import contextlib
import time
from collections.abc import Iterator

from faceqat.quant.spec import Mode

# What says how far an objective has come: each has one of them.
_SCORES = ('accuracy', 'cosine', 'positive_fraction')


class Progress:
  """Measures throughput and prints one line each time it is asked.

  Compilation and validation do not count as training.
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

  def show(self, step: int, values: dict[str, float], mode: Mode):
    """Prints the line of a step."""
    # None is measured yet in a step that was compiled.
    pace = ''
    if self._rate:
      left = (self._total - step) * self._batch_size / self._rate
      pace = f'{self._rate:.0f} images/s  {minutes(left)} left  '
    score = next(name for name in _SCORES if f'train/{name}' in values)
    print(
      f'step {step}/{self._total}  '
      f'loss {values["train/loss"]:.3f}  '
      f'{score.replace("_", " ")} {values[f"train/{score}"]:.4f}  '
      f'{pace}[{"fake_quant" if mode.quantize else "float"}]',
      flush=True,
    )

  def show_validation(self, scores: dict[str, float]):
    """Prints what validation found."""
    shown = {
      'validation/loss': 'loss',
      'validation/accuracy': 'accuracy on known people',
      'validation/cosine': 'cosine to the teacher',
      'validation/verification_accuracy': 'verification of new people',
    }
    parts = [f'{shown[n]} {scores[n]:.4f}' for n in shown if n in scores]
    print(f'  validation: {", ".join(parts) or "no data kept out"}', flush=True)


def minutes(seconds: float) -> str:
  """Seconds as 3:07."""
  return f'{int(seconds // 60)}:{int(seconds % 60):02d}'
