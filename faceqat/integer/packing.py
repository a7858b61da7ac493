"""Integers of a few bits, one behind the other, as files hold them.

The first lies in the low bits of the first byte. With 4 bits that is the order
of nibbles in TFLite and ONNX, with 2 bits that of their quarters of a byte.
"""

import math
from collections.abc import Mapping

import numpy as np

from faceqat.integer.tensors import check_integer, check_integers

# The integers as which an array of a type is packed; floats by their bits, in
# whose order positive ones lie.
_INTEGERS = {'int8': np.int8, 'int32': np.int32, 'float32': np.int32}


def pack(values: np.ndarray, bits: int) -> np.ndarray:
  """Packs the low bits of integers, in C order.

  Args:
    values: integers of any type and shape.
    bits: of each that are kept, 1 to 32.

  Returns:
    uint8 [ceil(values.size * bits / 8)]; what is left of the last byte is 0.

  >>> pack(np.array([1, -2, 7]), 4).tolist() == [0xE1, 0x07]
  True
  """
  # Bytes are few where the bits are: the array of bits is the largest of all.
  kind = np.min_scalar_type(2**bits - 1).newbyteorder('<')
  low = values.ravel().astype(kind).view(np.uint8)
  each = np.unpackbits(low, bitorder='little').reshape(values.size, -1)
  return np.packbits(each[:, :bits], bitorder='little')


def unpack(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
  """Unpacks what `pack` made of integers in [0, 2^bits).

  Returns:
    [count] of the least unsigned type that holds so many bits.

  Raises:
    ValueError: the bytes are not those of so many integers.
  """
  size = -(-count * bits // 8)
  if packed.dtype != np.uint8 or packed.shape != (size,):
    raise ValueError(
      f'packed integers are {packed.dtype}{list(packed.shape)}; {count} of '
      f'{bits} bits ask for uint8[{size}]'
    )
  flat = np.unpackbits(packed, bitorder='little')
  if flat[count * bits :].any():
    raise ValueError('packed integers end in bits that are not 0')
  kind = np.min_scalar_type(2**bits - 1).newbyteorder('<')
  each = np.zeros((count, 8 * kind.itemsize), np.uint8)
  each[:, :bits] = flat[: count * bits].reshape(count, bits)
  values = np.packbits(each, axis=1, bitorder='little').view(kind)
  return values.ravel().astype(kind.newbyteorder('='))


def pack_arrays(
  arrays: dict[str, np.ndarray],
) -> tuple[list[dict], np.ndarray]:
  """Packs arrays, each with the bits that its range needs.

  What is packed of an array are its distances from its least element, in
  integers. So weights of 3 bits take 3 each, and scales of nearly one size less
  than 32.

  Args:
    arrays: int8, int32 or float32, not empty.

  Returns:
    (records, packed): what `unpack_arrays` has to know of each, JSON-able; and
    the bytes, uint8, where each begins with a new one.
  """
  records, parts = [], []
  for name, array in arrays.items():
    integers = array.view(_INTEGERS[array.dtype.name]).astype(np.int64)
    least = int(integers.min())
    bits = max(int(integers.max() - least).bit_length(), 1)
    records.append(
      {
        'name': name,
        'dtype': array.dtype.name,
        'shape': list(array.shape),
        'least': least,
        'bits': bits,
      }
    )
    parts.append(pack(integers - least, bits))
  return records, np.concatenate([np.zeros(0, np.uint8), *parts])


def packed_size(record: Mapping) -> int:
  """The bytes that the array of a record takes."""
  return -(-math.prod(record['shape']) * record['bits'] // 8)


def unpack_arrays(records: list[dict], packed: np.ndarray) -> dict:
  """Unpacks what `pack_arrays` gave; raises ValueError where it did not."""
  arrays = {}
  for record in records:
    name, kind = record['name'], record['dtype']
    if name in arrays or kind not in _INTEGERS:
      raise ValueError(
        f'array {name!r} is there twice, or its type is {kind!r}; wanted one '
        f'of {sorted(_INTEGERS)}'
      )
    try:
      array, packed = _unpack_first(record, packed)
    except ValueError as error:
      raise ValueError(f'array {name!r}: {error}') from None
    arrays[name] = array
  if packed.size:
    raise ValueError(f'{packed.size} packed bytes are of no array')
  return arrays


def _unpack_first(
  record: dict, packed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The array of a record, and the bytes after it."""
  limits = np.iinfo(_INTEGERS[record['dtype']])
  shape = check_integers(record['shape'], 'its shape', 1, 2**24)
  bits = check_integer(record['bits'], 'its number of bits', 1, limits.bits)
  least = check_integer(record['least'], 'its least', limits.min, limits.max)
  count = math.prod(shape)
  size = packed_size(record)
  integers = unpack(packed[:size], bits, count).astype(np.int64) + least
  if integers.max() > limits.max:
    raise ValueError(f'an element is {integers.max()}, beyond {limits.max}')
  array = integers.astype(limits.dtype).view(record['dtype']).reshape(shape)
  return array, packed[size:]
