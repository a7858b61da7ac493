"""Unpacks an archive of photographs that nobody vouches for.

An archive can name files outside of the folder that it is unpacked into, carry
links and devices, or be a few bytes that become many. Nothing of `tarfile`'s or
`zipfile`'s own unpacking is used: entries are refused by what they are called,
and their bytes are copied and counted.
"""

import contextlib
import functools
import gzip
import lzma
import os
import pathlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

SUFFIXES = ('.zip', '.tar', '.tar.gz', '.tgz')
# Photographs are compressed already: what becomes much larger is no archive of
# them. (Drawings in BMP files become 20 times smaller.)
MAX_RATIO = 50
# What any archive may become, however small it is.
FREE_BYTES = 100 * 2**20
# The largest face data sets have 17 million.
MAX_ENTRIES = 20_000_000
# Names and sizes of a tar file are read at once, so their length is limited.
_MAX_READ = 2**20
_DAMAGE = (
  tarfile.TarError,
  zipfile.BadZipFile,
  zlib.error,
  lzma.LZMAError,
  EOFError,
  gzip.BadGzipFile,
  # Of zipfile: a password, a compression that it does not know.
  RuntimeError,
  NotImplementedError,
)


class _Entry(NamedTuple):
  """What an archive says of one entry; `open` is None for what is no file."""

  name: str
  kind: str
  size: int
  open: Callable[[], BinaryIO] | None


def is_archive(path: str | os.PathLike) -> bool:
  """Whether the name is that of an archive that can be unpacked."""
  return os.fspath(path).lower().endswith(SUFFIXES)


def unpack(archive: str | os.PathLike, folder: str | os.PathLike):
  """Unpacks the files of an archive into a new folder.

  Hidden entries (a name in the path that starts with a dot, and `__MACOSX`)
  are left out; modes, owners and times are not kept.

  Args:
    archive: a file with one of `SUFFIXES`.
    folder: appears when everything is unpacked, or not at all.

  Raises:
    ValueError: the archive is missing, damaged or encrypted; or has an entry
      that is a link or a device, leads outside of the folder, or comes twice;
      or becomes more than `MAX_RATIO` times its size (and than `FREE_BYTES`),
      than `MAX_ENTRIES` entries or than the disk has room for.
  """
  archive, folder = pathlib.Path(archive), pathlib.Path(folder)
  if not archive.is_file():
    raise ValueError(f'There is no archive {archive}.')
  temporary = folder.with_name(f'{folder.name}.unpacking')
  # Of a run that was stopped.
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir(parents=True)
  try:
    _unpack(archive, temporary)
    temporary.rename(folder)
  except _DAMAGE as error:
    raise ValueError(
      f'{archive} cannot be unpacked ({type(error).__name__}: {error}): copy '
      'or make it again, without a password.'
    ) from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _unpack(archive: pathlib.Path, folder: pathlib.Path):
  limit = max(MAX_RATIO * archive.stat().st_size, FREE_BYTES)
  total = 0
  seen: set[pathlib.PurePosixPath] = set()
  entries = _zip_entries if archive.suffix.lower() == '.zip' else _tar_entries
  for count, entry in enumerate(entries(archive, limit), 1):
    path = _checked_path(archive, entry)
    total += entry.size
    if total > limit or count > MAX_ENTRIES:
      raise ValueError(_too_large(archive, limit))
    if entry.open is None or _is_hidden(path):
      continue
    if path in seen:
      raise ValueError(
        f'{archive} has the entry {entry.name!r} twice: nobody can know which '
        'is meant; remove one.'
      )
    seen.add(path)
    if shutil.disk_usage(folder).free < entry.size:
      raise ValueError(
        f'{archive} does not fit on the disk of {folder.parent}: make room, or '
        'give an output folder on another.'
      )
    _copy(archive, entry, folder / path)


