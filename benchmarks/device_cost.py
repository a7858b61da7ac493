"""Measures what a program costs to run: bytes, milliseconds, memory.

  python -m benchmarks.device_cost --model=sface_int8

Exports the program of a run, or of a packaged network, and runs each file in a
process of its own, on one image at a time: in LiteRT with XNNPACK, in ONNX
Runtime, and in TFLM, the runtime of microcontrollers, where tflite-micro is
installed (pip install -r requirements-benchmarks.txt). Needs Linux.
"""

import dataclasses
import importlib.util
import json
import pathlib
import tempfile
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks import running, timing
from faceqat import command
from faceqat.calibration.lower import lower
from faceqat.data.example_images import load_example_images
from faceqat.evaluators import exactness
from faceqat.export.formats import FORMATS, make_run
from faceqat.integer.program import IntegerProgram
from faceqat.report.table import Table
from faceqat.training.checkpoint import load_network


class Runtime(NamedTuple):
  """What to run: `one_runtime`'s name, a format, and the contract it keeps."""

  name: str
  format: str
  contract: str


RUNTIMES = {
  'LiteRT, XNNPACK': Runtime('litert', 'tflite', 'xnnpack'),
  'ONNX Runtime': Runtime('onnx_runtime', 'onnx', 'tflite_ref'),
  # Keeps no contract.
  'ONNX Runtime, QDQ': Runtime('onnx_runtime', 'onnx_qdq', 'tflite_ref'),
  'TFLM': Runtime('tflm', 'tflite', 'tflite_ref'),
}
_TITLES = ('runtime', 'file', 'bytes', 'ms/image', 'memory KiB', 'differing')
_NOTES = (
  'Memory: by how much resident memory grows at its peak, from when the file',
  "is read until it has run on all images; of TFLM, the arena's bytes in use,",
  'which are all but the file, the code and the stack.',
  'Differing: outputs that are not those of the program under the contract',
  'that the runtime follows. The QDQ file follows none.',
  "TFLM is not timed: on this processor its kernels tell no device's time.",
)


def measure(
  program: IntegerProgram, images: np.ndarray, threads: int, rounds: int
) -> Table:
  """One runtime a row.

  Args:
    program: its contract is replaced by that of each runtime.
    images: [B, H, W, 3] uint8, to run on one at a time.
    threads: of each runtime.
    rounds: over all images, timed.
  """
  programs = {
    one.contract: dataclasses.replace(program, contract=one.contract)
    for one in RUNTIMES.values()
  }
  expected = {
    contract: make_run(one)(images)[one.output]
    for contract, one in programs.items()
  }
  rows, notes = [], [*_NOTES]
  with tempfile.TemporaryDirectory() as folder:
    np.save(pathlib.Path(folder, 'images.npy'), images)
    for title, one in RUNTIMES.items():
      form = FORMATS[one.format]
      path = pathlib.Path(folder, form.file)
      path.write_bytes(form.to_bytes(programs[one.contract]))
      figures = _run(one.name, path, threads, rounds)
      cells = ['-', '-', '-']
      if 'reason' in figures:
        notes.append(f'{title} is not measured: {figures["reason"]}')
      else:
        outputs = np.load(path.with_name('outputs.npy'))
        cells = _cells(figures, expected[one.contract], outputs)
      rows.append([title, form.file, f'{path.stat().st_size:,}', *cells])
  return Table(_TITLES, rows, notes)


def _run(name: str, path: pathlib.Path, threads: int, rounds: int) -> dict:
  """What `one_runtime` prints, or the 'reason' why it cannot run."""
  if name == 'tflm' and not importlib.util.find_spec('tflite_micro'):
    return {'reason': 'tflite-micro is not installed'}
  arguments = (name, path, path.parent, threads, rounds)
  printed = running.run_module('benchmarks.one_runtime', *map(str, arguments))
  return json.loads(printed)


def _cells(figures: dict, expected: np.ndarray, outputs: np.ndarray):
  compared = exactness.compare_integers(expected, outputs)
  milliseconds = figures.get('milliseconds')
  return [
    '-' if milliseconds is None else f'{milliseconds:.2f}',
    f'{figures["memory"] / 1024:,.0f}',
    f'{compared.differing:,} of {compared.outputs:,}',
  ]


def main():
  args = flags.FLAGS
  if not pathlib.Path('/proc/self/clear_refs').exists():
    raise ValueError(
      'the memory of a process is read from /proc/self, which this system does '
      'not have; run benchmarks.device_cost on Linux'
    )
  # The processes that it starts are kept to them too.
  timing.limit_threads(args.threads)
  network = load_network(args.model)
  images = load_example_images(network.config, args.images, args.num_images)
  table = measure(lower(network), images, args.threads, args.rounds)
  print(f'{args.model}, {args.threads} threads, {len(images)} images')
  print(table)


if __name__ == '__main__':
  timing.define_flags(rounds=21)
  flags.DEFINE_string(
    'model', None, 'Folder of a training run, or a packaged network.'
  )
  flags.DEFINE_string(
    'images', None, "Folder of images to run on; or the run's evaluation set."
  )
  flags.DEFINE_integer('num_images', 8, 'Of them, at most.', lower_bound=1)
  flags.mark_flags_as_required(['model'])
  command.run(main)
