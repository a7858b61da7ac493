"""Reads cells, structures and texts of MATLAB's files of version 5 (-v6, -v7).

SciPy's reader is not used, as some damaged files make it end the process.
https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import math
import os
import pathlib
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

_HEADER_BYTES = 128
_ORDERS = {b'IM': '<', b'MI': '>'}
# Types of data elements.
_INT8, _UINT8, _UINT16, _MATRIX, _COMPRESSED, _UTF8, _UTF16 = (
  *(1, 2, 4, 14, 15, 16, 17),
)
# Classes of arrays.
_CELL, _STRUCT, _CHAR = 1, 2, 4
_MAX_DEPTH, _MAX_DIMENSIONS = 32, 32
# Of a compressed variable, unpacked.
_MAX_BYTES = 2**28


def read_mat(path: str | os.PathLike, name: str) -> Any:
  """Reads one variable.

  Args:
    path: the file.
    name: of the variable.

  Returns:
    Cells as an array of objects, structures as one of tuples of their fields,
    a text as a str, and anything else as None.

  Raises:
    ValueError: a short reason: it is no such file, damaged, without the
      variable.
    FileNotFoundError: there is no such file.
    zlib.error: it is damaged.
  """
  content = memoryview(pathlib.Path(path).read_bytes())
  order = _ORDERS.get(bytes(content[_HEADER_BYTES - 2 : _HEADER_BYTES]))
  if order is None:
    raise ValueError('it is no file of MATLAB, or of its version 7.3')
  for kind, data in _elements(content[_HEADER_BYTES:], order):
    if kind == _COMPRESSED:
      unpacked = zlib.decompressobj().decompress(data, _MAX_BYTES)
      kind, data = next(_elements(memoryview(unpacked), order), (0, b''))
    if kind != _MATRIX:
      continue
    _, _, found, _ = _head(data, order)
    if found == name:
      return _array(data, order, 0)
  raise ValueError(f'it has no variable {name}')


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
  """The types and bytes of elements that follow each other."""
  start = 0
  while start < len(data):
    if start + 8 > len(data):
      raise ValueError('it is cut short')
    kind, size = struct.unpack_from(f'{order}II', data, start)
    if kind >> 16:
      # A small one has both in four bytes, and its own in the next four.
      kind, size, begin, end = kind & 0xFFFF, kind >> 16, start + 4, start + 8
    else:
      begin = start + 8
      end = begin + size
      # Only what is compressed stands without a gap behind it.
      end += -size % 8 if kind != _COMPRESSED else 0
    if begin + size > min(end, len(data)):
      raise ValueError('it is cut short, or damaged')
    yield kind, data[begin : begin + size]
    start = end


def _head(data: memoryview, order: str):
  """(class, shape, name, the elements that follow) of an array."""
  elements = _elements(data, order)
  flags, dimensions, name = (
    bytes(next(elements, (0, b''))[1]) for _ in range(3)
  )
  if len(flags) != 8 or len(dimensions) % 4:
    raise ValueError('an array of it has no type or shape')
  shape = np.frombuffer(dimensions, f'{order}i4').tolist()
  if len(shape) > _MAX_DIMENSIONS or min(shape, default=-1) < 0:
    raise ValueError(f'an array of it has the shape {shape[:8]}')
  kind = struct.unpack_from(f'{order}I', flags)[0] & 0xFF
  return kind, shape, name.decode('latin1'), elements


def _array(data: memoryview, order: str, depth: int) -> Any:
  if depth > _MAX_DEPTH:
    raise ValueError('its cells lie too deep in each other')
  # An array without anything has no bytes at all.
  if not len(data):
    return np.empty([0, 0], object)
  kind, shape, _, elements = _head(data, order)
  if kind == _CHAR:
    if shape[0] > 1:
      raise ValueError(f'it has a text of {shape[0]} rows')
    return _text(*next(elements, (_UINT8, b'')), order)
  if kind not in (_CELL, _STRUCT):
    return None
  fields = None
  if kind == _STRUCT:
    length = np.frombuffer(_next(elements), f'{order}i4')
    names = _next(elements)
    fields = len(names) // int(length[0]) if length.tolist() > [0] else 0
  count = math.prod(shape)
  if count * (1 if fields is None else max(fields, 1)) > len(data) // 8:
    raise ValueError(f'an array of it has the shape {shape[:8]}')

  def item():
    inner, content = next(elements, (0, b''))
    if inner != _MATRIX:
      raise ValueError('it is cut short, or damaged')
    return _array(content, order, depth + 1)

  items = np.empty(count, object)
  for index in range(count):
    items[index] = (
      item() if fields is None else tuple(item() for _ in range(fields))
    )
  # Columns stand one after the other.
  return items.reshape(shape, order='F')


def _next(elements: Iterator[tuple[int, memoryview]]) -> bytes:
  return bytes(next(elements, (0, b''))[1])


def _text(kind: int, data: memoryview, order: str) -> str:
  sixteen = 'utf-16-le' if order == '<' else 'utf-16-be'
  encodings = {
    **dict.fromkeys((_INT8, _UINT8), 'latin1'),
    **dict.fromkeys((_UINT16, _UTF16), sixteen),
    _UTF8: 'utf-8',
  }
  if kind not in encodings:
    raise ValueError(f'it has a text of type {kind}')
  return bytes(data).decode(encodings[kind])
