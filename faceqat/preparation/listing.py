"""Lists a folder of photographs, person/photograph."""

import collections
import os
import pathlib
import re
from typing import NamedTuple

from faceqat.faces.made import is_made
from faceqat.files import decoding, folders

# As `crop_name` numbers several faces of one photograph.
_FACE_NUMBER = re.compile(r'\.face\d+$')


class Photograph(NamedTuple):
  """A photograph's file.

  Attributes:
    person: the folder that it lies in.
    name: person/file.
    crop: person/stem, the name of its crops; no two photographs share one.
    size: in bytes.
    modified: time in nanoseconds; with the size it shows a file that was
      exchanged.
  """

  person: str
  name: str
  crop: str
  size: int
  modified: int


class Listing(NamedTuple):
  """A folder of photographs.

  Attributes:
    root: the folder that holds the people's folders.
    people: all names, sorted, also those without a photograph.
    photographs: sorted by person and file.
    ignored: paths below `root` of whatever else there is; those of folders
      end with a slash.
  """

  root: pathlib.Path
  people: list[str]
  photographs: list[Photograph]
  ignored: list[str]


def list_photographs(root: str | os.PathLike) -> Listing:
  """Lists the photographs of people, root/person/photograph.

  A single folder around the people's folders, as archives often have one, is
  entered. Names that start with a dot are passed over. Images that an earlier
  preparation made of others (`faces/made.py`) are ignored.

  Raises:
    ValueError: there is no such folder; it has no photographs of people, some
      beside the people's folders, or a name that is not UTF-8.
  """
  root = _enter(pathlib.Path(root))
  people, found, ignored = [], [], []
  for entry in _visible(root):
    if entry.is_dir():
      people.append(entry.name)
      inside, others = _list_person(entry)
      found += inside
      ignored += others
    elif decoding.is_image(entry.name):
      raise ValueError(
        f'The photograph {entry.path} lies beside the people: move it into a '
        'folder that has the name of its person'
      )
    else:
      ignored.append(entry.name)
  if not found:
    raise ValueError(
      f'{root} has no photographs: wanted {root}/person/photograph, where a '
      f'photograph ends in {", ".join(decoding.SUFFIXES)}'
      f'{_elsewhere(root, ignored)}'
    )
  return Listing(root, people, found, ignored)


def crop_name(photograph: Photograph, face: int | None = None) -> str:
  """The file of a crop, person/name.jpg.

  Args:
    photograph: what it is cut out of.
    face: its number, from 1, if all faces are taken.
  """
  number = '' if face is None else f'.face{face}'
  return f'{photograph.crop}{number}.jpg'


def _enter(root: pathlib.Path) -> pathlib.Path:
  """Passes through a single folder around those of the people."""
  if not root.is_dir():
    raise ValueError(
      f'There is no folder {root}: give one with a folder of photographs for '
      'each person, or an archive of it'
    )
  while True:
    entries = _visible(root)
    inner = [entry for entry in entries if entry.is_dir()]
    if len(inner) != 1 or any(decoding.is_image(e.name) for e in entries):
      return root
    inside = _visible(inner[0])
    if not any(entry.is_dir() for entry in inside) or any(
      decoding.is_image(entry.name) for entry in inside if not entry.is_dir()
    ):
      return root
    root = pathlib.Path(inner[0])


def _list_person(folder: os.DirEntry) -> tuple[list[Photograph], list[str]]:
  """The photographs of a person, and what else there is."""
  files, ignored = [], []
  for entry in _visible(folder):
    is_photograph = (
      decoding.is_image(entry.name)
      and entry.is_file()
      and not is_made(entry.name)
    )
    (files if is_photograph else ignored).append(entry)
  # a.jpg and a.png would share a crop, so they keep their suffixes. Some file
  # systems ignore case.
  stems = collections.Counter(_stem(file).casefold() for file in files)
  found = []
  for file in files:
    stem = _stem(file)
    if stems[stem.casefold()] > 1 or _FACE_NUMBER.search(stem):
      stem = file.name
    status = file.stat()
    found.append(
      Photograph(
        folder.name,
        f'{folder.name}/{file.name}',
        f'{folder.name}/{stem}',
        status.st_size,
        status.st_mtime_ns,
      )
    )
  return found, [
    f'{folder.name}/{entry.name}{"/" if entry.is_dir() else ""}'
    for entry in ignored
  ]


def _elsewhere(root: pathlib.Path, ignored: list[str]) -> str:
  """Says where photographs lie too deep to be found, or what reads them."""
  if heic := decoding.about_heic(ignored):
    return f'; {heic}'
  for name in ignored:
    for folder, _, files in os.walk(root / name):
      if any(map(decoding.is_image, files)):
        return (
          f'; there are some in {folder}, which is deeper: give the folder '
          'whose folders are people'
        )
  return ''


def _stem(entry: os.DirEntry) -> str:
  return os.path.splitext(entry.name)[0]


def _visible(folder: str | os.PathLike) -> list[os.DirEntry]:
  found = folders.visible(folder)
  for entry in found:
    folders.check_text(entry)
  return found
