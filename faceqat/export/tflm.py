"""Runs TFLite files in TFLM, LiteRT's runtime for microcontrollers.

Its kernels are the reference kernels, so its integers are those of the contract
`tflite_ref`. On this processor they tell no device's time, but the arena, the
memory that it needs beside the file, the code and the stack, is that of any.
"""

import os
import re
import tempfile
from collections.abc import Callable

import numpy as np

from faceqat.export import extras

# Far above what any network here takes; the recorder says what it does take.
_ARENA = 1 << 27


def make_runner(content: bytes) -> Callable[..., dict[str, np.ndarray]]:
  """Loads a TFLite file that faceqat wrote.

  Args:
    content: of the file.

  Returns:
    A function from arrays [B, ...], one for each input in the file's order, to
    a dict from output tensor name to array [B, ...]. It runs them one by one.

  Raises:
    ImportError: TFLM is not installed.
    ValueError: TFLM does not take the file.
  """
  from faceqat.export import tflite_builder

  interpreter = _load(content)
  shapes = tflite_builder.read_metadata(content)['shapes']

  def run_one(arrays):
    for index, array in enumerate(arrays):
      shape = interpreter.get_input_details(index)['shape']
      interpreter.set_input(array.reshape(shape), index)
    interpreter.invoke()
    return [
      interpreter.get_output(index).reshape(shape)
      for index, shape in enumerate(shapes.values())
    ]

  def run(*arrays: np.ndarray) -> dict[str, np.ndarray]:
    results = [run_one(one) for one in zip(*arrays)]
    return dict(zip(shapes, map(np.stack, zip(*results))))

  return run


def arena_bytes(content: bytes) -> int:
  """The bytes of TFLM's arena that a file takes; raises as `make_runner`."""
  interpreter = _load(content)
  allocations = _printed_by(interpreter.print_allocations)
  return int(re.search(r'Arena allocation total (\d+)', allocations)[1])


def _load(content: bytes):
  try:
    from tflite_micro import runtime
  except ImportError as error:
    raise ImportError(
      'TFLM is not installed, which is there for Linux on x86-64: '
      f'{extras.how_to_install("tflm")}'
    ) from error
  try:
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=_ARENA)
  except RuntimeError as error:
    raise ValueError(f'TFLM does not take the file: {error}') from error
  # It reads the weights from there, and does not keep them alive itself.
  interpreter.content = content
  return interpreter


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
