"""The names of the people in a pack, and how many images each has.

A RecordIO pack has numbers for people, and an ArrayRecord would have to be read
from end to end for its labels. `x.people.json` beside `x.rec` or
`x.array_record` has both: `[["Ann", 12], ["Bob", 7]]`, in the order of labels
and of images.
"""

import json
import os
import pathlib
import reprlib

from faceqat.files import atomic, strict_json

People = list[tuple[str, int]]


def path_of(pack: str | os.PathLike) -> pathlib.Path:
  """Where the people of a pack are."""
  pack = pathlib.Path(pack)
  return pack.with_name(f'{pack.stem}.people.json')


def write(people: People, pack: str | os.PathLike):
  """Writes the people of a pack, (name, images) in the order of labels."""
  text = json.dumps(people, indent=0, ensure_ascii=False)
  atomic.write(path_of(pack), f'{text}\n'.encode())


def read(pack: str | os.PathLike) -> People | None:
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


class Counter:
  """Counts the images of people that come one after the other."""

  def __init__(self):
    self.people: People = []

  def add(self, label: int, name: str):
    """Counts an image.

    Raises:
      ValueError: the label is neither that of the image before nor the next
        one, or it comes with another name.
    """
    if label == len(self.people):
      self.people.append((name, 1))
      return
    if label != len(self.people) - 1:
      raise ValueError(
        f'label {label} ({name!r}) comes after {len(self.people) - 1}: labels '
        'go up from 0 by one, with all images of a person together.'
      )
    known, count = self.people[-1]
    if name != known:
      raise ValueError(f'label {label} is {known!r}, and now {name!r}.')
    self.people[-1] = known, count + 1


def _damaged(path: pathlib.Path, reason: str) -> str:
  return (
    f'{path} is damaged ({reason}): copy it again, or remove it and the pack '
    'is read without.'
  )
