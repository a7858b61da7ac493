"""The lines that a training prints."""

from faceqat.progress import Pace, note
from faceqat.quant.spec import Mode

# Every objective has one of these scores.
_SCORES = ('accuracy', 'cosine', 'positive_fraction')

_VALIDATION = {
  'validation/loss': 'loss',
  'validation/accuracy': 'accuracy on known people',
  'validation/cosine': 'cosine to the teacher',
  'validation/verification_accuracy': 'verification of new people',
}


def print_step(
  done: int, total: int, values: dict[str, float], pace: Pace, mode: Mode
):
  """Prints the loss, the score, the pace and the mode of a step."""
  score = next(name for name in _SCORES if f'train/{name}' in values)
  parts = [
    f'step {done}/{total}',
    f'loss {values["train/loss"]:.3f}',
    f'{score.replace("_", " ")} {values[f"train/{score}"]:.4f}',
    pace.describe(done),
    f'[{"fake_quant" if mode.quantize else "float"}]',
  ]
  note('  '.join(filter(None, parts)))


def print_validation(scores: dict[str, float]):
  parts = [
    f'{text} {scores[name]:.4f}'
    for name, text in _VALIDATION.items()
    if name in scores
  ]
  note(f'  validation: {", ".join(parts) or "no data kept out"}')
