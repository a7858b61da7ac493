"""Weights of up to 4 bits as a file holds them: two to a byte."""

import math

import numpy as np

from faceqat.integer.tensors import check_integers

PACKED_BITS = 4


def pack(values: np.ndarray) -> np.ndarray:
  """Packs int8 values in [-8, 7], in C order, the low nibble first.

  Returns:
    uint8 [ceil(values.size / 2)]; the last high nibble is 0 where the number
    of values is odd.

  >>> pack(np.array([1, -2, 7], np.int8)).tolist() == [0xE1, 0x07]
  True
  """
  nibbles = np.zeros(values.size + values.size % 2, np.uint8)
  nibbles[: values.size] = values.ravel().view(np.uint8) & 0xF
  return nibbles[::2] | nibbles[1::2] << 4


def unpack(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Unpacks what `pack` made of int8 values of this shape.

  Raises:
    ValueError: the shape is none, or the bytes are not those of so many
      values.
  """
  shape = check_integers(shape, 'the shape of packed weights', 1, 2**24)
  count = math.prod(shape)
  if packed.dtype != np.uint8 or packed.shape != ((count + 1) // 2,):
    raise ValueError(
      f'packed weights are {packed.dtype}{list(packed.shape)}; the shape '
      f'{shape} asks for uint8[{(count + 1) // 2}]'
    )
  nibbles = np.stack([packed & 0xF, packed >> 4], axis=1).ravel()
  if nibbles[count:].any():
    raise ValueError('packed weights end in a nibble that is not 0')
  # Moves bit 3 up to the sign, and back down with it.
  return ((nibbles[:count] << 4).view(np.int8) >> 4).reshape(shape)
