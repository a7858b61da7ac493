"""Reads the pickle inside InsightFace's `.bin` files without running it.

Every name that the format needs stands for a function of this module, which
checks its arguments and makes plain bytes, bools and ints; any other name is an
error (see restricted_pickle.py). No NumPy function is called on the file's
behalf. Files in circulation come from Python 2 and 3 and NumPy 1 and 2, with
the images as bytes or as uint8 arrays: hence the list of names.
"""

import io
import math
from typing import Any

import numpy as np

from faceqat.files.restricted_pickle import (
  Function,
  Machine,
  NotAllowedError,
  damaged,
  kind_of,
  shown,
)

# Images are uint8; flags are 0 and 1 of whatever type somebody had.
_TYPES = ('b1', 'u1', 'i1', 'u2', 'i2', 'u4', 'i4', 'u8', 'i8', 'f4', 'f8')
# NumPy's own limits.
_MAX_DIMENSIONS, _MAX_SIZE = 64, 2**63 - 1


def read_bin_entries(path: str) -> tuple[list[bytes], np.ndarray]:
  """Reads (encoded images, same) from a verification file.

  Args:
    path: the file, a pickle of two sequences: 2P encoded images, each bytes or
      a one-dimensional uint8 array, and P flags.

  Returns:
    The 2P encoded images, and bool [P].

  Raises:
    ValueError: no such file, truncated, not of this form, or naming anything
      that the format does not need.
  """
  try:
    with open(path, 'rb') as file:
      data = file.read()
  except FileNotFoundError:
    raise ValueError(f'There is no verification file {path}') from None
  try:
    content = _ArrayMachine().run(io.BytesIO(data))
  except NotAllowedError as error:
    raise ValueError(
      f'{path} is not a plain verification file and was not run: {error}; '
      'use a file of (images, same) from a source you trust'
    ) from error
  # A damaged program fails in as many ways as there are instructions.
  except Exception as error:
    raise ValueError(
      f'{path} is damaged, truncated or no pickle '
      f'({type(error).__name__}: {error}): get it again'
    ) from error
  return _check(content, path)


def _check(content: Any, path: str) -> tuple[list[bytes], np.ndarray]:
  if not isinstance(content, tuple | list) or len(content) != 2:
    raise ValueError(
      f'{path} is no verification file: wanted two sequences, images and '
      f'same, got {_describe(content)}'
    )
  entries, same = map(_as_list, content)
  if not isinstance(entries, list) or not isinstance(same, list):
    raise ValueError(
      f'{path} is no verification file: wanted a sequence of images and one '
      f'of flags, got {_describe(entries)} and {_describe(same)}'
    )
  if len(entries) != 2 * len(same):
    raise ValueError(
      f'{path} has {len(entries)} images for {len(same)} pairs, wanted '
      f'{2 * len(same)}: get the file again'
    )
  images = [e.data if _is_uint8_row(e) else e for e in entries]
  for index, (entry, image) in enumerate(zip(entries, images)):
    if not isinstance(image, bytes):
      raise ValueError(
        f'{path}: image {index} is {_describe(entry)}, wanted bytes or a '
        'one-dimensional uint8 array'
      )
  for index, flag in enumerate(same):
    # 0 and 1 are found in place of False and True, also with a point.
    if not isinstance(flag, int | float) or flag not in (0, 1):
      raise ValueError(
        f'{path}: flag {index} is {_describe(flag)}, wanted True or False'
      )
  return images, np.array(same, bool)


def _as_list(value: Any) -> Any:
  if isinstance(value, _Array) and len(value.shape) == 1:
    return value.numbers()
  return list(value) if isinstance(value, tuple) else value


def _is_uint8_row(value: Any) -> bool:
  return (
    isinstance(value, _Array) and value.code == 'u1' and len(value.shape) == 1
  )


def _describe(value: Any) -> str:
  if isinstance(value, list | tuple | bytes | str):
    return f'{kind_of(value)} of length {len(value)}'
  if isinstance(value, _Array):
    return f'an array {value.code}{list(value.shape)}'
  return kind_of(value).lower()


class _Dtype:
  """The type of an array of flags or numbers; nothing else is allowed."""

  def __init__(self, code: Any, *_):
    text = code.decode() if isinstance(code, bytes) else code
    if not isinstance(text, str) or text not in _TYPES:
      raise NotAllowedError(f'it has an array of type {shown(code)}')
    self.code, self.order = text, '<'

  def set_order(self, state: Any):
    if not isinstance(state, tuple) or len(state) < 2:
      raise damaged('has a type of an array without its byte order')
    self.order = '>' if state[1] in ('>', b'>') else '<'


class _Array:
  """An array of the pickle: its shape, type and bytes."""

  code, order, shape, data = '', '<', (), b''

  def fill(self, shape: Any, dtype: Any, data: Any):
    if not isinstance(shape, tuple) or not isinstance(dtype, _Dtype):
      raise damaged('has an array without a shape or type')
    # The product of a million large numbers has a million digits.
    if len(shape) > _MAX_DIMENSIONS or not all(
      isinstance(n, int) and 0 <= n <= _MAX_SIZE for n in shape
    ):
      raise damaged('has an array of a shape that NumPy does not know')
    if not isinstance(data, bytes):
      raise damaged(f'has {kind_of(data)} in place of bytes')
    if math.prod(shape) * int(dtype.code[1:]) != len(data):
      raise damaged(
        f'has {len(data)} bytes for an array {dtype.code}{list(shape)}'
      )
    self.code, self.order, self.shape = dtype.code, dtype.order, shape
    self.data = data

  def numbers(self) -> list:
    """The elements as Python's bools, ints or floats."""
    return np.frombuffer(self.data, self.order + self.code).tolist()


def _empty_array(*_) -> _Array:
  return _Array()


def _array_from_buffer(data, dtype, shape, _) -> _Array:
  array = _Array()
  array.fill(shape, dtype, data)
  return array


def _scalar(dtype, data) -> bool | int | float:
  return _array_from_buffer(data, dtype, (1,), 'C').numbers()[0]


def _encode(text: str, encoding: str | bytes = 'latin1') -> bytes:
  """Makes bytes, which Python 3 writes so in protocol 2."""
  if encoding not in ('latin1', b'latin1'):
    raise NotAllowedError(f'it asks for the encoding {shown(encoding)}')
  if not isinstance(text, str):
    raise damaged(f'has {kind_of(text)} in place of text')
  return text.encode('latin1')


def _no_call(*_):
  raise NotAllowedError('it makes an array in an unknown way')


# NumPy 2 renamed numpy.core to numpy._core.
_NAMES = {
  ('_codecs', 'encode'): Function(_encode),
  ('numpy', 'ndarray'): Function(_no_call),
  ('numpy', 'dtype'): Function(_Dtype),
  **{
    (f'numpy.{core}.{module}', name): Function(function)
    for core in ('core', '_core')
    for module, name, function in (
      ('multiarray', '_reconstruct', _empty_array),
      ('multiarray', 'scalar', _scalar),
      ('numeric', '_frombuffer', _array_from_buffer),
    )
  },
}


class _ArrayMachine(Machine):
  """Sets the attributes of arrays and types as NumPy does."""

  def __init__(self):
    # Python 2 wrote bytes as its strings.
    super().__init__(_NAMES, python2_strings=bytes)

  def set_state(self, target: Any, state: Any):
    if isinstance(target, _Array):
      # A version number stands first since NumPy 1.0.
      shape, dtype, _, data = state[-4:]
      target.fill(shape, dtype, data)
    elif isinstance(target, _Dtype):
      target.set_order(state)
    else:
      super().set_state(target, state)
