"""Converts float ONNX files for MNN, and runs them there."""

import importlib.util
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable

import numpy as np

from faceqat.export import extras

FILE = 'model.mnn'

# The converter itself: the command around it also sends what it did to its
# maker. In a process of its own, as it prints and may end the whole process.
_CONVERT = 'import sys, _tools; _tools.mnnconvert(sys.argv)'
_MISSING = f'MNN is not installed: {extras.how_to_install("mnn")}'


def convert(path: pathlib.Path) -> bytes:
  """MNN's file of a float ONNX file.

  Raises:
    ImportError: MNN is not installed.
    ValueError: it does not take the file.
  """
  if importlib.util.find_spec('MNN') is None:
    raise ImportError(_MISSING)
  with tempfile.TemporaryDirectory() as folder:
    made = pathlib.Path(folder) / FILE
    options = ['--modelFile', str(path), '--MNNModel', str(made)]
    result = subprocess.run(
      [sys.executable, '-c', _CONVERT, '-f', 'ONNX', *options],
      capture_output=True,
      text=True,
      check=False,
    )
    if result.returncode or not made.exists():
      lines = (result.stdout + result.stderr).strip().splitlines()
      raise ValueError(f'MNN does not take {path}: {" ".join(lines[-3:])}')
    return made.read_bytes()


def make_runner(
  path: pathlib.Path, input_name: str, output_name: str
) -> Callable[[np.ndarray], np.ndarray]:
  """Loads MNN's file.

  Args:
    path: of the file.
    input_name, output_name: of its tensors.

  Returns:
    A function from float32 [B, 3, H, W] to float32 [B, D], image by image.

  Raises:
    ImportError: MNN is not installed.
  """
  try:
    from MNN import expr, nn
  except ImportError as error:
    raise ImportError(_MISSING) from error
  module = nn.load_module_from_file(str(path), [input_name], [output_name])

  def run_one(image):
    shape = [1, *image.shape]
    pixels = expr.const(np.ascontiguousarray(image), shape, expr.NCHW)
    (embedding,) = module.forward([expr.convert(pixels, expr.NC4HW4)])
    return np.array(expr.convert(embedding, expr.NCHW).read()).reshape(-1)

  return lambda images: np.stack([run_one(image) for image in images])
