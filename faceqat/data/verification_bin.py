"""The pickle inside InsightFace's `.bin` files, read without running it.

A pickle is a program: it may call any function that it can name. Here every
name that the format needs stands for a function of this module, which checks
what it is given and makes plain bytes, bools and ints; every other name is an
error. No NumPy function is ever called on the file's behalf.

The files in circulation come from Python 2 and 3 and NumPy 1 and 2, with the
images as bytes or as uint8 arrays: hence the list of names.
"""

import io
import pickle
import pickletools
from typing import Any

import numpy as np


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
    raise ValueError(f'There is no verification file {path}.') from None
  try:
    _check_instructions(data)
    # Python 2 wrote bytes as its str: 'bytes' leaves them as they are.
    content = _Unpickler(io.BytesIO(data), encoding='bytes').load()
  except _NotAllowedError as error:
    raise ValueError(
      f'{path} is not a plain verification file and was not run: {error}. '
      'Use a file of (images, same) from a source you trust.'
    ) from error
  # A damaged program fails in as many ways as there are instructions.
  except Exception as error:
    raise ValueError(
      f'{path} is damaged, truncated or no pickle '
      f'({type(error).__name__}: {error}): get it again.'
    ) from error
  return _check(content, path)


def _check(content: Any, path: str) -> tuple[list[bytes], np.ndarray]:
  if not isinstance(content, tuple | list) or len(content) != 2:
    raise ValueError(
      f'{path} is no verification file: wanted two sequences, images and '
      f'same, got {_describe(content)}.'
    )
  entries, same = map(_as_list, content)
  if not isinstance(entries, list) or not isinstance(same, list):
    raise ValueError(
      f'{path} is no verification file: wanted a sequence of images and one '
      f'of flags, got {_describe(entries)} and {_describe(same)}.'
    )
  if len(entries) != 2 * len(same):
    raise ValueError(
      f'{path} has {len(entries)} images for {len(same)} pairs, wanted '
      f'{2 * len(same)}: get the file again.'
    )
  images = []
  for index, entry in enumerate(entries):
    data = entry.data if isinstance(entry, _Array) else entry
    if isinstance(entry, _Array) and not entry.is_image:
      data = None
    if not isinstance(data, bytes | bytearray):
      raise ValueError(
        f'{path}: image {index} is {_describe(entry)}, wanted bytes or a '
        'one-dimensional uint8 array.'
      )
    images.append(bytes(data))
  for index, flag in enumerate(same):
    # 0 and 1 are found in place of False and True.
    if flag not in (0, 1) or not isinstance(flag, int):
      raise ValueError(
        f'{path}: flag {index} is {_describe(flag)}, wanted True or False.'
      )
  return images, np.array(same, bool)


def _as_list(value: Any) -> Any:
  if isinstance(value, tuple):
    return list(value)
  if isinstance(value, _Array) and len(value.shape) == 1 and value.code != 'u1':
    return value.numbers()
  return value


def _describe(value: Any) -> str:
  name = type(value).__name__.lstrip('_').lower()
  if isinstance(value, list | tuple | bytes | bytearray | str):
    return f'{name} of length {len(value)}'
  if isinstance(value, _Array):
    return f'an array {value.code}{list(value.shape)}'
  return name


class _NotAllowedError(Exception):
  """The pickle names something that no verification file needs."""


class _Array:
  """What the pickle says about one array: shape, type and bytes."""

  __slots__ = ('code', 'data', 'order', 'shape')

  def __setstate__(self, state):
    # NumPy's own order; a version number stands first since NumPy 1.0.
    shape, dtype, _, data = state[-4:]
    self.fill(shape, dtype, data)

  def fill(self, shape: tuple[int, ...], dtype: '_Dtype', data: Any):
    data = _to_bytes(data)
    count = 1
    for size in shape:
      count *= size
    if count * int(dtype.code[1:]) != len(data):
      raise pickle.UnpicklingError(
        f'{len(data)} bytes for an array {dtype.code}{list(shape)}'
      )
    self.code, self.order, self.shape = dtype.code, dtype.order, shape
    self.data = data

  @property
  def is_image(self) -> bool:
    return self.code == 'u1' and len(self.shape) == 1

  def numbers(self) -> list:
    """The elements as Python bools or ints."""
    return np.frombuffer(self.data, self.order + self.code).tolist()


