"""MXNet RecordIO packs (`train.rec`, `train.idx`), read without MXNet.

A pack is a chain of records. Each record is one or more parts: u32 magic, u32
`flag << 29 | length`, and the payload, padded to four bytes; a payload that
contains the magic was cut there into a start, middle and end part. The payload
of an image starts with `IfQQ` (the number of extra labels, label, id, id2) and
the extra float32 labels; the encoded image follows.

InsightFace's packs also hold records without an image: a header and one record
for each identity, with ranges of keys. They are passed over: keys as float32
are wrong above 2**24, and the labels of the images say all that they say.
"""

import array
import mmap
import os
import struct
from collections.abc import Iterator

import numpy as np

from faceqat.data.sources.labelled import EncodedSource
from faceqat.data.sources.name_list import Names
from faceqat.files.image_size import ImageSize

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack('<I', MAGIC)
WHOLE, START, MIDDLE, END = range(4)
IMAGE_HEADER = struct.Struct('<IfQQ')
# float32 has 24 bits: from here on two neighbouring labels may be one number.
EXACT_FLOATS = 2**24
# Of a number in an index: as many as 64 bits take.
_MAX_DIGITS = 20
# What is read or computed at a time.
_INDEX_BYTES, _RECORDS = 2**22, 2**18


