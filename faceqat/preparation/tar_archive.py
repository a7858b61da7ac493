"""Reads tar archives from untrusted sources: V7, ustar, GNU and pax.

`tarfile` takes a damaged header for the end of the archive, and believes sizes
that are negative or that describe holes. Here every header must have its
checksum, every number must be possible, and the archive must have its end.
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
"""

import gzip
import io
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# Long names and pax records are read into memory, so their length is limited.
MAX_HEADER_BYTES = 2**20

_BLOCK = 512
_CHUNK = 2**20
_KINDS = {
  **dict.fromkeys((b'0', b'\0', b'7'), 'file'),
  b'5': 'folder',
  **dict.fromkeys((b'1', b'2'), 'link'),
  **dict.fromkeys((b'3', b'4', b'6'), 'device'),
  b'S': 'sparse file',
}
_OCTAL = re.compile(rb'[ \0]*([0-7]*)[ \0]*')
_SIZE = re.compile(rb'[0-9]{1,18}')


class DamagedError(Exception):
  """The archive violates its format; the text says where."""


class TooLongError(Exception):
  """The archive has more bytes than it may."""


class Member(NamedTuple):
  """An entry; its `content` has to be read before the next entry."""

  name: str
  kind: str
  size: int
  content: BinaryIO


def members(path: str | os.PathLike, max_bytes: int) -> Iterator[Member]:
  """Goes through the entries of a tar file.

  Args:
    path: the file; `.gz` and `.tgz` are decompressed.
    max_bytes: the most that it may hold, decompressed.

  Yields:
    Entries of every kind: 'file', 'folder', 'link', ...

  Raises:
    DamagedError: a wrong checksum, an impossible number, no end, or more bytes
      behind it.
    TooLongError: a header or the archive is too long.
    OSError, EOFError, zlib.error: `gzip` found damage.
  """
  packed = os.fspath(path).lower().endswith(('.gz', '.tgz'))
  with (gzip.open if packed else open)(path, 'rb') as file:
    stream = _Stream(file, max_bytes)
    # From extended headers, for the next entry.
    said: dict[bytes, bytes] = {}
    while (header := stream.read(_BLOCK)).strip(b'\0'):
      where = f'the header at byte {stream.position - _BLOCK}'
      _check_sum(header, where)
      size = _number(header[124:136], where)
      kind = header[156:157]
      if kind in (b'x', b'g', b'L', b'K'):
        extension = _read_extension(stream, size, where)
        if kind == b'L':
          said[b'path'] = extension.rstrip(b'\0')
        elif kind == b'x':
          said |= _pax_records(extension, where)
        elif kind == b'g':
          _check_global(_pax_records(extension, where), where)
        continue
      yield from _member(stream, header, size, said, where)
      said = {}
    if said:
      raise DamagedError('it ends after an extended header, without its entry')
    _check_end(stream)


def _member(stream, header, size, said, where) -> Iterator[Member]:
  kind = _KINDS.get(header[156:157], 'thing of an unknown type')
  if any(key.startswith(b'GNU.sparse') for key in said):
    kind = _KINDS[b'S']
  name = said.get(b'path', _name(header))
  if b'size' in said:
    if not _SIZE.fullmatch(said[b'size']):
      raise DamagedError(f'{where} has a size that no file has')
    size = int(said[b'size'])
  # V7 has no type for folders.
  if header[156:157] == b'\0' and name.endswith(b'/'):
    kind = 'folder'
  # No bytes follow a folder, whatever its size says.
  content = _Content(stream, size if kind == 'file' else 0)
  text = name.decode('utf-8', 'surrogateescape')
  yield Member(text, kind, content.left, content)
  content.skip()
  stream.read(-stream.position % _BLOCK)


def _check_sum(header: bytes, where: str):
  total = sum(header) - sum(header[148:156]) + 8 * ord(' ')
  # Some writers add signed bytes.
  upper = sum(byte > 127 for byte in header[:148] + header[156:])
  if _number(header[148:156], where) not in (total, total - 256 * upper):
    raise DamagedError(f'{where} does not have its checksum')


def _number(field: bytes, where: str) -> int:
  """A number in octal, or in binary after a byte 0x80."""
  if field[0] == 0x80:
    number = int.from_bytes(field[1:], 'big')
    if number < 2**63:
      return number
  elif match := _OCTAL.fullmatch(field):
    return int(match[1] or b'0', 8)
  raise DamagedError(f'{where} has a number that no file has')


def _name(header: bytes) -> bytes:
  name, prefix = (
    field.split(b'\0', 1)[0] for field in (header[:100], header[345:500])
  )
  # GNU has something else in place of the prefix.
  is_ustar = header[257:263] == b'ustar\0'
  return prefix + b'/' + name if is_ustar and prefix else name


def _read_extension(stream: '_Stream', size: int, where: str) -> bytes:
  if size > MAX_HEADER_BYTES:
    raise TooLongError(f'{where} announces {size} bytes')
  content = stream.read(size)
  stream.read(-size % _BLOCK)
  return content


def _pax_records(content: bytes, where: str) -> dict[bytes, bytes]:
  """Parses records 'LENGTH KEY=VALUE\\n'; LENGTH is that of the record."""
  records, start = {}, 0
  while start < len(content):
    digits = content[start : start + 8].split(b' ', 1)[0]
    end = start + int(digits) if digits.isdigit() else 0
    record = content[start + len(digits) + 1 : end]
    key, equals, value = record[:-1].partition(b'=')
    if end > len(content) or not equals or record[-1:] != b'\n':
      raise DamagedError(f'{where} has records that cannot be read')
    records[key] = value
    start = end
  return records


def _check_global(records: dict[bytes, bytes], where: str):
  """Refuses one name or size for all entries; a comment may stand there."""
  for key in records:
    if key in (b'path', b'size') or key.startswith(b'GNU.sparse'):
      raise DamagedError(f'{where} gives all entries one {key.decode()}')


def _check_end(stream: '_Stream'):
  """An archive ends with two blocks of zeros, and only zeros follow."""
  if stream.read(_BLOCK).strip(b'\0'):
    raise DamagedError(f'a header is blank at byte {stream.position - 1024}')
  while chunk := stream.read_some(_CHUNK):
    if chunk.strip(b'\0'):
      raise DamagedError('it goes on after its end')


class _Stream:
  """Reads bytes in order, and counts them."""

  def __init__(self, file: BinaryIO, max_bytes: int):
    self._file, self._max_bytes = file, max_bytes
    self.position = 0

  def read_some(self, size: int) -> bytes:
    """At most `size` bytes; none at the end."""
    content = self._file.read(size)
    self.position += len(content)
    if self.position > self._max_bytes:
      raise TooLongError(f'it has more than {self._max_bytes} bytes')
    return content

  def read(self, size: int) -> bytes:
    """Exactly `size` bytes, at most `MAX_HEADER_BYTES`."""
    content = self.read_some(size)
    if len(content) < size:
      raise DamagedError(f'it ends at byte {self.position}, before its end')
    return content


class _Content(io.RawIOBase):
  """Reads the bytes of one entry."""

  def __init__(self, stream: _Stream, size: int):
    super().__init__()
    self._stream, self.left = stream, size

  def readable(self) -> bool:
    return True

  def read(self, size: int = -1) -> bytes:
    size = min(self.left, _CHUNK if size < 0 else size)
    content = self._stream.read(size)
    self.left -= size
    return content

  def skip(self):
    """Reads to its end: `gzip` needs all bytes for its checksum."""
    while self.left:
      self.read(_CHUNK)
