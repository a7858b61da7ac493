"""Keeps the integer program of a packaged network for the next time.

To lower one takes seconds, most of them to import and to trace what a program
does not need. The program is known by the digest that ships with its
false-match rates, so a file that has it is the program, whoever wrote it.
"""

import contextlib
import hashlib
import json
import pathlib

from faceqat.calibration import packaged_files
from faceqat.files import atomic, folders


def kept_file(name: str) -> pathlib.Path | None:
  """The file of a network's program, made if it is not there.

  It lies in `faceqat` of the user's cache folder, `XDG_CACHE_HOME` or ~/.cache.

  Args:
    name: of `packaged_files.NAMES`.

  Returns:
    None where none can be kept: the folder cannot be written, or the program is
    another one than was measured.

  Raises:
    ValueError: the network's weights are not installed.
  """
  rates = json.loads(packaged_files.rates_path_of(name).read_bytes())
  digest = rates['program']
  path = folders.cache_folder() / f'{name}-{digest[:16]}.safetensors'
  with contextlib.suppress(OSError):
    if _digest(path.read_bytes()) == digest:
      return path
  content = _lowered(name)
  if _digest(content) != digest:
    return None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, content)
  except OSError:
    return None
  return path


def _lowered(name: str) -> bytes:
  from faceqat.calibration.lower import lower
  from faceqat.calibration.packaged_network import load_packaged
  from faceqat.integer import program as integer_program

  return integer_program.digested_bytes(lower(load_packaged(name)))


def _digest(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()
