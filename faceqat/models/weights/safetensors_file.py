"""Reads the weights in a safetensors file, by name."""

import math
import os

import numpy as np
import safetensors

from faceqat.integer import program_file
from faceqat.models.weights import weight_formats

_TYPES = {
  'F64': 'f8',
  'F32': 'f4',
  'F16': 'f2',
  'I64': 'i8',
  'I32': 'i4',
  'I16': 'i2',
  'I8': 'i1',
  'U8': 'u1',
  'BOOL': 'u1',
}
# Elements of an array; NumPy's own limit is in bytes.
_MAX_SIZE = 2**59


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads the tensors of a file.

  Returns:
    Read-only arrays by name, in the file's types; bfloat16 becomes float32.

  Raises:
    ValueError: names the file, and the tensor if it is its fault. It cannot be
      opened, is damaged or cut short, or has a type that weights do not have.
  """
  path = os.fspath(path)
  content = weight_formats.read_bytes(path, 'weight file')
  if program_file.is_program(content):
    raise ValueError(
      f'{path} is an integer program of faceqat, which cannot be trained on: '
      'give the folder of the run that it was lowered from'
    )
  try:
    # It checks every offset before it reads.
    tensors = safetensors.deserialize(content)
  except safetensors.SafetensorError as error:
    raise ValueError(
      f'{path} is damaged, cut short or no safetensors file ({error}): get it '
      'again'
    ) from error
  return {name: _to_array(name, tensor, path) for name, tensor in tensors}


def _to_array(name: str, tensor: dict, path: str) -> np.ndarray:
  kind, shape, data = (tensor[key] for key in ('dtype', 'shape', 'data'))
  # Where one side is 0, the others may be larger than NumPy allows.
  if not data and math.prod(side for side in shape if side) > _MAX_SIZE:
    raise ValueError(
      f'{path}: tensor {name!r} has shape {shape}, which no array has: get it '
      'again'
    )
  if kind == 'BF16':
    upper_half = np.frombuffer(data, '<u2').astype(np.uint32)
    return (upper_half << 16).view(np.float32).reshape(shape)
  if kind not in _TYPES:
    raise ValueError(
      f'{path}: tensor {name!r} has the type {kind}, wanted one of '
      f'{", ".join(sorted([*_TYPES, "BF16"]))}: save it again in float32'
    )
  return np.frombuffer(data, f'<{_TYPES[kind]}').reshape(shape)
