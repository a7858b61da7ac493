"""Files that appear whole or not at all."""

import glob
import os
import pathlib
import secrets
import shutil


def clear(folder: str | os.PathLike, name: str | None = None):
  """Removes files that killed processes left half-written in a folder.

  Args:
    folder: in which nobody else writes now.
    name: of the file or folder that they were writing; None: any.
  """
  what = '*' if name is None else glob.escape(name)
  for left in pathlib.Path(folder).glob(f'.{what}.????????.tmp'):
    if left.is_dir():
      shutil.rmtree(left)
    else:
      left.unlink()


def temporary_name(path: pathlib.Path) -> pathlib.Path:
  """A new name beside a path, which `clear` finds."""
  # In the same folder: moving across file systems is not one step.
  return path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')


def write(path: str | os.PathLike, content: bytes):
  """Writes a file under a temporary name and moves it into place.

  A reader sees the old content or the new one, also when the machine loses
  power. The file has the permissions of any new one.

  Args:
    path: in a folder that exists; a file there is replaced.
    content: all of it.

  Raises:
    FileNotFoundError: there is no such folder.
    OSError: of the system. Nothing is left behind, and `path` is as it was.
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
    # Else it names the temporary file, or none, as that of a full disk.
    if isinstance(error, OSError) and error.errno:
      raise OSError(error.errno, error.strerror, str(path)) from error
    raise


def replace_folder(temporary: pathlib.Path, out: pathlib.Path):
  """Moves a folder to a path where another one may be.

  A folder with files in it cannot be replaced, so the old one is renamed first.
  """
  old = temporary_name(out)
  if out.exists():
    out.rename(old)
  temporary.rename(out)
  shutil.rmtree(old, ignore_errors=True)
