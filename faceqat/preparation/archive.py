"""Unpacks an archive of photographs from an untrusted source.

An archive can name files outside of the folder that it is unpacked into, carry
links and devices, or grow from a few bytes to many. So neither `tarfile` nor
the unpacking of `zipfile` is used: entries are refused by name and kind, their
bytes are counted while they are copied, and every checksum is checked.
"""

import functools
import gzip
import os
import pathlib
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from faceqat.preparation import tar_archive

SUFFIXES = ('.zip', '.tar', '.tar.gz', '.tgz')
# Photographs are compressed already, so their archive hardly shrinks them.
# (Drawings in BMP files become 20 times smaller.)
MAX_RATIO = 50
# Any archive may become as large as this.
FREE_BYTES = 100 * 2**20
# The largest face data sets have 17 million.
MAX_ENTRIES = 20_000_000
# Person/photograph, in a few folders around.
MAX_DEPTH = 32
_CHUNK = 2**20
_DAMAGE = (
  tar_archive.DamagedError,
  zipfile.BadZipFile,
  zlib.error,
  EOFError,
  gzip.BadGzipFile,
  # zipfile's: a password, an unknown compression, a name that is not text,
  # offsets outside of the file.
  RuntimeError,
  NotImplementedError,
  UnicodeError,
  OverflowError,
  struct.error,
)
# With the other compressions of zip files a few bytes grow without bound before
# they can be counted.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ZIP_END = b'PK\x05\x06'
_ZIP_END_BYTES, _MAX_ZIP_COMMENT = 22, 2**16


class _Entry(NamedTuple):
  """An entry as its archive describes it; only files have `open`."""

  name: str
  kind: str
  size: int
  open: Callable[[], BinaryIO] | None


def is_archive(path: str | os.PathLike) -> bool:
  """Whether a name ends as that of an archive that can be unpacked."""
  return os.fspath(path).lower().endswith(SUFFIXES)


def unpack(archive: str | os.PathLike, folder: str | os.PathLike):
  """Unpacks the files of an archive into a new folder.

  Hidden entries (a part of the path starts with a dot, or is `__MACOSX`) are
  left out. Modes, owners and times are not kept.

  Args:
    archive: a file with one of `SUFFIXES`.
    folder: appears when everything is unpacked, or not at all.

  Raises:
    ValueError: names the archive. It is missing, damaged or encrypted; has an
      entry that is not a file or folder, has no name, leads outside, or comes
      twice; or becomes more than `MAX_RATIO` times its size (and than
      `FREE_BYTES`), than `MAX_ENTRIES` entries or than the disk holds.
  """
  archive, folder = pathlib.Path(archive), pathlib.Path(folder)
  if not archive.is_file():
    raise ValueError(f'There is no archive {archive}')
  temporary = folder.with_name(f'{folder.name}.unpacking')
  # A run that was stopped may have left it.
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir(parents=True)
  try:
    _unpack(archive, temporary)
    temporary.rename(folder)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _unpack(archive: pathlib.Path, folder: pathlib.Path):
  limit = max(MAX_RATIO * archive.stat().st_size, FREE_BYTES)
  total = 0
  seen: set[pathlib.PurePosixPath] = set()
  is_zip = archive.suffix.lower() == '.zip'
  entries = _zip_entries(archive) if is_zip else _tar_entries(archive, limit)
  for count, entry in enumerate(_as_sentences(archive, limit, entries), 1):
    path = _checked_path(archive, entry)
    total += entry.size
    if total > limit or count > MAX_ENTRIES:
      raise ValueError(_too_large(archive, limit))
    if entry.open is None or _is_hidden(path):
      continue
    if path in seen:
      raise ValueError(
        f'{archive} has the entry {_shown(entry)} twice: nobody can know which '
        'is meant; remove one'
      )
    seen.add(path)
    if shutil.disk_usage(folder).free < entry.size:
      raise ValueError(
        f'{archive} does not fit on the disk of {folder.parent}: make room, or '
        'give an output folder on another'
      )
    with _create(archive, entry, folder / path) as file:
      for chunk in _as_sentences(archive, limit, _chunks(entry)):
        file.write(chunk)


def _as_sentences(archive: pathlib.Path, limit: int, items: Iterator):
  """Yields items; an error of reading them becomes a ValueError.

  An error of writing does not: a full disk is no damage of the archive.
  """
  try:
    yield from items
  except tar_archive.TooLongError as error:
    raise ValueError(_too_large(archive, limit)) from error
  except (*_DAMAGE, OSError, ValueError) as error:
    raise ValueError(
      f'{archive} cannot be unpacked ({type(error).__name__}: {error}): copy '
      'or make it again, without a password'
    ) from error


