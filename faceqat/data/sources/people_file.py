"""The file of a pack's people: their names, and how many images each has.

A RecordIO pack has numbers for people, and an ArrayRecord would have to be read
from end to end for its labels. `x.people.json` beside `x.rec` or
`x.array_record` has both, in the order of labels and of images:
`[["Ann", 12], ["Bob", 7]]`.
"""

import json
import os
import pathlib
import reprlib

from faceqat.files import atomic, strict_json

People = list[tuple[str, int]]


def path_of(pack: str | os.PathLike) -> pathlib.Path:
  """The path of the file of a pack's people."""
  pack = pathlib.Path(pack)
  return pack.with_name(f'{pack.stem}.people.json')


def write_people(people: People, pack: str | os.PathLike):
  """Writes the people of a pack, (name, images) in the order of labels."""
  text = json.dumps(people, indent=0, ensure_ascii=False)
  atomic.write(path_of(pack), f'{text}\n'.encode())


def read_people(pack: str | os.PathLike) -> People | None:
  """Reads the people of a pack; None where there is no such file.

  Raises:
    ValueError: the file is damaged.
  """
  path = path_of(pack)
  try:
    people = strict_json.parse(path.read_bytes(), list)
  except FileNotFoundError:
    return None
  except ValueError as error:
    raise ValueError(_damaged(path, str(error))) from error
  for entry in people:
    match entry:
      case [str(), int(count)] if count > 0:
        continue
    raise ValueError(
      _damaged(path, f'{reprlib.repr(entry)} is no name and count')
    )
  return [(name, count) for name, count in people]


def _damaged(path: pathlib.Path, reason: str) -> str:
  return (
    f'{path} is damaged ({reason}): copy it again, or remove it and the pack '
    'is read without'
  )
