"""Keeps what XLA compiles for the next command, in JAX's own cache.

JAX knows an entry by the program, the versions and flags of the compiler and
the features of the processor, so one that was made elsewhere is not taken. It
compresses an entry with a checksum, and compiles where one cannot be read. What
is left to do here: entries that grow too many, or that are damaged.
"""

import contextlib
import os
import pathlib
import re
import sys
import warnings

from faceqat.files import folders

# What the folder may hold when a command starts.
LARGEST_BYTES = 2**30

_FAILED = re.compile(
  r"Error (reading|writing) persistent compilation cache entry for '(\w+)'"
)
_ENDING = '-cache'


def default_folder() -> pathlib.Path:
  """In the user's cache folder; it may not be there."""
  return folders.cache_folder() / 'compiled'


def keep(folder: str | None):
  """Lets JAX keep what it compiles from here on.

  Where no folder is given it is that of `JAX_COMPILATION_CACHE_DIR`, as it is,
  or else `default_folder`, if the user alone can write there: an entry is code
  that will be run.

  Args:
    folder: where; 'none': nowhere.

  Raises:
    OSError: a folder that was given cannot be made.
  """
  if folder == 'none':
    _set('compilation_cache_dir', None)
  elif folder:
    _keep_in(pathlib.Path(folder))
  elif 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    # There may be no place for it, or not even a home.
    with contextlib.suppress(OSError, RuntimeError):
      path = default_folder()
      path.mkdir(mode=0o700, parents=True, exist_ok=True)
      if not _others_write(path):
        _keep_in(path)


def _keep_in(folder: pathlib.Path):
  folder.mkdir(parents=True, exist_ok=True)
  _trim(folder)
  _mend_in(folder)
  # Many small programs together take as long as a large one.
  _set('persistent_cache_min_compile_time_secs', 0)
  _set('compilation_cache_dir', str(folder))


def _set(name: str, value: object):
  """Sets an option of JAX, which may be imported already."""
  variable = f'JAX_{name.upper()}'
  if value is None:
    os.environ.pop(variable, None)
  else:
    os.environ[variable] = str(value)
  if 'jax' in sys.modules:
    sys.modules['jax'].config.update(f'jax_{name}', value)


def _others_write(folder: pathlib.Path) -> bool:
  status = folder.stat()
  return hasattr(os, 'getuid') and (
    status.st_uid != os.getuid() or bool(status.st_mode & 0o022)
  )


def entries(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files of a folder that JAX wrote; none where there is no folder."""
  return sorted(folder.glob(f'*{_ENDING}'))


def _trim(folder: pathlib.Path):
  """Deletes what was read longest ago, down to `LARGEST_BYTES`."""
  found = []
  for path in entries(folder):
    with contextlib.suppress(FileNotFoundError):
      status = path.stat()
      found.append(
        (max(status.st_atime, status.st_mtime), status.st_size, path)
      )
  total = sum(size for _, size, _ in found)
  for _, size, path in sorted(found):
    if total <= LARGEST_BYTES:
      break
    path.unlink(missing_ok=True)
    total -= size


def _mend_in(folder: pathlib.Path):
  """Deletes what JAX warns that it cannot read, in place of the warning.

  A process that is killed leaves half an entry. JAX writes none where there is
  one, so it would compile that program again each time.
  """
  show = warnings.showwarning

  def mend(message, *details, **named):
    failed = _FAILED.match(str(message))
    if not failed:
      show(message, *details, **named)
    elif failed[1] == 'reading':
      for path in folder.glob(f'{failed[2]}-*{_ENDING}'):
        with contextlib.suppress(OSError):
          path.unlink()

  warnings.showwarning = mend
