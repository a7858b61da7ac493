"""Reads MXNet's `.params` files without MXNet.

The layout is that of `NDArray::Load` in MXNet's src/ndarray/ndarray.cc: arrays,
then their names; little endian. An array starts with its version, or, before
there were versions, with its count of dimensions.
"""

import math
import os
import struct

import numpy as np

from faceqat.models.weights import weight_formats

_LIST_MAGIC = 0x112
# V1 has dimensions of 64 bits, V2 the kind of storage before them, V3 arrays
# without dimensions, which are single numbers.
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DENSE = 0
_DTYPES = ('<f4', '<f8', '<f2', 'u1', '<i4', 'i1', '<i8')
_MAX_DIMENSIONS = 32


def read_params(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads all tensors of a file.

  Args:
    path: written by `mx.model.save_checkpoint` or `mx.nd.save`.

  Returns:
    Read-only arrays by name, in the order of the file. A checkpoint's names
    begin with 'arg:' or, for moving statistics, 'aux:'.

  Raises:
    ValueError: names the file. It cannot be opened, has another format, is cut
      short or damaged, or has a sparse or unnamed tensor.
  """
  name = os.fspath(path)
  content = _Content(name, weight_formats.read_bytes(name, 'weight file'))
  start = content.data[:8]
  if len(start) < 8 or int.from_bytes(start, 'little') != _LIST_MAGIC:
    raise ValueError(
      f'{name} is no MXNet .params file: it starts with '
      f'{start.hex(" ") or "nothing"}, wanted '
      f'{_LIST_MAGIC.to_bytes(8, "little").hex(" ")}. Give the file that '
      'MXNet saved'
    )
  content.take('QQ', 'the header')
  (count,) = content.take('Q', 'the number of tensors')
  tensors = [
    _read_tensor(content, f'tensor {index} of {count}')
    for index in range(count)
  ]
  names = _read_names(content)
  if len(set(names)) != count or len(names) != count:
    raise ValueError(
      f'{name} has {count} tensors and {len(set(names))} different names; '
      'wanted a name for each. Save it as a dict of tensors'
    )
  if content.position != len(content.data):
    raise content.damaged(
      f'{len(content.data) - content.position} bytes follow the last name'
    )
  return dict(zip(names, tensors))


class _Content:
  """The bytes of a file, read from the start to the end."""

  def __init__(self, name: str, data: bytes):
    self.name, self.data, self.position = name, data, 0

  def take(self, form: str, what: str) -> tuple:
    return struct.unpack(
      '<' + form, self.take_bytes(struct.calcsize(form), what)
    )

  def take_bytes(self, size: int, what: str) -> bytes:
    start, self.position = self.position, self.position + size
    if self.position > len(self.data):
      raise ValueError(
        f'{self.name} is cut short: it has {len(self.data)} bytes, {what} '
        f'ends at {self.position}. Copy it again'
      )
    return self.data[start : self.position]

  def damaged(self, reason: str) -> ValueError:
    return ValueError(f'{self.name} is damaged: {reason}. Copy it again')


def _read_tensor(content: _Content, what: str) -> np.ndarray:
  (version,) = content.take('I', what)
  if version in (_V2, _V3):
    (storage,) = content.take('i', what)
    if storage != _DENSE:
      raise ValueError(
        f'{content.name}: {what} is sparse (storage type {storage}), wanted '
        'dense: convert it with tostype("default") and save again'
      )
  versioned = version in (_V1, _V2, _V3)
  dimensions = content.take('i', what)[0] if versioned else version
  least = 0 if version == _V3 else 1
  if not least <= dimensions <= _MAX_DIMENSIONS:
    raise content.damaged(f'{what} has {dimensions} dimensions')
  shape = content.take(f'{dimensions}{"q" if versioned else "I"}', what)
  # The type and number of the device that the array was on.
  content.take('ii', what)
  (dtype,) = content.take('i', what)
  if min(shape, default=0) < 0 or not 0 <= dtype < len(_DTYPES):
    raise content.damaged(f'{what} has shape {list(shape)}, type {dtype}')
  dtype = np.dtype(_DTYPES[dtype])
  data = content.take_bytes(math.prod(shape) * dtype.itemsize, what)
  # Where one side is 0, the others may be larger than NumPy allows.
  if math.prod(side for side in shape if side) > len(content.data):
    raise content.damaged(f'{what} has shape {list(shape)}')
  return np.frombuffer(data, dtype).reshape(shape)


def _read_names(content: _Content) -> list[str]:
  (count,) = content.take('Q', 'the number of names')
  names = []
  for index in range(count):
    what = f'name {index} of {count}'
    (size,) = content.take('Q', what)
    try:
      names.append(content.take_bytes(size, what).decode())
    except UnicodeDecodeError:
      raise content.damaged(f'{what} is not UTF-8') from None
  return names
