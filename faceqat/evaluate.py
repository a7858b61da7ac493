"""Evaluates a run, or a saved integer program, on face pairs.

  python -m faceqat.evaluate --model=runs/mbv2_int8
  python -m faceqat.evaluate --model=mbv2.safetensors \
    --config=configs/mbv2_int8.py

The first prints one table for float, fake-quantized and integer arithmetic,
and for integer embeddings that are matched in integers too; a program has only
the last two. The pairs are those of the config's `eval` block: the run's own
config, unless another one is given. Where that names several sets of pairs, or
templates, there is a table for each (evaluation/sets.py).

Where the pairs are many enough, a table says how often pairs of different
people reach a score; `identify` takes its threshold from there.
`--groups=CSV`, a file of `person,group`, gives both errors by group.
"""

import pathlib

from absl import flags

from faceqat import command
from faceqat.evaluators import PRECISIONS
from faceqat.identification.settings import CALIBRATE_HELP
from faceqat.integer.program import CONTRACTS


def define_flags():
  flags.DEFINE_string(
    'model', None, 'Training run folder, program file, or a packaged network.'
  )
  flags.DEFINE_string('step', 'latest', "'latest', 'best' or a number.")
  flags.DEFINE_string('calibrate', None, CALIBRATE_HELP)
  flags.DEFINE_string('out', None, 'Folder for results and figures.')
  flags.DEFINE_enum(
    'contract',
    CONTRACTS[0],
    CONTRACTS,
    'Whose rounding a run is lowered to; a program file has its own.',
  )
  flags.DEFINE_list(
    'precisions', list(PRECISIONS), 'Which of them to run, of a run.'
  )
  flags.DEFINE_alias('readings', 'precisions')
  flags.DEFINE_string(
    'groups', None, 'CSV file of person,group, to have both errors by group.'
  )
  flags.DEFINE_bool('full', False, 'Print every figure, with its interval.')
  command.define_config('Whose `eval` block to use.')
  flags.mark_flags_as_required(['model'])


def main():
  from faceqat.calibration.packaged_files import NAMES
  from faceqat.evaluation.networks import evaluate_network, evaluate_program
  from faceqat.evaluators import group_rates
  from faceqat.identification import own_faces

  args = flags.FLAGS
  model = pathlib.Path(args.model)
  is_packaged = args.model in NAMES
  if not model.exists() and not is_packaged:
    raise ValueError(
      f'--model={model} does not exist; give the folder of a training run, a '
      f'program file, or {" or ".join(NAMES)}'
    )
  groups = group_rates.read_groups(args.groups) if args.groups else None
  if is_packaged or model.is_dir() or args.calibrate:
    network = own_faces.load_network(args.model, args.step, args.calibrate)
    evaluate_network(
      network,
      args.out or (f'{model}.evaluation' if is_packaged else model),
      args.config,
      args.contract,
      args.precisions,
      groups=groups,
      full=args.full,
    )
    return
  if args.config is None:
    raise ValueError(
      'a program file does not say on which pairs to evaluate it; give '
      '--config=configs/mbv2_int8.py, or another one, for its `eval` block'
    )
  outdir = args.out or model.with_suffix('.evaluation')
  evaluate_program(str(model), args.config, outdir, args.full, groups)


if __name__ == '__main__':
  define_flags()
  command.restart_with_tuned_allocator()
  command.run(main)
