"""Runs an exported file in one runtime, in a process that runs nothing else.

`device_cost` starts it, with a runtime, the file, a folder with `images.npy`,
threads and rounds. It prints a JSON object, and writes `outputs.npy` there.
"""

import importlib
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile
from collections.abc import Callable

import numpy as np

from benchmarks import timing
from faceqat.export import litert, onnx_runtime

# Imported before memory is measured: code is not counted.
_LIBRARIES = {
  'litert': ('ai_edge_litert.interpreter', 'faceqat.export.tflite_builder'),
  'onnx_runtime': ('onnxruntime',),
}
# Far above what any network here takes; the recorder says what it does take.
_TFLM_ARENA = 1 << 27


def measure(
  runtime: str, content: bytes, images: np.ndarray, threads: int, rounds: int
) -> tuple[dict, np.ndarray]:
  """Runs a file on one image at a time.

  Args:
    runtime: 'litert', 'onnx_runtime' or 'tflm'.
    content: of the file.
    images: [B, H, W, 3] uint8.
    threads: of the runtime; TFLM has one.
    rounds: over all images, timed.

  Returns:
    'memory', the bytes that resident memory grows by at its peak, from when
    the file is read until it has run on all images, or TFLM's arena; and
    'milliseconds' an image, the median over rounds, which TFLM does not have.
    And the int8 outputs [B, D].

  Raises:
    ValueError, RuntimeError: the runtime does not take the file.
  """
  if runtime == 'tflm':
    return _measure_tflm(content, images)
  for library in _LIBRARIES[runtime]:
    importlib.import_module(library)
  start = _reset_peak()
  run = (
    litert.make_runner(content, 'xnnpack', threads=threads)
    if runtime == 'litert'
    else onnx_runtime.make_runner(content, threads=threads)
  )

  def run_each():
    return [
      next(iter(run(images[i : i + 1]).values())) for i in range(len(images))
    ]

  outputs = run_each()
  memory = _peak() - start
  (seconds,) = timing.interleave({runtime: run_each}, rounds).values()
  milliseconds = 1e3 * statistics.median(seconds) / len(images)
  figures = {'memory': memory, 'milliseconds': milliseconds}
  return figures, np.concatenate(outputs)


def _measure_tflm(content: bytes, images: np.ndarray):
  """TFLM's kernels on this processor tell no device's time."""
  from tflite_micro import runtime

  interpreter = runtime.Interpreter.from_bytes(content, arena_size=_TFLM_ARENA)
  outputs = []
  for i in range(len(images)):
    interpreter.set_input(images[i : i + 1], 0)
    interpreter.invoke()
    outputs.append(interpreter.get_output(0).reshape(1, -1))
  allocations = _printed_by(interpreter.print_allocations)
  memory = re.search(r'Arena allocation total (\d+)', allocations)[1]
  return {'memory': int(memory)}, np.concatenate(outputs)


def _printed_by(function: Callable[[], None]) -> str:
  """What a library's own code writes to the stream of errors."""
  kept = os.dup(2)
  with tempfile.TemporaryFile() as file:
    os.dup2(file.fileno(), 2)
    try:
      function()
    finally:
      os.dup2(kept, 2)
      os.close(kept)
    file.seek(0)
    return file.read().decode()


def _reset_peak() -> int:
  """Sets the peak of resident memory to what is resident now: in bytes."""
  pathlib.Path('/proc/self/clear_refs').write_text('5')
  return _peak()


def _peak() -> int:
  status = pathlib.Path('/proc/self/status').read_text()
  return 1024 * int(re.search(r'VmHWM:\s+(\d+) kB', status)[1])


def main(runtime: str, file: str, folder: str, threads: str, rounds: str):
  content = pathlib.Path(file).read_bytes()
  images = np.load(pathlib.Path(folder, 'images.npy'))
  try:
    figures, outputs = measure(
      runtime, content, images, int(threads), int(rounds)
    )
    np.save(pathlib.Path(folder, 'outputs.npy'), outputs)
  except (ValueError, RuntimeError) as error:
    figures = {'reason': str(error)}
  print(json.dumps(figures))


if __name__ == '__main__':
  main(*sys.argv[1:])
