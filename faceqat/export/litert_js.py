"""Runs TFLite files in LiteRT.js, the LiteRT of browsers, by Node.js.

Its kernels are XNNPACK's and LiteRT's own, compiled to WebAssembly, as in a
browser without WebGPU.
"""

import json
import pathlib
import shutil
import subprocess
import weakref
from collections.abc import Callable

import numpy as np

_SCRIPT = pathlib.Path(__file__).with_name('litert_js.mjs')


def make_runner(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """Loads a TFLite file with a batch of 1 and a uint8 output.

  Args:
    path: of the file.

  Returns:
    A function from uint8 images [B, H, W, 3] to uint8 [B, D], which runs them
    one by one in a process of its own.

  Raises:
    ImportError: Node.js or LiteRT.js is not installed.
    ValueError: LiteRT.js does not take the file.
  """
  node = shutil.which('node')
  if node is None:
    raise ImportError(
      'LiteRT.js runs in Node.js here, which is not installed: put the program '
      'node into PATH'
    )
  process = subprocess.Popen(
    [node, str(_SCRIPT), str(path)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
  )
  answer = json.loads(process.stdout.readline() or '{"error": "it ended"}')
  if answer:
    _end(process)
  if 'missing' in answer:
    raise ImportError(
      'LiteRT.js is not installed: npm install @litertjs/core in the folder '
      'that you call this from, or name its node_modules in NODE_PATH'
    )
  if 'error' in answer:
    raise ValueError(f'LiteRT.js does not take the file: {answer["error"]}')
  size = _embedding_size(path)

  def run(images):
    results = []
    for image in images:
      process.stdin.write(image.tobytes())
      process.stdin.flush()
      results.append(np.frombuffer(process.stdout.read(size), np.uint8))
    return np.stack(results)

  weakref.finalize(run, _end, process)
  return run


def _end(process: subprocess.Popen):
  """Ends what reads until there is no more."""
  process.stdin.close()
  process.stdout.close()
  process.wait()


def _embedding_size(path: pathlib.Path) -> int:
  from faceqat.export import tflite_builder

  ((size,),) = tflite_builder.read_metadata(path.read_bytes())[
    'shapes'
  ].values()
  return size
