"""Writes MXNet RecordIO packs as InsightFace lays them out, without MXNet.

What a record is made of is told in `recordio.py`. Record 0 has the key of
the first identity record and the one after the last as its labels; the images
follow, from key 1 on; then for each identity a record without an image, whose
labels are the range of keys that its images have.
"""

import os
import pathlib
import struct

from faceqat.data.sources import people_file

_MAGIC = 0xCED7230A
_MAGIC_BYTES = struct.pack('<I', _MAGIC)
_MAX_PART = 2**29
_WHOLE, _START, _MIDDLE, _END = range(4)
# Labels, and in the header and identity records keys, are float32.
_MAX_KEY = 2**24


class RecordIOWriter:
  """Writes `x.rec`, `x.idx` and `x.people.json`; a context.

  They appear when the context is left, or not at all if that is by an error.
  """

  def __init__(self, path: str | os.PathLike):
    """Opens a pack to write.

    Args:
      path: the `.rec` file, in a folder that exists.

    Raises:
      ValueError: the name does not end in `.rec`.
    """
    self._path = pathlib.Path(path)
    if self._path.suffix != '.rec':
      raise ValueError(f'{path} is no name of a pack: it has to end in .rec.')
    self._index = self._path.with_suffix('.idx')
    self._counter = people_file.Counter()
    self._offsets: list[int] = []

  def __enter__(self) -> 'RecordIOWriter':
    self._file = open(_temporary(self._path), 'wb')
    # Its labels are known at the end.
    self._append(_header([0, 0], 0))
    return self

  def write(self, image_bytes: bytes, label: int, person_name: str):
    """Appends an image.

    Args:
      image_bytes: encoded, such as a JPEG file.
      label: 0 .. K-1, not below that of the image before, and at most one
        above.
      person_name: of this label.

    Raises:
      ValueError: the label is out of order, has had another name, or keys
        are too many for float32.
    """
    self._counter.add(label, person_name)
    key = len(self._offsets)
    # Identity records follow, of which each has a key.
    if key + label + 2 >= _MAX_KEY:
      raise ValueError(
        f'{self._path} has {key - 1} images of {label + 1} people: RecordIO '
        f'has numbers for {_MAX_KEY} records at most; write an ArrayRecord.'
      )
    self._append(struct.pack('<IfQQ', 0, label, key, 0) + image_bytes)

  def __exit__(self, error_type, *_):
    try:
      if error_type is None:
        self._finish()
    finally:
      self._file.close()
      _temporary(self._path).unlink(missing_ok=True)

  def _finish(self):
    first, key = len(self._offsets), 1
    for _, count in self._counter.people:
      self._append(_header([key, key + count], len(self._offsets)))
      key += count
    self._file.seek(0)
    self._file.write(_frame(_header([first, len(self._offsets)], 0)))
    self._file.flush()
    os.fsync(self._file.fileno())
    lines = [f'{key}\t{offset}\n' for key, offset in enumerate(self._offsets)]
    temporary = _temporary(self._index)
    temporary.write_text(''.join(lines))
    people_file.write(self._counter.people, self._path)
    temporary.replace(self._index)
    _temporary(self._path).replace(self._path)

  def _append(self, payload: bytes):
    self._offsets.append(self._file.tell())
    self._file.write(_frame(payload))


def _temporary(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(f'.{path.name}.tmp')


def _header(labels: list[int], key: int) -> bytes:
  """The payload of a record without an image."""
  floats = struct.pack(f'<{len(labels)}f', *labels)
  return struct.pack('<IfQQ', len(labels), 0, key, 0) + floats


def _frame(payload: bytes) -> bytes:
  """A record: cut wherever the payload has the magic at a multiple of 4."""
  pieces, start = [], 0
  at = payload.find(_MAGIC_BYTES)
  while at >= 0:
    if at % 4 == 0:
      pieces.append(payload[start:at])
      start = at + 4
    at = payload.find(_MAGIC_BYTES, at + (4 if at % 4 == 0 else 1))
  pieces.append(payload[start:])
  record = b''
  for index, piece in enumerate(pieces):
    if len(piece) >= _MAX_PART:
      raise ValueError(
        f'an image of {len(payload)} bytes does not fit into a record: the '
        f'most is {_MAX_PART - 1}.'
      )
    is_first, is_last = index == 0, index == len(pieces) - 1
    flag = {
      (True, True): _WHOLE,
      (True, False): _START,
      (False, False): _MIDDLE,
      (False, True): _END,
    }[is_first, is_last]
    record += struct.pack('<II', _MAGIC, flag << 29 | len(piece))
    record += piece + bytes(-len(piece) % 4)
  return record