class RecordIOSource(EncodedSource):
  """Labelled images of a RecordIO pack, in the order of their record keys.

  The index file beside the pack gives the keys and must describe the pack
  completely. Without it the pack is walked once to find the records, and they
  are numbered from 0. The labels are made contiguous, in the order of the
  labels in the pack; the class names are those labels, as text.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    image_size: ImageSize,
    stored_size: ImageSize = 0,
  ):
    """Reads the index and the label of every record, not the images.

    Raises:
      ValueError: no such file, a truncated or damaged pack, an index that
        disagrees with it, labels that float32 cannot hold, or no images.
    """
    super().__init__(path, image_size, stored_size)
    self._pack = _Pack(self.path)
    keys, offsets = self._pack.read_index()
    labels, is_image = self._pack.read_labels(keys, offsets)
    self._keys, self._offsets = keys[is_image], offsets[is_image]
    labels = labels[is_image]
    self._check_labels(labels)
    self._set_people(*_contiguous(labels.astype(np.int32)))

  def name(self, index: int) -> str:
    return self._pack.where(self._keys[index], self._offsets[index])

  def _stored(self) -> list[str]:
    return [self.path, _index_path(self.path)]

  def _bytes(self, index: int) -> bytes:
    payload = self._pack.payload(self._keys[index], self._offsets[index])
    (extra,) = struct.unpack_from('<I', payload)
    return payload[IMAGE_HEADER.size + 4 * extra :]

  def _check_labels(self, labels: np.ndarray):
    whole = (labels >= 0) & (labels < EXACT_FLOATS) & (labels % 1 == 0)
    if whole.all():
      return
    worst = int(np.argmin(whole))
    raise ValueError(
      f'{self.name(worst)} has label {labels[worst]}, wanted a whole number '
      f'from 0 to {EXACT_FLOATS - 1}: the pack stores labels as float32, '
      'which cannot tell larger ones apart. Number the people from 0 and pack '
      'again'
    )


class _Pack:
  """The records of a pack, mapped into memory."""

  def __init__(self, path: str):
    self.path = path
    # Reading a map needs no file position: threads cannot disturb each other.
    try:
      with open(path, 'rb') as file:
        if not os.fstat(file.fileno()).st_size:
          raise ValueError(f'{path} is empty (0 bytes): copy the pack again')
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
      raise ValueError(f'There is no RecordIO pack {path}') from None

  def __reduce__(self):
    # A memory map belongs to its process.
    return _Pack, (self.path,)

  def where(self, key: int, offset: int) -> str:
    return f'{self.path}: record {key} (offset {offset})'

  def read_index(self) -> tuple[np.ndarray, np.ndarray]:
    """(keys, offsets), int64 [N] each, in the order of the keys."""
    index_path = _index_path(self.path)
    if not os.path.exists(index_path):
      offsets = self._scan()
      return np.arange(len(offsets)), offsets
    try:
      keys, offsets = _numbers(index_path)
    except (ValueError, OverflowError) as error:
      raise ValueError(
        f'{index_path} is no index: wanted lines of "key offset" ({error}). '
        'Remove it and the pack is walked instead'
      ) from error
    keys, offsets = _sorted(keys, offsets)
    repeated = keys[1:][keys[1:] == keys[:-1]]
    if len(repeated):
      raise ValueError(
        f'{index_path} has key {repeated[0]} twice. Remove it and the pack is '
        'walked instead'
      )
    self._check_index(keys, offsets)
    return keys, offsets

  def _scan(self) -> np.ndarray:
    """The offsets of all records, from the first byte to the last."""
    offsets, offset = array.array('q'), 0
    while offset < len(self._map):
      offsets.append(offset)
      _, offset = self._parts(len(offsets) - 1, offset)
    return np.array(offsets)

  def _check_index(self, keys: np.ndarray, offsets: np.ndarray):
    """Refuses an index that does not name each record, and no other."""
    offsets, keys = _sorted(offsets, keys)
    remedy = 'Use the .idx of this pack, or remove it: the pack is then walked'
    end = 0
    for block in _blocks(len(keys)):
      ends = self._ends(keys[block], offsets[block])
      expected = np.concatenate([[end], ends[:-1]])
      end = int(ends[-1])
      wrong = offsets[block] != expected
      wrong |= (ends < 0) | (ends > len(self._map))
      if not wrong.any():
        continue
      bad = int(np.argmax(wrong))
      key, offset = keys[block][bad], offsets[block][bad]
      if offset == expected[bad]:
        # Raises, with what is wrong there, such as the end of a truncated pack.
        self._parts(key, offset)
      raise ValueError(
        f'{self.path} and its .idx disagree: record {key} is indexed at '
        f'offset {offset}, where the pack has its next record at '
        f'{expected[bad]}. {remedy}'
      )
    if end != len(self._map):
      raise ValueError(
        f'{self.path} and its .idx disagree: the pack goes on at offset {end}, '
        f'after the last indexed record. {remedy}'
      )

  def _words(self, dtype: str) -> np.ndarray:
    """The whole pack as four-byte numbers: every record starts at one."""
    return np.frombuffer(self._map, dtype, count=len(self._map) // 4)

  def _ends(self, keys: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The offset behind each record, -1 where there is none; int64 [N]."""
    # Array operations, where they suffice: there are millions of records.
    ends = np.full(len(offsets), -1)
    # Nothing is added to what may be the largest number there is.
    inside = (
      (offsets >= 0) & (offsets % 4 == 0) & (offsets <= len(self._map) - 8)
    )
    at = np.flatnonzero(inside)
    words = self._words('<u4')
    at = at[words[offsets[at] // 4] == MAGIC]
    flags, lengths = _flag_and_length(words[offsets[at] // 4 + 1])
    ends[at] = np.where(flags == WHOLE, offsets[at] + 8 + _padded(lengths), -1)
    for index in at[flags == START]:
      _, ends[index] = self._parts(keys[index], offsets[index])
    return ends

  def _parts(self, key: int, offset: int) -> tuple[list[tuple[int, int]], int]:
    """The payload ranges of the record at `offset`, and where it ends."""
    where = self.where(key, offset)
    ranges: list[tuple[int, int]] = []
    end = int(offset)
    while True:
      if end + 8 > len(self._map):
        self._refuse_truncated(where)
      magic, word = struct.unpack_from('<II', self._map, end)
      flag, length = word >> 29, word & (2**29 - 1)
      wanted = (MIDDLE, END) if ranges else (WHOLE, START)
      if magic != MAGIC or flag not in wanted:
        raise ValueError(
          f'{where} is damaged: no part of a record begins at offset {end} '
          f'(magic {magic:#010x}, flag {flag}): copy the pack again'
        )
      start = end + 8
      end = start + _padded(length)
      if end > len(self._map):
        self._refuse_truncated(where)
      ranges.append((start, start + length))
      if flag in (WHOLE, END):
        return ranges, end

  def payload(self, key: int, offset: int) -> bytes:
    """The payload of a record; the writer left out the magic at its cuts."""
    ranges, _ = self._parts(key, offset)
    return MAGIC_BYTES.join(self._map[start:stop] for start, stop in ranges)

  def read_labels(
    self, keys: np.ndarray, offsets: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """The label of each record, float32 [N], and whether it has an image.

    The label of a record with extra labels is the first of them.
    """
    labels, is_image = (
      np.empty(len(keys), np.float32),
      np.empty(len(keys), bool),
    )
    for block in _blocks(len(keys)):
      labels[block], is_image[block] = self._labels(keys[block], offsets[block])
    return labels, is_image

  def _labels(self, keys, offsets):
    first = offsets // 4
    words, floats = self._words('<u4'), self._words('<f4')
    flags, lengths = _flag_and_length(words[first + 1])
    extra = np.zeros(len(keys), np.int64)
    labels = np.zeros(len(keys), np.float32)
    whole = np.flatnonzero((flags == WHOLE) & (lengths >= IMAGE_HEADER.size))
    extra[whole] = words[first[whole] + 2]
    labels[whole] = floats[first[whole] + 3]
    many = whole[(extra[whole] > 0) & (lengths[whole] >= IMAGE_HEADER.size + 4)]
    labels[many] = floats[first[many] + 8]
    for index in np.flatnonzero(flags == START):
      payload = self.payload(keys[index], offsets[index])
      lengths[index] = len(payload)
      # Zeros complete a header that is cut short: see the check below.
      header = struct.unpack_from('<IfQQf', payload + bytes(32))
      extra[index], labels[index] = header[0], header[4 if header[0] else 1]
    starts = IMAGE_HEADER.size + 4 * extra
    for index in np.flatnonzero(starts > lengths)[:1]:
      where = self.where(keys[index], offsets[index])
      raise ValueError(
        f'{where} has {lengths[index]} bytes, its image header takes '
        f'{starts[index]}: this is no pack of images'
      )
    return labels, starts < lengths

  def _refuse_truncated(self, where: str):
    raise ValueError(
      f'{where} goes on behind the end of the file at {len(self._map)} bytes: '
      'the pack is truncated, copy it again'
    )


def _index_path(path: str) -> str:
  return os.path.splitext(path)[0] + '.idx'


def _numbers(index_path: str) -> tuple[np.ndarray, np.ndarray]:
  """The two columns of an index, int64 [N] each, read in pieces."""
  numbers = array.array('q')
  with open(index_path, 'rb') as file:
    while lines := file.readlines(_INDEX_BYTES):
      fields = b''.join(lines).split()
      # An array of texts takes as much for each as for the longest.
      if max(map(len, fields), default=0) > _MAX_DIGITS:
        raise ValueError('a number is too long')
      some = np.array(fields, f'S{_MAX_DIGITS}').astype(np.int64)
      numbers.frombytes(some.tobytes())
  table = np.array(numbers, copy=False).reshape(-1, 2)
  return table[:, 0].copy(), table[:, 1].copy()


def _sorted(values, others):
  """Both in the order of the first, which files mostly have already."""
  if np.all(values[1:] >= values[:-1]):
    return values, others
  order = np.argsort(values, kind='stable')
  return values[order], others[order]


def _blocks(count: int) -> Iterator[slice]:
  """Records to look at together: an array of all takes much memory."""
  for start in range(0, count, _RECORDS):
    yield slice(start, start + _RECORDS)


def _contiguous(numbers: np.ndarray) -> tuple[np.ndarray, Names]:
  """Labels 0 .. K-1 of numbers from 0 on, and the K numbers as text."""
  is_there = np.zeros(numbers.max(initial=0) + 1, bool)
  is_there[numbers] = True
  labels = np.cumsum(is_there, dtype=np.int32)[numbers] - 1
  return labels, Names(map(str, np.flatnonzero(is_there)))


def _flag_and_length(word):
  return word >> 29, (word & (2**29 - 1)).astype(np.int64)


def _padded(length):
  return (length + 3) // 4 * 4
