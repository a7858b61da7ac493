"""Lowers a trained network to an integer program, and writes that to a file.

python -m faceqat.convert --workdir=runs/mbv2_int8 --out=mbv2.safetensors
"""

import pathlib

from absl import flags

from faceqat import command
from faceqat.checkpoint import Network, load_network
from faceqat.integer import program, record
from faceqat.quant.spec import FAKE_QUANT


def lower(network: Network) -> program.IntegerProgram:
  """Records the integer program of a network.

  Raises:
    ValueError: a range is missing, or an accumulator could overflow.
    TypeError: the model uses an operation that has no integer form.
  """
  size = network.config.data.image_size
  return record.trace(
    lambda image: network.model.apply(network.variables, image, FAKE_QUANT),
    image_shape=(size, size, 3),
    metadata={
      'model': network.config.model.name,
      'step': str(network.step),
      'channel_order': 'RGB',
      'input': 'uint8 pixels; pixel - 128 is the int8 value at scale 1/128',
    },
  )


def main():
  args = flags.FLAGS
  folder = pathlib.Path(args.out).absolute().parent
  if not folder.is_dir():
    raise ValueError(f'--out={args.out}: there is no folder {folder}; make it')
  integer_program = lower(load_network(args.workdir, args.step))
  program.save(integer_program, args.out)
  print(
    f'{args.out}: {len(integer_program.operators)} operators, '
    f'{pathlib.Path(args.out).stat().st_size} bytes'
  )


if __name__ == '__main__':
  flags.DEFINE_string('workdir', None, 'Folder of a training run.')
  flags.DEFINE_string('step', 'latest', "'latest', 'best' or a number.")
  flags.DEFINE_string('out', None, 'The program file to write.')
  flags.mark_flags_as_required(['workdir', 'out'])
  command.run(main)
