"""Says whether two photographs show the same person.

  python -m faceqat.verify a.jpg b.jpg
  python -m faceqat.verify a.jpg b.jpg --model=runs/y1_int8 --threshold=0.4

The answer is the exit status too, for scripts. `--model` is a network that
comes with faceqat, a training run, or the file of a program, `.tflite` or
`.onnx`. A network that was measured has a threshold of its own, and the share
of pairs of different people that reach a score is printed beside it.
"""

from typing import TYPE_CHECKING

from absl import flags

from faceqat import command
from faceqat.calibration.packaged_files import NAMES
from faceqat.evaluators import PRECISIONS

if TYPE_CHECKING:
  from faceqat.api.decision import Decision

SAME, NOT_SAME, UNDECIDED = 0, 1, 2
STATUSES = {
  SAME: 'the same person',
  NOT_SAME: 'not the same person',
  UNDECIDED: 'undecided: no face, several faces, no threshold, or an error',
  130: command.STATUSES[130],
}


def define_flags():
  flags.DEFINE_string(
    'model', NAMES[0], 'Packaged network, run folder, program, .tflite, .onnx.'
  )
  flags.DEFINE_enum(
    'precision', None, PRECISIONS, "Of a run; 'integer' unless given."
  )
  flags.DEFINE_string('step', 'latest', "Of a run: 'latest', 'best', a number.")
  flags.DEFINE_float(
    'threshold', None, "Cosine of one person; by default the network's own."
  )
  flags.DEFINE_bool(
    'aligned', False, 'The images are aligned faces, and no photographs.'
  )


def main(a: str, b: str) -> int:
  from faceqat.api.loading import load

  args = flags.FLAGS
  model = load(args.model, args.precision, step=args.step)
  decision = model.verify(a, b, threshold=args.threshold, aligned=args.aligned)
  print(describe(decision))
  if decision.same is None:
    return UNDECIDED
  return SAME if decision.same else NOT_SAME


def describe(decision: 'Decision') -> str:
  """The answer, then the numbers behind it, one a line."""
  answers = {True: 'the same person', False: 'not the same person'}
  lines = [answers.get(decision.same, f'undecided: {decision.why_not}')]
  if decision.score is not None:
    lines.append(f'score: {decision.score:.4f}')
  if decision.threshold is not None:
    lines.append(f'threshold: {decision.threshold:.4f}')
  if decision.false_match_rate is not None:
    lines.append(f'false-match rate: {decision.false_match_rate.describe()}')
  return '\n'.join(lines)


if __name__ == '__main__':
  define_flags()
  command.run(main, ('IMAGE_A', 'IMAGE_B'), STATUSES)
