"""Chooses the bits of each layer's weights, so that a program fits.

  python -m faceqat.assign_bits --model=runs/mbv2_int8 --budget=600000

The run has to be calibrated or trained with quantization. Each layer's weights
are rounded alone to 2, 3, 4, 6 and 8 bits, and the error of the embedding is
measured on training images. Of all choices whose real program file fits, the
one with the least sum of errors is taken. `bits.json` is then the
`quant.overrides` of a new run:

  config.quant.overrides = json.loads(pathlib.Path('bits.json').read_text())

Errors are of weights rounded at the steps where a training with learned steps
(quant.default.learned_steps) begins. After another training the file is some
hundred bytes larger or smaller: its scales and biases take the bits that they
need.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from faceqat import command
from faceqat.files import atomic


def _python(overrides: Mapping[str, Mapping[str, Any]]) -> str:
  """The overrides as a config file has them."""
  lines = [f'  {key!r}: {value!r},' for key, value in overrides.items()]
  return '\n'.join(['config.quant.overrides = {', *lines, '}'])


def _bits(text: str) -> int:
  if text not in map(str, range(2, 9)):
    raise ValueError(
      f'--bits has {text!r}; give numbers from 2 to 8 with commas between them'
    )
  return int(text)


def define_flags():
  flags.DEFINE_string('model', None, 'Folder of a training run.')
  flags.DEFINE_string('step', 'latest', "'latest', 'best' or a number.")
  flags.DEFINE_integer(
    'budget', None, 'Most bytes of the program file.', lower_bound=1
  )
  flags.DEFINE_list(
    'bits',
    '2,3,4,6,8',
    'What a layer may get, 2 to 8; none gets more than it has.',
  )
  flags.DEFINE_string(
    'images',
    None,
    'Folder person/image.jpg, or RecordIO file, to measure on; by default the '
    "run's training images.",
  )
  flags.DEFINE_integer(
    'num_images', 128, 'How many to measure on.', lower_bound=1
  )
  flags.DEFINE_string('out', None, 'Folder for bits.json; the run by default.')
  flags.mark_flags_as_required(['model', 'budget'])


def main():
  from faceqat.calibration.bit_assignment import assign_bits
  from faceqat.data.example_images import spread_training_images
  from faceqat.report.layer_tables import costs_table, programs_table
  from faceqat.training.checkpoint import load_network

  args = flags.FLAGS
  choices = [_bits(text) for text in args.bits]
  out = pathlib.Path(args.out or args.model)
  if out.exists() and not out.is_dir():
    raise ValueError(
      f'--out={out} is a file; give a folder, which is made if there is none'
    )
  network = load_network(args.model, args.step)
  images = spread_training_images(
    network.config.data, args.images, args.num_images
  )
  [assignment] = assign_bits(
    network, images, budgets=[args.budget], choices=choices
  )
  out.mkdir(parents=True, exist_ok=True)
  text = json.dumps(assignment.overrides, indent=2)
  atomic.write(out / 'bits.json', f'{text}\n'.encode())
  print(costs_table(assignment))
  print(f'\n{_python(assignment.overrides)}\n')
  print(programs_table(assignment))
  print(f'these overrides as JSON: {out / "bits.json"}')


if __name__ == '__main__':
  define_flags()
  command.restart_with_tuned_allocator()
  command.run(main)
