"""The digests in the metadata of an exported file: its own and its program's.

Both are found by their marks in the bytes of any format, before anything else
in the file is trusted. One damaged byte spoils at most one mark, so a file with
either mark must have had both.
"""

import re
from collections.abc import Mapping

from faceqat.files import seal
from faceqat.integer import program as integer_program
from faceqat.integer.program import IntegerProgram

_FILE, _PROGRAM = 'file-sha256:', 'program-sha256:'
_FOUND = re.compile(f'{_FILE}([0-9a-f]{{64}})'.encode())

# An entry of the metadata, for `close` to fill in. First of all, so that a file
# that is cut short loses it last.
BLANK = {'file_digest': f'{_FILE}{seal.BLANK}'}


def of_program(program: IntegerProgram) -> dict[str, str]:
  """An entry of the metadata: which program the file was made of."""
  return {'program_digest': f'{_PROGRAM}{integer_program.digest(program)}'}


def program_of(metadata: Mapping[str, str]) -> str:
  """The digits of `of_program` in a file's metadata; '' where it has none."""
  return str(metadata.get('program_digest', '')).removeprefix(_PROGRAM)


def close(content: bytes) -> bytes:
  """The content of a file with `BLANK` in it, with its digest."""
  return seal.close(content, _FILE)


def check(content: bytes) -> bool:
  """Compares an exported file with its digest.

  Returns:
    False: it has none, as it was made by others, or before files had one.

  Raises:
    ValueError: it is not what was written.
  """
  found = _FOUND.search(content)
  if found:
    whole = seal.is_whole(content, found[1].decode(), _FILE)
  elif _FILE.encode() in content or _PROGRAM.encode() in content:
    whole = False
  else:
    return False
  if not whole:
    raise ValueError(
      'its SHA-256 does not match, so it is damaged, or was changed after '
      'faceqat.convert wrote it; copy it again, or export the network again'
    )
  return True
