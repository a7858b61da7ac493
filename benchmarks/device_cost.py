"""Measures what a program costs to run: bytes, milliseconds, memory.

  python -m benchmarks.device_cost --model=sface_int8

Exports the program of a run, or of a packaged network, and runs each file in a
process of its own, on one image at a time: in LiteRT with XNNPACK, in ONNX
Runtime, and in TFLM, the runtime of microcontrollers, where it is installed
(pip install faceqat[tflm]). Needs Linux.
"""

import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Sequence
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
_NOTES = (
  'Of each time, the fastest round: other work on a machine only adds to it.',
  'Memory: by how much resident memory grows at its peak, from when the file',
  "is read until it has run on all images; of TFLM, the arena's bytes in use,",
  'which are all but the file, the code and the stack.',
  'Differing: outputs that are not those of the program under the contract',
  'that the runtime follows. The QDQ file follows none.',
  "TFLM is not timed: on this processor its kernels tell no device's time.",
)


def measure(
  program: IntegerProgram,
  images: np.ndarray,
  threads: Sequence[int],
  rounds: int,
) -> Table:
  """One runtime a row.

  Args:
    program: its contract is replaced by that of each runtime.
    images: [B, H, W, 3] uint8, to run on one at a time.
    threads: of each runtime, one number after the other.
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
      # One after the other, so that what else runs here disturbs them alike.
      figures = [_run(one.name, path, count, rounds) for count in threads]
      cells = ['-'] * (len(threads) + 2)
      if 'reason' in figures[0]:
        notes.append(f'{title} is not measured: {figures[0]["reason"]}')
      else:
        outputs = np.load(path.with_name('outputs.npy'))
        cells = _cells(figures, expected[one.contract], outputs)
      rows.append([title, form.file, f'{path.stat().st_size:,}', *cells])
  times = [f'ms, {n} thread{"s" if n > 1 else ""}' for n in threads]
  titles = ['runtime', 'file', 'bytes', *times, 'memory KiB', 'differing']
  return Table(titles, rows, notes)


def _run(name: str, path: pathlib.Path, threads: int, rounds: int) -> dict:
  """What `one_runtime` prints, or the 'reason' why it cannot run."""
  arguments = (name, path, path.parent, threads, rounds)
  printed = running.run_module('benchmarks.one_runtime', *map(str, arguments))
  return json.loads(printed)


def _cells(figures: list[dict], expected: np.ndarray, outputs: np.ndarray):
  compared = exactness.compare_integers(expected, outputs)
  times = [each.get('milliseconds') for each in figures]
  return [
    *('-' if time is None else f'{time:.2f}' for time in times),
    f'{figures[-1]["memory"] / 1024:,.0f}',
    f'{compared.differing:,} of {compared.outputs:,}',
  ]


def _numbers(texts: Sequence[str]) -> list[int]:
  wrong = [text for text in texts if not text.isdecimal() or int(text) < 1]
  if wrong or not texts:
    raise ValueError(
      f'--threads={",".join(texts)} has to be numbers of threads, such as 1,2'
    )
  return [int(text) for text in texts]


def main():
  args = flags.FLAGS
  if not pathlib.Path('/proc/self/clear_refs').exists():
    raise ValueError(
      'the memory of a process is read from /proc/self, which this system does '
      'not have; run benchmarks.device_cost on Linux'
    )
  threads = _numbers(args.threads)
  # The processes that it starts are kept to them too.
  timing.limit_threads(max(threads))
  network = load_network(args.model)
  images = load_example_images(network.config, args.images, args.num_images)
  table = measure(lower(network), images, threads, args.rounds)
  print(f'{args.model}, {len(images)} images')
  print(table)


if __name__ == '__main__':
  flags.DEFINE_integer('rounds', 21, 'Timed passes.', lower_bound=1)
  flags.DEFINE_list('threads', ['1', '2'], 'Of a runtime, one after the other.')
  flags.DEFINE_string(
    'model', None, 'Folder of a training run, or a packaged network.'
  )
  flags.DEFINE_string(
    'images', None, "Folder of images to run on; or the run's evaluation set."
  )
  flags.DEFINE_integer('num_images', 8, 'Of them, at most.', lower_bound=1)
  flags.mark_flags_as_required(['model'])
  command.run(main)
