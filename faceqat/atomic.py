"""Files that appear whole or not at all."""

import os
import pathlib
import secrets


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
      f'{path} cannot be written: there is no folder {path.parent}; make it.'
    )
  # In the same folder: a file is not moved across file systems in one step.
  temporary = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')
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