def _copy(archive: pathlib.Path, entry: _Entry, target: pathlib.Path):
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    with entry.open() as source, open(target, 'xb') as file:
      shutil.copyfileobj(source, file, _MAX_READ)
  except (FileExistsError, NotADirectoryError, IsADirectoryError):
    raise ValueError(
      f'{archive} has {entry.name!r} as a file and as a folder, or in another '
      'case: make it again.'
    ) from None
  if target.stat().st_size != entry.size:
    raise ValueError(
      f'{archive}: {entry.name!r} has {target.stat().st_size} bytes instead of '
      f'{entry.size}: the archive is damaged, copy it again.'
    )


def _checked_path(
  archive: pathlib.Path, entry: _Entry
) -> pathlib.PurePosixPath:
  """The path inside of the folder; raises where there is none."""
  path = pathlib.PurePosixPath(entry.name)
  # On Windows a backslash parts folders, and a colon follows a drive.
  outside = (
    path.is_absolute()
    or '..' in path.parts
    or any(character in entry.name for character in '\\:\0')
  )
  if outside:
    raise ValueError(
      f'{archive} has the entry {entry.name!r}, which leads outside of the '
      'folder that it is unpacked into: nothing of it was kept; do not trust '
      'this archive.'
    )
  if entry.kind not in ('file', 'folder'):
    raise ValueError(
      f'{archive} has the entry {entry.name!r}, a {entry.kind}: wanted files '
      'and folders only; pack the photographs themselves.'
    )
  return path


def _is_hidden(path: pathlib.PurePosixPath) -> bool:
  # macOS packs a `__MACOSX/person/._photo.jpg` beside each photograph.
  return any(part.startswith('.') or part == '__MACOSX' for part in path.parts)


def _too_large(archive: pathlib.Path, limit: int) -> str:
  return (
    f'{archive} becomes more than {limit / 2**20:,.0f} MB or {MAX_ENTRIES:,} '
    f'files ({MAX_RATIO} times its size is the most): photographs do not '
    'shrink so far; unpack it yourself if you trust it, and give the folder.'
  )


def _zip_entries(archive: pathlib.Path, limit: int) -> Iterator[_Entry]:
  del limit  # A ZipExtFile ends after the bytes that its entry states.
  with zipfile.ZipFile(archive) as opened:
    for info in opened.infolist():
      mode = stat.S_IFMT(info.external_attr >> 16)
      if info.is_dir():
        yield _Entry(info.filename, 'folder', 0, None)
      elif mode in (0, stat.S_IFREG):
        content = functools.partial(opened.open, info)
        yield _Entry(info.filename, 'file', info.file_size, content)
      else:
        kind = 'link' if mode == stat.S_IFLNK else 'device'
        yield _Entry(info.filename, kind, 0, None)


def _tar_entries(archive: pathlib.Path, limit: int) -> Iterator[_Entry]:
  packed = archive.suffix.lower() in ('.gz', '.tgz')
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(open(archive, 'rb'))
    if packed:
      file = stack.enter_context(gzip.open(file))
    bounded = _Bounded(file, archive, limit)
    opened = stack.enter_context(tarfile.open(fileobj=bounded, mode='r:'))
    while (member := opened.next()) is not None:
      # Else `tarfile` keeps every member that it has met.
      opened.members.clear()
      if member.isdir():
        yield _Entry(member.name, 'folder', 0, None)
      elif member.isreg():
        content = functools.partial(opened.extractfile, member)
        yield _Entry(member.name, 'file', member.size, content)
      else:
        kind = 'link' if member.issym() or member.islnk() else 'device'
        yield _Entry(member.name, kind, 0, None)


class _Bounded:
  """A file that refuses to be read or skipped without measure."""

  def __init__(self, file: BinaryIO, archive: pathlib.Path, limit: int):
    self._file, self._archive = file, archive
    # A tar file has a header of 512 bytes or a few at each entry.
    self._limit = 2 * limit

  def read(self, size: int) -> bytes:
    # A header states how long the names after it are.
    if size > _MAX_READ:
      raise ValueError(_too_large(self._archive, self._limit // 2))
    return self._file.read(size)

  def seek(self, position: int) -> int:
    if position > self._limit:
      raise ValueError(_too_large(self._archive, self._limit // 2))
    return self._file.seek(position)

  def tell(self) -> int:
    return self._file.tell()
