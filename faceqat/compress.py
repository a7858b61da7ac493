"""Fits a pretrained network to given numbers of bytes.

  python -m faceqat.compress --config=configs/mobilefacenet_y1_compress.py \
    --workdir=runs/y1_small --budgets=600000,500000,400000 \
    --config.pretrained=Y1/model-0000.params --config.data.path=FACES

The network is calibrated as the config has it (WORKDIR/calibrated), which shows
what few bits in each layer's weights would cost (`faceqat.assign_bits`). For
each budget the bits that fit it and cost least are then calibrated,
reconstructed and trained as the config says (WORKDIR/600000), and evaluated.
Labels are used by no config that distils.

It ends with a table of all of them and frontier.png, their accuracy over their
bytes. The same command continues one that was stopped; each folder is a run as
`faceqat.main` makes it.
"""

import pathlib
import signal
import sys

from absl import flags
from ml_collections import ConfigDict

from faceqat import command

# Of a budget: what is learnt after the choice changes a file by some hundred
# bytes.
_SPARE = 0.01


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
  from faceqat.calibration.bit_assignment import assign_bits
  from faceqat.data.example_images import spread_training_images
  from faceqat.report.comparison import compare_evaluations, read_evaluation
  from faceqat.report.frontier import frontier_figure, points_of

  args = flags.FLAGS
  budgets = sorted({_bytes(text) for text in args.budgets}, reverse=True)
  config, workdir = args.config, pathlib.Path(args.workdir)
  _check(config)
  if config.quick_compilation:
    command.compile_quickly()
  runs = [workdir / 'calibrated']
  network = _run(_calibration_of(config), runs[0])
  images = spread_training_images(network.config.data, None, args.num_images)
  # All choices before the first training: a budget too small shows at once.
  assignments = assign_bits(network, images, budgets=budgets, spare=_SPARE)
  for budget, assignment in zip(budgets, assignments, strict=True):
    fitted = config.copy_and_resolve_references()
    fitted.quant.overrides = ConfigDict(assignment.overrides)
    runs.append(workdir / str(budget))
    _run(fitted, runs[-1])
  evaluations = [read_evaluation(str(run), 'integer') for run in runs]
  print(
    compare_evaluations(read_evaluation(str(runs[0]), 'float'), evaluations)
  )
  for budget, run in zip(budgets, runs[1:], strict=True):
    size = (run / 'program.safetensors').stat().st_size
    if size > budget:
      print(
        f'warning: {run} has {size:,} bytes, {size - budget:,} over its budget'
      )
  picture = workdir / 'frontier.png'
  frontier_figure(
    points_of(evaluations),
    [],
    picture,
    precision='integer',
    pairs=evaluations[0].scores.pairs,
  )
  print(f'accuracy over bytes: {picture}')


def _bytes(text: str) -> int:
  if not (text.isdecimal() and int(text)):
    raise ValueError(
      f'--budgets has {text!r}; give numbers of bytes with commas between them'
    )
  return int(text)


def _check(config: ConfigDict):
  if not config.quant.enabled:
    raise ValueError(
      'quant.enabled is False, so there is nothing to fit to bytes; give a '
      'config with quantization, such as configs/mobilefacenet_y1_compress.py'
    )
  if not config.pretrained:
    raise ValueError(
      'pretrained is empty; give the network to compress: a weight file, or '
      'the folder of a run'
    )


def _calibration_of(config: ConfigDict) -> ConfigDict:
  """The config without what is learnt after the ranges are known."""
  calibration = config.copy_and_resolve_references()
  calibration.update(total_steps=0, stages={})
  calibration.quant.update(
    start_step=0, start_epochs=0.0, freeze_bn_step=0, reconstruction_steps=0
  )
  # Learned steps are of one number of bits.
  for layer in (
    calibration.quant.default,
    *calibration.quant.overrides.values(),
  ):
    layer['learned_steps'] = False
  return calibration


def _run(config: ConfigDict, workdir: pathlib.Path):
  """Trains a run, or continues it, and evaluates it; returns its network."""
  from faceqat.evaluation.networks import evaluate_network
  from faceqat.training.checkpoint import load_network
  from faceqat.training.loop import train

  print(f'\n{workdir}')
  stopped_by = train(config, str(workdir))
  if stopped_by is not None:
    sys.exit(128 + signal.Signals(stopped_by))
  network = load_network(str(workdir))
  evaluate_network(network, str(workdir), config)
  return network


if __name__ == '__main__':
  define_flags()
  command.restart_with_tuned_allocator()
  command.run(main)
