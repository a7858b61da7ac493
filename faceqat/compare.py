"""Compares evaluated runs on the same pairs, with intervals.

  python -m faceqat.compare runs/y1_float runs/y1_int8 runs/y1_int6 \
    --precision=integer --reference_precision=float

Each argument is a folder that `faceqat.evaluate` or `faceqat.main` wrote; the
first is the reference. Nothing is run again: the scores are read. The intervals
say how far a figure would move with other people (evaluators/intervals.py).

--picture=frontier.png draws the accuracy of the other runs over the bytes of
their files; --published=FILE.json adds networks that others published, as in
docs/published.json. Their accuracies have to be of the same pairs.
"""

from absl import flags

from faceqat import command
from faceqat.evaluators import PRECISIONS

_PICTURES = ('.png', '.svg')


def define_flags():
  flags.DEFINE_enum('precision', 'integer', PRECISIONS, 'Of the other runs.')
  flags.DEFINE_enum(
    'reference_precision', 'float', PRECISIONS, 'Of the run to compare with.'
  )
  flags.DEFINE_string(
    'picture', None, 'File (.png, .svg) for the accuracies over the bytes.'
  )
  flags.DEFINE_string(
    'published',
    None,
    'JSON file of published networks, for the picture: a list of objects with '
    'name, bytes and accuracy (in per cent).',
  )
  flags.DEFINE_alias('reading', 'precision')
  flags.DEFINE_alias('reference_reading', 'reference_precision')


def main(reference: str, *runs: str):
  from faceqat.report.comparison import compare_evaluations, read_evaluation
  from faceqat.report.frontier import (
    frontier_figure,
    points_of,
    read_published,
  )

  args = flags.FLAGS
  if args.published and not args.picture:
    raise ValueError('--published is drawn in a picture; give --picture too')
  if args.picture and not args.picture.endswith(_PICTURES):
    raise ValueError(
      f'--picture is {args.picture}; give a file that ends with '
      f'{" or ".join(_PICTURES)}'
    )
  published = read_published(args.published) if args.published else []
  first = read_evaluation(reference, args.reference_precision)
  others = [read_evaluation(run, args.precision) for run in runs]
  print(compare_evaluations(first, others))
  if args.picture:
    frontier_figure(
      points_of(others),
      published,
      args.picture,
      precision=args.precision,
      pairs=first.scores.pairs,
    )
    print(f'accuracy over bytes: {args.picture}')


if __name__ == '__main__':
  define_flags()
  command.run(main, ('REFERENCE', 'RUN...'))
