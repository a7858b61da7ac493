"""Accuracy and time of the files that convert writes for targets.

  python -m benchmarks.target_accuracy --model=runs/y1_ptq \
    --path=lfw/images --pairs=lfw/pairs.txt --targets=onnxruntime-qdq,openvino

Each target's file embeds every image and its mirror image, as evaluate does,
and the pairs are scored by the cosine. `tflite_ref` and `xnnpack` among the
targets are the evaluator under that contract. Then one image at a time is
embedded by all of them in turns; without pairs that is all.
"""

import dataclasses
import pathlib
import statistics
import tempfile

import jax
import numpy as np
from absl import flags

from benchmarks import timing
from faceqat import command
from faceqat.calibration.lower import lower
from faceqat.data.benchmarks.pair_lists import read_list
from faceqat.evaluators import verification
from faceqat.export import targets
from faceqat.export.formats import make_run
from faceqat.export.targets.target import Predict, choose_contract
from faceqat.identification import own_faces
from faceqat.integer import program as integer_program
from faceqat.integer.program import CONTRACTS, IntegerProgram
from faceqat.report.table import Table

_FIGURES = {'accuracy': 'accuracy %', 'eer': 'EER %'}


def read_program(model: str) -> IntegerProgram:
  """The program of a file, or of the last step of a run."""
  if pathlib.Path(model).is_dir():
    return lower(own_faces.load_network(model, 'latest', None))
  return integer_program.load(model)


def make_predict(
  program: IntegerProgram, name: str, folder: pathlib.Path
) -> Predict:
  """Writes the file of a target, and loads it; or the evaluator of a contract.

  Args:
    program: of any contract.
    name: of a target or a contract.
    folder: for the files.
  """
  if name in CONTRACTS:
    run = make_run(dataclasses.replace(program, contract=name))
    return lambda images: run(images)[program.output]
  target = targets.find(name)
  if target.run is None:
    raise ValueError(f'--targets={name}: {target.not_run}')
  contract = choose_contract(name, target, None)
  program = dataclasses.replace(program, contract=contract)
  for file, content in target.write(program, None).items():
    (folder / file).write_bytes(content)
  return target.run(program, folder)


def accuracies(predicts, pair_set, batch_size: int, zero_point: int) -> Table:
  """LFW's figures of each, from embeddings of images and mirror images."""
  rows = []
  for name, predict in predicts.items():
    found = dict(
      verification.evaluate(
        lambda images, predict=predict: np.int32(predict(images)) - zero_point,
        pair_set,
        batch_size=batch_size,
      )
    )
    rows.append([name, *(f'{100 * found[x]:.2f}' for x in _FIGURES)])
    print(*rows[-1], flush=True)
  return Table(['file', *_FIGURES.values()], rows)


def main():
  args = flags.FLAGS
  timing.limit_threads(args.threads)
  program = read_program(args.model)
  image = program.tensors[program.input]
  with tempfile.TemporaryDirectory() as folder:
    predicts = {}
    for name in args.targets:
      place = pathlib.Path(folder, name)
      place.mkdir()
      predicts[name] = make_predict(program, name, place)
    if args.pairs:
      pair_set = read_list(
        args.path, args.pairs, image.shape[:2], args.stored_size
      )
      zero_point = program.tensors[program.output].zero_point
      print(accuracies(predicts, pair_set, args.batch_size, zero_point))
    pixels = np.random.default_rng(0).integers(
      0, 256, (1, *image.shape), np.uint8
    )
    seconds = timing.interleave(
      {
        name: lambda predict=predict: jax.block_until_ready(predict(pixels))
        for name, predict in predicts.items()
      },
      args.rounds,
    )
  rows = [
    [name, f'{1e3 * statistics.median(one):.2f}', f'{1e3 * min(one):.2f}']
    for name, one in seconds.items()
  ]
  titles = [f'file, {args.threads} threads', 'ms/image, median', 'least']
  print(Table(titles, rows))


if __name__ == '__main__':
  flags.DEFINE_string('model', None, 'Training run folder, or program file.')
  flags.DEFINE_string('path', None, 'Folder of images, one of each person.')
  flags.DEFINE_string('pairs', None, 'The list of pairs, pairs.txt.')
  flags.DEFINE_integer(
    'stored_size', 0, 'Of the images, resized then; 0: as the network takes.'
  )
  flags.DEFINE_list('targets', None, 'To compare.')
  flags.DEFINE_integer('batch_size', 32, 'Images.', lower_bound=1)
  timing.define_flags(rounds=40)
  flags.mark_flags_as_required(['model', 'targets'])
  command.run(main)
