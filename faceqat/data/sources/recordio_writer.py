"""Writes MXNet RecordIO packs as InsightFace lays them out, without MXNet.

For the form of a record see `recordio.py`. Record 0 has the keys of the first
identity record and of the one after the last as its labels; the images follow,
from key 1 on; then for each identity a record without an image, whose labels
are the range of keys that its images have.
"""

import os
import struct

from faceqat.data.sources.pack_writer import PackWriter
from faceqat.data.sources.recordio import (
  END,
  EXACT_FLOATS,
  IMAGE_HEADER,
  MAGIC,
  MAGIC_BYTES,
  MIDDLE,
  START,
  WHOLE,
)
from faceqat.files import atomic

_MAX_PART = 2**29
# Labels, and in the header and identity records keys, are float32.
_MAX_KEY = EXACT_FLOATS


class RecordIOWriter(PackWriter):
  """Writes `x.rec`, `x.idx` and `x.people.json`."""

  suffix = '.rec'

  def __init__(self, path: str | os.PathLike):
    super().__init__(path)
    self._offsets: list[int] = []

  def _open(self):
    # `_close` closes it.
    self._file = open(self._temporary, 'wb')  # noqa: SIM115
    # Its labels are known at the end.
    self._append_record(_header([0, 0], 0))

  def _append(self, image_bytes: bytes, label: int, person_name: str):
    key = len(self._offsets)
    # Identity records follow, of which each has a key.
    if key + label + 2 >= _MAX_KEY:
      raise ValueError(
        f'{self._path} has {key - 1} images of {label + 1} people: RecordIO '
        f'has numbers for {_MAX_KEY} records at most; write an ArrayRecord'
      )
    self._append_record(IMAGE_HEADER.pack(0, label, key, 0) + image_bytes)

  def _close(self, complete: bool):
    with self._file:
      if complete:
        self._finish()

  def _finish(self):
    first, key = len(self._offsets), 1
    for _, count in self._people:
      self._append_record(_header([key, key + count], len(self._offsets)))
      key += count
    self._file.seek(0)
    self._file.write(_frame(_header([first, len(self._offsets)], 0)))
    self._file.flush()
    os.fsync(self._file.fileno())
    lines = [f'{key}\t{offset}\n' for key, offset in enumerate(self._offsets)]
    atomic.write(self._path.with_suffix('.idx'), ''.join(lines).encode())

  def _append_record(self, payload: bytes):
    self._offsets.append(self._file.tell())
    self._file.write(_frame(payload))


def _header(labels: list[int], key: int) -> bytes:
  """The payload of a record without an image."""
  floats = struct.pack(f'<{len(labels)}f', *labels)
  return IMAGE_HEADER.pack(len(labels), 0, key, 0) + floats


def _frame(payload: bytes) -> bytes:
  """A record: cut wherever the payload has the magic at a multiple of 4."""
  pieces, start = [], 0
  at = payload.find(MAGIC_BYTES)
  while at >= 0:
    if at % 4 == 0:
      pieces.append(payload[start:at])
      start = at + 4
    at = payload.find(MAGIC_BYTES, at + (4 if at % 4 == 0 else 1))
  pieces.append(payload[start:])
  flags = [START, *[MIDDLE] * (len(pieces) - 2), END]
  record = b''
  for piece, flag in zip(pieces, flags if len(pieces) > 1 else [WHOLE]):
    if len(piece) >= _MAX_PART:
      raise ValueError(
        f'an image of {len(payload)} bytes does not fit into a record: the '
        f'most is {_MAX_PART - 1}'
      )
    record += struct.pack('<II', MAGIC, flag << 29 | len(piece))
    record += piece + bytes(-len(piece) % 4)
  return record
