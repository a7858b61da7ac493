"""Reads files that were exported, to be run without their program."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from faceqat.export import digests
from faceqat.integer.program import CONTRACTS

_KINDS = ('int8', 'uint8', 'float32')
# How far real numbers may be from whole steps: they are rounded to float32.
_ROUNDING = 1e-3
# Height and width of the faces of a network, in pixels: far above any in use.
_MAX_SIZE = 4096


@dataclasses.dataclass(frozen=True)
class Exported:
  """A file that gives int8 embeddings.

  Attributes:
    run: from uint8 images [B, H, W, 3] to int8 embeddings [B, D].
    image_size: H and W.
    zero_point: of the embeddings.
    metadata: what the file says of itself.
    checked: whether it has a digest, which then is right.
  """

  run: Callable[[np.ndarray], np.ndarray]
  image_size: tuple[int, int]
  zero_point: int
  metadata: Mapping[str, Any]
  checked: bool


def read_tflite(path: pathlib.Path) -> Exported:
  """Reads a `.tflite` file.

  Raises:
    ValueError: names the file; it is damaged, or not of `faceqat.convert`.
    ImportError: LiteRT is not installed.
  """
  from faceqat.export import litert, tflite_builder

  content = path.read_bytes()
  try:
    checked = digests.check(content)
    # The runtime first: it looks through the file before anything reads it.
    litert.make_runner(content, CONTRACTS[0])
    metadata = tflite_builder.read_metadata(content)
    contract = metadata.get('contract')
    if contract not in CONTRACTS:
      raise ValueError(_FOREIGN)
    ends = tflite_builder.read_ends(content)
    if ends.output_kind not in _KINDS or not _is_size(ends.image_size):
      raise ValueError(_FOREIGN)
    run = litert.make_runner(content, contract, threads=threads())
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error

  def embed(images):
    if ends.input_kind == 'int8':
      images = (images ^ 128).view(np.int8)
    (embeddings,) = run(images).values()
    return to_integers(embeddings, ends.scale, zero_point)

  zero_point = ends.zero_point - (128 if ends.output_kind == 'uint8' else 0)
  return Exported(embed, ends.image_size, zero_point, metadata, checked)


def read_onnx(path: pathlib.Path) -> Exported:
  """Reads an `.onnx` file.

  Raises:
    ValueError: names the file; it is damaged, or not of `faceqat.convert`.
    ImportError: ONNX or its runtime is not installed.
  """
  import onnx

  from faceqat.export import onnx_runtime

  content = path.read_bytes()
  try:
    checked = digests.check(content)
    run = onnx_runtime.make_runner(content, threads=threads())
    # The runtime took it, so it has an input and an output.
    model = onnx.load_from_string(content)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    image = model.graph.input[0].type.tensor_type.shape.dim
    output = model.graph.output[0].type.tensor_type
    size = tuple(side.dim_value for side in image[1:-1])
    is_int8 = output.elem_type == onnx.TensorProto.INT8
    if 'contract' not in metadata or not is_int8 or not _is_size(size):
      raise ValueError(_FOREIGN)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error

  def embed(images):
    (embeddings,) = run(images).values()
    return embeddings

  # Embeddings are symmetric, and nothing in such a file says so.
  return Exported(embed, size, 0, metadata, checked)


def to_integers(
  embeddings: np.ndarray, scale: float, zero_point: int
) -> np.ndarray:
  """The program's integers in what a file gives, whatever it ends in.

  Args:
    embeddings: int8; uint8 `q + 128`; or real `(q - zero_point) * scale`.
    scale, zero_point: of the program's.

  Returns:
    int8.

  Raises:
    ValueError: real numbers that are no whole steps.
  """
  if embeddings.dtype == np.int8:
    return embeddings
  if embeddings.dtype == np.uint8:
    return (embeddings ^ 128).view(np.int8)
  steps = embeddings / scale
  whole = np.rint(steps)
  if np.abs(steps - whole).max() > _ROUNDING:
    raise ValueError(f'its embeddings are no multiples of their scale, {scale}')
  return (whole + zero_point).astype(np.int8)


def _is_size(size: tuple[int, ...]) -> bool:
  return len(size) == 2 and all(0 < side <= _MAX_SIZE for side in size)


def threads() -> int:
  """How many processors this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1


_FOREIGN = (
  'it was not written by faceqat.convert: it does not say whose rounding its '
  'int8 embeddings follow; export the network with python -m faceqat.convert'
)
