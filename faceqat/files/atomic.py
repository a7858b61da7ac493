"""Files that appear whole or not at all."""

import glob
import os
import pathlib
import secrets
import shutil


def clear(folder: str | os.PathLike, name: str | None = None):
  """Removes what processes that were killed left half-written in a folder.

  Args:
    folder: in which nobody else writes now.
    name: of what they were writing; None: of anything.
  """
  what = '*' if name is None else glob.escape(name)
  for left in pathlib.Path(folder).glob(f'.{what}.????????.tmp'):
    if left.is_dir():
      shutil.rmtree(left)
    else:
      left.unlink()


def temporary_name(path: pathlib.Path) -> pathlib.Path:
  """A new name beside a path, where `clear` finds it."""
  # In the same folder: a file is not moved across file systems in one step.
  return path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')


def write(path: str | os.PathLike, content: bytes):
  """Writes a file under a temporary name and moves it into place.

  A reader sees the old content or the new one, also when the machine loses
  power. What is written has the permissions that the umask gives any new file.

  Args:
    path: in a folder that exists; a file there is replaced.
    content: all of it.

  Raises:
    FileNotFoundError: there is no such folder.
    OSError: of the system. Nothing is left behind, and what stood at `path`
      still does.
  """
  path = pathlib.Path(path)
  if not path.parent.is_dir():
    raise FileNotFoundError(
      f'{path} cannot be written: there is no folder {path.parent}; make it'
    )
  temporary = temporary_name(path)
  try:
    with open(temporary, 'xb') as file:
      file.write(content)
      file.flush()
      # Else the name may reach the disk before the content does.
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException as error:
    temporary.unlink(missing_ok=True)
    # That a disk is full does not say which.
    if isinstance(error, OSError) and error.errno and error.filename is None:
      raise OSError(error.errno, error.strerror, str(path)) from error
    raise


def replace_folder(temporary: pathlib.Path, out: pathlib.Path):
  """Moves a folder to where another one may be.

  One with files in it cannot be replaced: the old one steps aside.
  """
  old = temporary_name(out)
  if out.exists():
    out.rename(old)
  temporary.rename(out)
  shutil.rmtree(old, ignore_errors=True)
