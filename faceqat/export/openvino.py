"""Runs ONNX files in OpenVINO, on the processor."""

import pathlib
from collections.abc import Callable

import numpy as np

from faceqat.export import extras


def make_runner(
  path: pathlib.Path, *, threads: int = 1
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
  """Loads an ONNX file.

  Args:
    path: of the file.
    threads: processors to use.

  Returns:
    A function from images, as the file takes them, to a dict from output name
    to array [B, ...].

  Raises:
    ImportError: OpenVINO is not installed.
    ValueError: OpenVINO does not take the file.
  """
  try:
    import openvino
  except ImportError as error:
    raise ImportError(
      f'OpenVINO is not installed: {extras.how_to_install("openvino")}'
    ) from error
  core = openvino.Core()
  settings = {
    'INFERENCE_NUM_THREADS': threads,
    'PERFORMANCE_HINT': 'LATENCY',
  }
  try:
    model = core.compile_model(core.read_model(path), 'CPU', settings)
  except RuntimeError as error:
    raise ValueError(
      f'OpenVINO {openvino.__version__} does not take {path}: {error}'
    ) from error

  def run(images):
    results = model([images])
    return {one.get_any_name(): results[one] for one in model.outputs}

  return run
