"""Runs an exported file in one runtime, in a process that runs nothing else.

`device_cost` starts it, with a runtime, the file, a folder with `images.npy`,
threads and rounds. It prints a JSON object, and writes `outputs.npy` there.
"""

import importlib
import json
import pathlib
import re
import sys

import numpy as np

from benchmarks import timing
from faceqat.export import litert, onnx_runtime, tflm

# Imported before memory is measured: code is not counted.
_LIBRARIES = {
  'litert': ('ai_edge_litert.interpreter', 'faceqat.export.tflite_builder'),
  'onnx_runtime': ('onnxruntime',),
}


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
    'milliseconds' an image, in the fastest round, which TFLM does not have.
    And the int8 outputs [B, D].

  Raises:
    ImportError: the runtime is not installed.
    ValueError: it does not take the file.
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
  # Other work on the machine only adds to it.
  milliseconds = 1e3 * min(seconds) / len(images)
  figures = {'memory': memory, 'milliseconds': milliseconds}
  return figures, np.concatenate(outputs)


def _measure_tflm(content: bytes, images: np.ndarray):
  """TFLM's kernels on this processor tell no device's time."""
  (outputs,) = tflm.make_runner(content)(images).values()
  return {'memory': tflm.arena_bytes(content)}, outputs


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
  except (ValueError, ImportError) as error:
    figures = {'reason': str(error)}
  print(json.dumps(figures))


if __name__ == '__main__':
  main(*sys.argv[1:])
