"""What a training run prints: step, loss, images per second, time left."""

import contextlib
import time
from collections.abc import Iterator

from faceqat.quant.spec import Mode


class Progress:
  """Measures throughput and prints one line each time it is asked.

  Time spent under `paused` (validation) does not count as training.
  """

  def __init__(self, start: int, total: int, batch_size: int):
    self._total = total
    self._batch_size = batch_size
    self._step = start
    self._time = time.monotonic()
    self._rate = 0.0

  def rate(self, step: int) -> float:
    """Images per second since the last call; the first counts compilation."""
    now = time.monotonic()
    images = (step - self._step) * self._batch_size
    self._rate = images / max(now - self._time, 1e-9)
    self._step, self._time = step, now
    return self._rate

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    began = time.monotonic()
    yield
    self._time += time.monotonic() - began

  def show(self, step: int, values: dict[str, float], mode: Mode):
    left = (self._total - step) * self._batch_size / max(self._rate, 1e-9)
    print(
      f'step {step}/{self._total}  '
      f'loss {values["train/loss"]:.3f}  '
      f'accuracy {values["train/accuracy"]:.3f}  '
      f'{self._rate:.0f} images/s  '
      f'{int(left // 60)}:{int(left % 60):02d} left  '
      f'[{"fake_quant" if mode.quantize else "float"}]',
      flush=True,
    )

  def show_validation(self, scores: dict[str, float]):
    shown = '  '.join(
      f'{name.removeprefix("validation/")} {scores[name]:.4f}'
      for name in (
        'validation/known_loss',
        'validation/known_accuracy',
        'validation/accuracy',
      )
      if name in scores
    )
    print(f'  validation: {shown}', flush=True)
