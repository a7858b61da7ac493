"""Lowers a network to integers, and exports what its runtimes run.

  python -m faceqat.convert --model=runs/mbv2_int8 --out=export

Each file is then run in its own runtime on images of the run's evaluation set
(or of --images=FOLDER), and its embeddings are compared with the evaluator's.
The table says in how many integers they differ. Under a contract that is 0, or
the exit status is 1 and a file names the first layer that differs.

  python -m faceqat.convert --target=list
  python -m faceqat.convert --model=runs/mbv2_int8 --out=export --target=tflm

A target is a runtime or a chip: its files go to a folder of its name, here
export/tflm. What it cannot hold, or would compute otherwise, is an error that
names the layer and a way out.
"""

import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from absl import flags

from faceqat import command
from faceqat.files import atomic, folders
from faceqat.identification.settings import CALIBRATE_HELP
from faceqat.integer.program import CONTRACTS, IntegerProgram

_WEIGHT_BITS = {'int8': None, 'int4': 4}
_LIST = ['list']
STATUSES = {
  **command.STATUSES,
  1: 'a wrong flag or input, or a broken contract; standard error names it',
}
# To compare on, by whether targets are given.
_NUM_IMAGES = {False: 32, True: 200}


def define_flags():
  flags.DEFINE_string(
    'model', None, 'Folder of a training run, or a packaged network.'
  )
  flags.DEFINE_alias('checkpoint', 'model')
  flags.DEFINE_string('step', 'latest', "'latest', 'best' or a number.")
  flags.DEFINE_string('calibrate', None, CALIBRATE_HELP)
  flags.DEFINE_string('out', None, 'Folder for the files.')
  flags.DEFINE_list(
    'target',
    None,
    "Runtimes and chips to write for, in place of formats; 'list' prints them.",
  )
  flags.DEFINE_list(
    'formats',
    None,
    'Of program, tflite, onnx, onnx_qdq; by default all that go with the '
    'contract, with uint8 images and int8 embeddings. tflite_int8 takes int8 '
    'images; tflite_uint8_embedding and tflite_float_embedding end so.',
  )
  flags.DEFINE_enum(
    'contract',
    None,
    CONTRACTS,
    f"Whose rounding to follow; by default a target's own, or {CONTRACTS[0]}.",
  )
  flags.DEFINE_enum(
    'weights',
    'int8',
    list(_WEIGHT_BITS),
    "int8 leaves the network's bits as they are; int4 rounds the weights of "
    'dense layers and convolutions, but for depthwise ones, to 4 bits. Few '
    'bits are packed where the runtime takes them; a table says which are.',
  )
  flags.DEFINE_bool('normalize', False, 'End with the L2-normalised embedding.')
  flags.DEFINE_string(
    'images',
    None,
    "Folder of aligned faces, of the network's size, to compare on; by "
    "default the run's evaluation set.",
  )
  flags.DEFINE_integer(
    'num_images',
    None,
    f'How many to compare on; by default {_NUM_IMAGES[False]}, and '
    f'{_NUM_IMAGES[True]} with targets.',
    lower_bound=1,
  )
  flags.DEFINE_bool(
    'accuracy',
    False,
    "With targets: also what each costs on the pairs of the run's evaluation "
    'set, where it does not give the same bits.',
  )
  command.group_flags('what is compared', 'images', 'num_images', 'accuracy')
  for name in ('model', 'out'):
    flags.register_validator(
      name,
      lambda value: value is not None or flags.FLAGS.target == _LIST,
      f'Flag --{name} must have a value other than None.',
    )


def main():
  args = flags.FLAGS
  if args.target == _LIST:
    _print_targets()
  elif args.target:
    _convert_for_targets(args)
  else:
    _convert(args)


def _print_targets():
  """What there is for --target, and what each promises."""
  from faceqat.export import targets

  width = max(map(len, targets.NAMES))
  for name in targets.NAMES:
    print(f'{name:{width}}  {targets.find(name).promise}')