def _chunks(entry: _Entry) -> Iterator[bytes]:
  """Yields the bytes of an entry; raises unless they are as many as stated."""
  left = entry.size
  with entry.open() as source:
    # zipfile compares the checksum at the end.
    while chunk := source.read(_CHUNK):
      left -= len(chunk)
      yield chunk
  if left:
    raise EOFError(f'{_shown(entry)} lacks {left} bytes')


def _create(
  archive: pathlib.Path, entry: _Entry, target: pathlib.Path
) -> BinaryIO:
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    return open(target, 'xb')
  except (FileExistsError, NotADirectoryError, IsADirectoryError):
    raise ValueError(
      f'{archive} has {_shown(entry)} as a file and as a folder, or in another '
      'case: make it again'
    ) from None
  except (OSError, UnicodeError) as error:
    raise ValueError(
      f'{archive} has the entry {_shown(entry)}, which cannot be written here '
      f'({getattr(error, "strerror", error)}): give it another name'
    ) from error


def _checked_path(
  archive: pathlib.Path, entry: _Entry
) -> pathlib.PurePosixPath:
  """The path of an entry inside of the folder."""
  path = pathlib.PurePosixPath(entry.name)
  # On Windows a backslash separates folders, and a colon follows a drive.
  outside = (
    path.is_absolute()
    or '..' in path.parts
    or any(character in entry.name for character in '\\:\0')
  )
  # The folder that was packed may be '.'.
  if (entry.kind == 'file' and not path.parts) or not entry.name:
    raise ValueError(f'{archive} has an entry without a name: make it again')
  if outside:
    fault = (
      'which leads outside of the folder that it is unpacked into: nothing of '
      'it was kept; do not trust this archive'
    )
  elif entry.kind not in ('file', 'folder'):
    fault = (
      f'a {entry.kind}: wanted files and folders only; pack the photographs '
      'themselves'
    )
  elif len(path.parts) > MAX_DEPTH:
    fault = (
      f'{len(path.parts)} folders deep: wanted person/photograph, at most '
      f'{MAX_DEPTH} deep'
    )
  else:
    return path
  raise ValueError(f'{archive} has the entry {_shown(entry)}, {fault}')


def _shown(entry: _Entry) -> str:
  """The name for a message: a tar file may have one of a megabyte."""
  name = entry.name
  return repr(name if len(name) <= 200 else f'{name[:200]}...')


def _is_hidden(path: pathlib.PurePosixPath) -> bool:
  # macOS packs a `__MACOSX/person/._photo.jpg` beside each photograph.
  return any(part.startswith('.') or part == '__MACOSX' for part in path.parts)


def _too_large(archive: pathlib.Path, limit: int) -> str:
  return (
    f'{archive} becomes more than {limit / 2**20:,.0f} MB or {MAX_ENTRIES:,} '
    f'files ({MAX_RATIO} times its size is the most): photographs do not '
    'shrink so far; unpack it yourself if you trust it, and give the folder'
  )


def _zip_entries(archive: pathlib.Path) -> Iterator[_Entry]:
  with zipfile.ZipFile(archive) as opened:
    _check_count(archive, len(opened.infolist()))
    for info in opened.infolist():
      mode = stat.S_IFMT(info.external_attr >> 16)
      if info.compress_type not in _COMPRESSIONS:
        raise NotImplementedError(
          f'{info.filename[:200]!r} is packed in way {info.compress_type}, '
          'wanted stored or deflated'
        )
      if info.filename.endswith('/'):
        yield _Entry(info.filename, 'folder', 0, None)
      elif mode in (0, stat.S_IFREG):
        # The opened file ends after `file_size` bytes.
        content = functools.partial(opened.open, info)
        yield _Entry(info.filename, 'file', info.file_size, content)
      else:
        kind = 'link' if mode == stat.S_IFLNK else 'device'
        yield _Entry(info.filename, kind, 0, None)


def _check_count(archive: pathlib.Path, count: int):
  """Compares with the end of the zip file, whose count `zipfile` ignores."""
  with open(archive, 'rb') as file:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _ZIP_END_BYTES - _MAX_ZIP_COMMENT))
    tail = file.read()
  stated = struct.unpack_from('<H', tail, tail.rfind(_ZIP_END) + 10)[0]
  # 65,535 stands for a number that does not fit. Some writers drop the upper
  # bits instead.
  if stated not in (count % 2**16, 2**16 - 1):
    raise zipfile.BadZipFile(f'it states {stated} entries and has {count}')


def _tar_entries(archive: pathlib.Path, limit: int) -> Iterator[_Entry]:
  # The headers, some 512 bytes an entry, count too.
  for member in tar_archive.members(archive, 2 * limit):
    content = member.content if member.kind == 'file' else None
    yield _Entry(
      member.name, member.kind, member.size, content and (lambda c=content: c)
    )
