"""Compares evaluated runs on the same pairs, with confidence intervals.

  python -m faceqat.compare runs/y1_float runs/y1_int8 runs/y1_int6 \
    --reading=integer --reference_reading=float

Each argument is a folder that `faceqat.evaluate` or `faceqat.main` wrote; the
first is the reference. Nothing is run again: the scores are read. The intervals
say how far a figure would move with other people (evaluators/intervals.py).
"""

import argparse
import sys
from collections.abc import Sequence

from faceqat.report.comparison import compare, read_evaluation


def main(arguments: Sequence[str] | None = None):
  parser = argparse.ArgumentParser(
    prog='python -m faceqat.compare',
    description='Compares evaluated runs on the same pairs.',
  )
  parser.add_argument('reference', help='folder of the run to compare with')
  parser.add_argument('runs', nargs='+', help='folders of the other runs')
  readings = ('float', 'fake_quant', 'integer')
  parser.add_argument('--reading', default='integer', choices=readings)
  parser.add_argument('--reference_reading', default='float', choices=readings)
  args = parser.parse_args(arguments)
  try:
    reference = read_evaluation(args.reference, args.reference_reading)
    others = [read_evaluation(run, args.reading) for run in args.runs]
    print(compare(reference, others))
  except (ValueError, OSError) as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  main()