class _Dtype:
  """An array's type: bytes, flags or whole numbers; nothing else is allowed."""

  __slots__ = ('code', 'order')

  def __init__(self, code: bytes | str, *_):
    code = code.decode() if isinstance(code, bytes) else code
    if code not in ('u1', 'b1', 'i4', 'i8'):
      raise _NotAllowedError(f'it has an array of type {code!r}')
    self.code, self.order = code, '<'

  def __setstate__(self, state):
    order = state[1].decode() if isinstance(state[1], bytes) else state[1]
    self.order = '>' if order == '>' else '<'


class _StandIn:
  """A name of the format: can be called, and nothing else."""

  __slots__ = ('_function',)

  def __init__(self, function):
    self._function = function

  def __call__(self, *args):
    return self._function(*args)

  def __setstate__(self, state):
    raise _NotAllowedError('it changes a function')


def _empty_array(*_) -> _Array:
  return _Array()


def _array_from_buffer(data, dtype: _Dtype, shape, _) -> _Array:
  array = _Array()
  array.fill(shape, dtype, data)
  return array


def _scalar(dtype: _Dtype, data) -> bool | int:
  array = _array_from_buffer(data, dtype, (1,), 'C')
  return array.numbers()[0]


def _encode(text: str, encoding: str | bytes = 'latin1') -> bytes:
  """How Python 3 writes bytes in protocol 2, which has none."""
  if encoding not in ('latin1', b'latin1'):
    raise _NotAllowedError(f'it asks for the encoding {encoding!r}')
  return _to_bytes(text)


def _to_bytes(data: Any) -> bytes:
  if isinstance(data, str):
    return data.encode('latin1')
  if isinstance(data, bytes | bytearray):
    return bytes(data)
  raise pickle.UnpicklingError(f'{type(data).__name__} in place of bytes')


def _no_call(*_):
  raise _NotAllowedError('it makes an array in an unknown way')


# NumPy 2 renamed numpy.core to numpy._core.
_ALLOWED = {
  ('_codecs', 'encode'): _StandIn(_encode),
  ('numpy', 'ndarray'): _StandIn(_no_call),
  ('numpy', 'dtype'): _StandIn(_Dtype),
  **{
    (f'numpy.{core}.{module}', name): _StandIn(function)
    for core in ('core', '_core')
    for module, name, function in (
      ('multiarray', '_reconstruct', _empty_array),
      ('multiarray', 'scalar', _scalar),
      ('numeric', '_frombuffer', _array_from_buffer),
    )
  },
}

# Instructions that reach objects by another way than a name.
_NOT_NEEDED = {
  *('EXT1', 'EXT2', 'EXT4'),
  *('INST', 'OBJ', 'NEWOBJ', 'NEWOBJ_EX'),
  *('PERSID', 'BINPERSID'),
}


class _Unpickler(pickle.Unpickler):
  """Resolves the names of the format to the stand-ins above."""

  def find_class(self, module: str, name: str) -> _StandIn:
    if (module, name) not in _ALLOWED:
      raise _NotAllowedError(f'it names {module}.{name}')
    return _ALLOWED[module, name]


def _check_instructions(data: bytes):
  """Goes over the program without running it."""
  for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
    if opcode.name in _NOT_NEEDED:
      raise _NotAllowedError(f'it has the instruction {opcode.name}')
    # The unpickler reserves room up to the largest number: a few bytes could
    # ask for all memory.
    if opcode.name in ('PUT', 'BINPUT', 'LONG_BINPUT') and argument > count:
      raise _NotAllowedError(f'it stores an object under number {argument}')
