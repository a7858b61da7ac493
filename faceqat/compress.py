"""Fits a pretrained network to given numbers of bytes.

  python -m faceqat.compress --config=configs/mobilefacenet_y1_compress.py \
    --workdir=runs/y1_small --budgets=600000,500000,400000 \
    --config.pretrained=Y1/model-0000.params --config.data.path=FACES

The network is calibrated as the config has it (WORKDIR/calibrated), and what
few bits in each layer's weights cost is measured. For each budget the bits that
fit it and cost least are calibrated, reconstructed and trained as the config
says, and evaluated (WORKDIR/600000).

It ends with a table of all runs, and frontier.png, their accuracy over their
bytes. The same command continues where it was stopped; finished runs are
evaluated again.
"""

import pathlib
import sys

from absl import flags

from faceqat import command


def define_flags():
  command.define_config('The 8-bit form and its training, by name or file.')
  flags.DEFINE_string('workdir', None, 'Folder for the runs and the picture.')
  flags.DEFINE_list('budgets', None, 'Most bytes of each program file.')
  flags.DEFINE_integer(
    'num_images',
    128,
    'Training images on which the cost of few bits is measured.',
    lower_bound=1,
  )
  flags.mark_flags_as_required(['config', 'workdir', 'budgets'])


def main():
  from faceqat.evaluation.compression import TrainingStoppedError, compress
  from faceqat.report.comparison import compare_evaluations, read_evaluation
  from faceqat.report.frontier import frontier_figure, points_of

  args = flags.FLAGS
  budgets = sorted({_bytes(text) for text in args.budgets or ['']})
  if args.config.quick_compilation:
    command.compile_quickly()
  workdir = pathlib.Path(args.workdir)
  try:
    runs = compress(args.config, workdir, budgets, num_images=args.num_images)
  except TrainingStoppedError as stop:
    sys.exit(128 + stop.signal)
  evaluations = [read_evaluation(str(run), 'integer') for run in runs]
  whole = read_evaluation(str(runs[0]), 'float')
  print(compare_evaluations(whole, evaluations))
  for run, budget in zip(runs[1:], budgets, strict=True):
    size = (run / 'program.safetensors').stat().st_size
    if size > budget:
      print(
        f'warning: {run} has {size:,} bytes, {size - budget:,} over its '
        f'budget; for fewer, give --budgets={2 * budget - size}'
      )
  picture = workdir / 'frontier.png'
  frontier_figure(
    points_of(evaluations),
    [],
    picture,
    precision='integer',
    pairs=whole.scores.pairs,
  )
  print(f'accuracy over bytes: {picture}')


def _bytes(text: str) -> int:
  if not (text.isdecimal() and int(text)):
    raise ValueError(
      f'--budgets has {text!r}; give numbers of bytes with commas between them'
    )
  return int(text)


if __name__ == '__main__':
  define_flags()
  command.restart_with_tuned_allocator()
  command.run(main)
