"""The file of a pack's people: their names, and how many images each has.

A RecordIO pack has numbers for people, and an ArrayRecord would have to be read
from end to end for its labels. `x.people.json` beside `x.rec` or
`x.array_record` has both, in the order of labels and of images:
`[["Ann", 12], ["Bob", 7]]`.
"""

import array
import json
import os
import pathlib
import re
import reprlib
from collections.abc import Iterator

import numpy as np

from faceqat.data.sources.name_list import Names
from faceqat.files import atomic, strict_json

People = list[tuple[str, int]]
# What is before an entry; its name as JSON has it, and its count.
_ENTRY = re.compile(
  rb'\s*([\[,])\s*\[\s*("(?:[^"\\]|\\.)*")\s*,\s*([1-9]\d*)\s*\]'
)


def path_of(pack: str | os.PathLike) -> pathlib.Path:
  """The path of the file of a pack's people."""
  pack = pathlib.Path(pack)
  return pack.with_name(f'{pack.stem}.people.json')


def write_people(people: People, pack: str | os.PathLike):
  """Writes the people of a pack, (name, images) in the order of labels."""
  text = json.dumps(people, indent=0, ensure_ascii=False)
  atomic.write(path_of(pack), f'{text}\n'.encode())


def read_people(
  pack: str | os.PathLike,
) -> tuple[Names, np.ndarray] | None:
  """Reads the people of a pack; None where there is no such file.

  Returns:
    The K names, and how many images each has, int64 [K].

  Raises:
    ValueError: the file is damaged.
  """
  path, counts = path_of(pack), array.array('q')
  try:
    names = Names(_names(path.read_bytes(), counts))
  except FileNotFoundError:
    return None
  except (ValueError, OverflowError) as error:
    raise ValueError(_damaged(path, str(error))) from error
  return names, np.array(counts)


def _names(content: bytes, counts: array.array) -> Iterator[str]:
  """Yields the names, and appends their counts.

  As lists of Python, all entries at once would take ten times the text.
  """
  at = 0
  while entry := _ENTRY.match(content, at):
    before, name, count = entry.groups()
    if before != (b',' if at else b'['):
      break
    counts.append(int(count))
    yield json.loads(name)
    at = entry.end()
  rest = content[at:].strip()
  if rest != (b']' if at else b'[]'):
    # Says what is wrong where this is no list.
    strict_json.parse(content, list)
    raise ValueError(f'{reprlib.repr(rest.decode())} is no name and count')


def _damaged(path: pathlib.Path, reason: str) -> str:
  return (
    f'{path} is damaged ({reason}): copy it again, or remove it and the pack '
    'is read without'
  )
