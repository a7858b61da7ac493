"""Runs TFLite files in LiteRT.js, the LiteRT of browsers, by Node.js.

Its kernels are XNNPACK's and LiteRT's own, compiled to WebAssembly, as in a
browser without WebGPU.
"""

import pathlib
from collections.abc import Callable

import numpy as np

from faceqat.export import node_runner

_SCRIPT = pathlib.Path(__file__).with_name('litert_js.mjs')


def make_runner(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """Loads a TFLite file with a batch of 1 and a uint8 output.

  Args:
    path: of the file.

  Returns:
    A function from uint8 images [B, H, W, 3] to uint8 [B, D].

  Raises:
    ImportError, ValueError: as `node_runner.make_runner`.
  """
  return node_runner.make_runner(
    _SCRIPT,
    [str(path)],
    _embedding_size(path),
    runtime='LiteRT.js',
    package='@litertjs/core',
  )


def _embedding_size(path: pathlib.Path) -> int:
  from faceqat.export import tflite_builder

  ((size,),) = tflite_builder.read_metadata(path.read_bytes())[
    'shapes'
  ].values()
  return size
