"""Locks the folder of a run: one process uses it at a time."""

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

from faceqat.files import atomic


@contextlib.contextmanager
def locked(workdir: str | os.PathLike) -> Iterator[None]:
  """Locks an existing folder, and removes half-written files of a killed run.

  The lock ends with the process, however that ends. The file `.lock` stays and
  names the last holder.

  Raises:
    ValueError: another process holds the lock; it says which.
  """
  workdir = pathlib.Path(workdir)
  with open(workdir / '.lock', 'a+') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      raise ValueError(
        f'{workdir} is in use by {file.read().strip() or "another process"}; '
        'wait for it, stop it, or give another --workdir'
      ) from error
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
    file.flush()
    atomic.clear(workdir)
    yield
