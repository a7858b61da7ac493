"""Lowers a network to integers, and exports what its runtimes run.

  python -m faceqat.convert --model=runs/mbv2_int8 --out=export

Each file is then run in its own runtime on images of the run's evaluation set
(or of --images=FOLDER), and its embeddings are compared with the evaluator's.
The table says in how many integers they differ. Under a contract that is 0, or
the exit status is 1 and a file names the first layer that differs.
"""

import json
import pathlib
import sys

from absl import flags

from faceqat import command
from faceqat.files import atomic, folders
from faceqat.identification.settings import CALIBRATE_HELP
from faceqat.integer.program import CONTRACTS, IntegerProgram

_WEIGHT_BITS = {'int8': None, 'int4': 4}


def define_flags():
  flags.DEFINE_string(
    'model', None, 'Folder of a training run, or a packaged network.'
  )
  flags.DEFINE_alias('checkpoint', 'model')
  flags.DEFINE_string('step', 'latest', "'latest', 'best' or a number.")
  flags.DEFINE_string('calibrate', None, CALIBRATE_HELP)
  flags.DEFINE_string('out', None, 'Folder for the files.')
  flags.DEFINE_list(
    'formats',
    None,
    'Of program, tflite, onnx, onnx_qdq, tflite_int8; by default all that go '
    'with the contract, with uint8 images.',
  )
  flags.DEFINE_enum(
    'contract', CONTRACTS[0], CONTRACTS, 'Whose rounding to follow.'
  )
  flags.DEFINE_enum(
    'weights',
    'int8',
    list(_WEIGHT_BITS),
    "int8 leaves the network's bits as they are; int4 rounds the weights of "
    'dense layers and convolutions, but for depthwise ones, to 4 bits. Up to 4 '
    'bits are stored two in a byte where the runtime has kernels for that.',
  )
  flags.DEFINE_bool('normalize', False, 'End with the L2-normalised embedding.')
  flags.DEFINE_string(
    'images',
    None,
    "Folder of images to compare on; by default the run's evaluation set.",
  )
  flags.DEFINE_integer(
    'num_images', 32, 'How many to compare on.', lower_bound=1
  )
  command.group_flags('what is compared', 'images', 'num_images')
  flags.mark_flags_as_required(['model', 'out'])


def main():
  from faceqat.calibration.lower import lower
  from faceqat.data.example_images import load_example_images
  from faceqat.export import roundtrip
  from faceqat.export.formats import choose_formats
  from faceqat.identification import own_faces

  args = flags.FLAGS
  formats = choose_formats(args.formats, args.contract)
  if args.weights == 'int4' and args.contract == 'xnnpack':
    raise ValueError(
      '--weights=int4: XNNPACK has no convolution with int4 weights, and the '
      'kernel that LiteRT would run in its place rounds otherwise; give '
      '--contract=tflite_ref, or leave --weights at int8'
    )
  out = pathlib.Path(args.out)
  folders.check_out(out)
  network = own_faces.load_network(args.model, args.step, args.calibrate)
  program = lower(
    network,
    contract=args.contract,
    weight_bits=_WEIGHT_BITS[args.weights],
    normalize=args.normalize,
  )
  program = _with_rates(program, args.model)
  images = load_example_images(network.config, args.images, args.num_images)
  results = roundtrip.export(program, out, formats, images)
  print(roundtrip.results_table(results))
  text = json.dumps(roundtrip.results_json(results), indent=2)
  atomic.write(out / 'exactness.json', f'{text}\n'.encode())
  broken = [name for name, result in results.items() if result.broken]
  if broken:
    reports = ', '.join(str(roundtrip.report_path(out, n)) for n in broken)
    sys.exit(
      f'error: the contract {args.contract} is broken by '
      f'{", ".join(broken)}; see {reports}'
    )
  print(f'\n{roundtrip.success(results, len(images))}')


def _with_rates(program: IntegerProgram, model: str) -> IntegerProgram:
  """The program with the false-match rates of the evaluation of its run."""
  from faceqat.evaluators import rate_table
  from faceqat.integer import program as integer_program

  table = rate_table.load_measured(model).get('integer')
  if table is None:
    return program
  if table.program != integer_program.digest(program):
    print(
      f'without the false-match rates in {model}, which are of another step, '
      'contract or form of the network; evaluate it so to have them'
    )
    return program
  return rate_table.with_table(program, table)


if __name__ == '__main__':
  define_flags()
  command.run(main)
