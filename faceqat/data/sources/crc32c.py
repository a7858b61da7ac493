"""CRC-32C, the checksum of TFRecord files, in NumPy.

Polynomial 0x1EDC6F41, reflected (RFC 3720, appendix B.4). A checksum is linear:
the contribution of a byte depends on it and on the number of bytes that follow,
so a block is a look-up for each byte and an exclusive or over them.
"""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78
_BLOCK = 1024
# Checksums start with all bits set, which is to start from none with these four
# bytes before the others.
_START = bytes.fromhex('54641f64')


def crc32c(data: bytes) -> int:
  """The checksum of some bytes."""
  table, places = _table()
  content = np.frombuffer(_START + data, np.uint8)
  state, end = 0, len(content) % _BLOCK
  start = 0
  while start < len(content):
    block = content[start:end].astype(np.intp)
    if state:
      # The checksum so far is as if its bytes were added to the next four.
      block[:4] ^= list(state.to_bytes(4, 'little'))
    block += places[_BLOCK - len(block) :]
    state = int(np.bitwise_xor.reduce(table.take(block)))
    start, end = end, end + _BLOCK
  return state ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
  """As TFRecord stores it: a checksum of checksums would be a bad one.

  https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/hash/crc32c.h
  """
  value = crc32c(data)
  return ((value >> 15 | value << 17) + 0xA282EAD8) % 2**32


@functools.cache
def _table() -> tuple[np.ndarray, np.ndarray]:
  """The contribution of a byte at each place of a block.

  Returns:
    uint32 [block * 256], and the index of each place's first, [block].
  """
  last = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    last = last >> 1 ^ np.where(last & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
  rows = [last]
  for _ in range(_BLOCK - 1):
    rows.append(rows[-1] >> 8 ^ last[rows[-1] & 255])
  return np.concatenate(rows[::-1]), np.arange(_BLOCK) * 256
