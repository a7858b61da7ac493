"""Prints the line of a step: loss, score, images per second, time left."""

from faceqat.pace import Pace, minutes
from faceqat.quant.spec import Mode

# What says how far an objective has come: each has one of them.
_SCORES = ('accuracy', 'cosine', 'positive_fraction')


class Progress(Pace):
  """Measures throughput and prints one line each time it is asked."""

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