def _convert(args: flags.FlagValues):
  """Writes formats, one contract for all."""
  from faceqat.export import roundtrip
  from faceqat.export.formats import choose_formats

  if args.accuracy:
    raise ValueError('--accuracy is of targets; give --target, or leave it out')
  contract = args.contract or CONTRACTS[0]
  formats = choose_formats(args.formats, contract)
  program, _, images = _read(args, [contract])
  program = _with_rates(program, args.model, contract)
  out = pathlib.Path(args.out)
  results = roundtrip.export(program, out, formats, images)
  print(f'{roundtrip.results_table(results)}\n')
  print(roundtrip.parts_table(results))
  _write_json(out / 'exactness.json', roundtrip.results_json(results))
  _end(
    results,
    functools.partial(roundtrip.report_path, out),
    roundtrip.success(results, len(images)),
  )


def _convert_for_targets(args: flags.FlagValues):
  """Writes what suits each target, under a contract that it keeps."""
  from faceqat.data import datasets
  from faceqat.export import targets
  from faceqat.export.targets import roundtrip
  from faceqat.export.targets.target import choose_contract

  if args.formats:
    raise ValueError('--target chooses the files; leave --formats out')
  contracts = {
    name: choose_contract(name, targets.find(name), args.contract)
    for name in args.target
  }
  program, network, images = _read(args, contracts.values())
  by_contract = {
    contract: _with_rates(program, args.model, contract)
    for contract in dict.fromkeys(contracts.values())
  }
  programs = {name: by_contract[x] for name, x in contracts.items()}
  out = pathlib.Path(args.out)
  pairs = None
  if args.accuracy:
    config = network.config
    pairs = datasets.make_evaluation_pairs(
      config.eval, image_size=config.data.image_size
    )
  results = roundtrip.export(programs, network, out, images, pairs)
  print('\n\n'.join(map(str, roundtrip.tables(results))))
  _write_json(out / 'targets.json', roundtrip.results_json(results))
  _end(
    results,
    functools.partial(roundtrip.report_path, out),
    roundtrip.success(results, len(images)),
  )


def _read(args: flags.FlagValues, contracts: Collection[str]):
  """The program, the network that it was lowered from, and images."""
  from faceqat.calibration.lower import lower
  from faceqat.data.example_images import load_example_images
  from faceqat.identification import own_faces

  if args.weights == 'int4' and 'xnnpack' in contracts:
    raise ValueError(
      '--weights=int4: XNNPACK has no convolution with int4 weights, and the '
      'kernel that LiteRT would run in its place rounds otherwise; give '
      '--contract=tflite_ref, or leave --weights at int8'
    )
  folders.check_out(pathlib.Path(args.out))
  network = own_faces.load_network(args.model, args.step, args.calibrate)
  count = args.num_images or _NUM_IMAGES[bool(args.target)]
  images = load_example_images(network.config, args.images, count)
  program = lower(
    network,
    weight_bits=_WEIGHT_BITS[args.weights],
    normalize=args.normalize,
  )
  return program, network, images


def _write_json(path: pathlib.Path, results: dict):
  atomic.write(path, f'{json.dumps(results, indent=2)}\n'.encode())


def _end(
  results: Mapping[str, Any],
  report_path: Callable[[str], pathlib.Path],
  success: str,
):
  """Says what was kept, or ends with the reports of what was not."""
  broken = [name for name, one in results.items() if one.broken]
  if broken:
    reports = ', '.join(str(report_path(name)) for name in broken)
    sys.exit(
      f'error: a contract is broken by {", ".join(broken)}; see {reports}'
    )
  print(f'\n{success}')


def _with_rates(
  program: IntegerProgram, model: str, contract: str
) -> IntegerProgram:
  """The program under a contract, with the false-match rates measured of it."""
  from faceqat.evaluators import rate_table
  from faceqat.identification import match_table
  from faceqat.integer import program as integer_program

  program = dataclasses.replace(program, contract=contract)
  table = match_table.of_model(model)
  if table is None:
    return program
  if table.program != integer_program.digest(program):
    print(
      f'{contract}: without the false-match rates of {model}, which were '
      'measured of another step, contract, calibration or form of it; '
      'faceqat.evaluate with the same flags measures those of a run'
    )
    return program
  return rate_table.with_table(program, table)


if __name__ == '__main__':
  define_flags()
  command.run(main, statuses=STATUSES)
