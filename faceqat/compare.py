"""Compares evaluated runs on the same pairs, with intervals.

  python -m faceqat.compare runs/y1_float runs/y1_int8 runs/y1_int6 \
    --precision=integer --reference_precision=float

Each argument is a folder that `faceqat.evaluate` or `faceqat.main` wrote; the
first is the reference. Nothing is run again: the scores are read. The intervals
say how far a figure would move with other people (evaluators/intervals.py).
"""

from absl import flags

from faceqat import command
from faceqat.evaluators import PRECISIONS


def define_flags():
  flags.DEFINE_enum('precision', 'integer', PRECISIONS, 'Of the other runs.')
  flags.DEFINE_enum(
    'reference_precision', 'float', PRECISIONS, 'Of the run to compare with.'
  )
  flags.DEFINE_alias('reading', 'precision')
  flags.DEFINE_alias('reference_reading', 'reference_precision')


def main(reference: str, *runs: str):
  from faceqat.report.comparison import compare_evaluations, read_evaluation

  args = flags.FLAGS
  first = read_evaluation(reference, args.reference_precision)
  others = [read_evaluation(run, args.precision) for run in runs]
  print(compare_evaluations(first, others))


if __name__ == '__main__':
  define_flags()
  command.run(main, ('REFERENCE', 'RUN...'))
