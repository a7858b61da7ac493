"""The image files that a list names: found once each, read when asked for."""

import collections
import os
import unicodedata
from collections.abc import Sequence

import numpy as np

from faceqat.faces import images as face_images
from faceqat.faces.made import is_made
from faceqat.files import decoding
from faceqat.files.image_size import ImageSize


class ImageFiles:
  """Image files, read when asked for."""

  def __init__(
    self, paths: list[str], image_size: ImageSize, stored_size: ImageSize
  ):
    self._paths = paths
    self._sizes = image_size, stored_size

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> np.ndarray:
    return face_images.read_image(self._paths[index], *self._sizes)

  def encoded(self, index: int) -> bytes:
    """The bytes of an image, with a look at whether they are one."""
    path = self._paths[index]
    return face_images.checked(face_images.read_file(path), path, *self._sizes)


class FileIndex:
  """Finds the images that a list names and gives each file one index.

  A list and its folder are often from different hands, so the suffixes of
  images stand for each other, in any case, and so do Unicode's ways to write
  one letter.

  Attributes:
    paths: of the files, by index.
  """

  def __init__(self, root: str | os.PathLike):
    self._root = os.fspath(root)
    if not os.path.isdir(self._root):
      raise ValueError(
        f'There is no image folder {self._root}: set eval.path to the folder '
        'that holds the images of the list, such as one folder for each person.'
      )
    self._listings: dict[str, dict[str, list[str]]] = {}
    self._indices: dict[str, int] = {}
    self.paths: list[str] = []

  def find(self, names: Sequence[str], where: str) -> int:
    """The index of an image.

    Args:
      names: where it may lie, `folder/image.jpg`; the first there is counts.
      where: in the list, for messages.

    Raises:
      ValueError: there is none, it was made of another one (`made.py`), or a
        name is no path inside the folder.
    """
    if names[0] in self._indices:
      return self._indices[names[0]]
    path = next(filter(None, (self._file(name, where) for name in names)), None)
    if path is None:
      raise ValueError(
        f'{where} names an image that does not exist: '
        f'{os.path.join(self._root, names[0])} (nor with another suffix of '
        'images).'
      )
    if is_made(path):
      raise ValueError(
        f'{where} names {path}, which was made of another image by prepare '
        '--complete, and so compares with it: take it off the list.'
      )
    # Two spellings of a name are one image.
    self._indices[names[0]] = self._indices.setdefault(path, len(self.paths))
    if self._indices[path] == len(self.paths):
      self.paths.append(path)
    return self._indices[path]

  def _file(self, name: str, where: str) -> str | None:
    path = self._root
    *inner, last = self._parts(name, where)
    for part in inner:
      entries = self._list(path).get(unicodedata.normalize('NFC', part), [])
      if not entries:
        return None
      path = os.path.join(path, part if part in entries else entries[0])
    stem = os.path.splitext(last)[0] if decoding.is_image(last) else last
    files = [
      file
      for file in self._list(path).get(unicodedata.normalize('NFC', stem), [])
      if decoding.is_image(file)
    ]
    if not files:
      return None
    path = os.path.join(path, last if last in files else files[0])
    return path if os.path.isfile(path) else None

  def _parts(self, name: str, where: str) -> list[str]:
    """Of a path below the folder."""
    inside = name.replace('\\', '/')
    if os.path.isabs(inside):
      inside = os.path.relpath(inside, os.path.abspath(self._root))
    parts = [part for part in inside.split('/') if part not in ('.', '')]
    # A list from elsewhere must not read outside the folder.
    if not parts or '..' in parts or '\0' in inside:
      raise ValueError(
        f'{where} names "{name}", which is no file name inside of '
        f'{self._root}: write it as it lies there, or set eval.path to the '
        'folder that it is in.'
      )
    return parts

  def _list(self, folder: str) -> dict[str, list[str]]:
    """What a folder holds, by name without the suffix of an image."""
    if folder not in self._listings:
      found = collections.defaultdict(list)
      names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
      for name in names:
        stems = {name}
        if decoding.is_image(name):
          stems.add(os.path.splitext(name)[0])
        for stem in stems:
          found[unicodedata.normalize('NFC', stem)].append(name)
      self._listings[folder] = found
    return self._listings[folder]


def read_lines(path: str | os.PathLike) -> list[str]:
  """The lines of a list, without blank ones at its end.

  Raises:
    ValueError: there is no such file, or it is no text.
  """
  try:
    # Editors of Windows put a mark before the first line.
    with open(path, encoding='utf-8-sig') as file:
      return file.read().rstrip().split('\n')
  except FileNotFoundError:
    raise ValueError(
      f'There is no list of pairs {path}: set eval.pairs to one.'
    ) from None
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is no list of pairs: it is not UTF-8 text ({error}); save it as '
      'UTF-8.'
    ) from error
