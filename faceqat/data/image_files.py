"""The image files that a list names: found once each, read when asked for."""

import os
from collections.abc import Sequence

import numpy as np

from faceqat.data import images as face_images

SUFFIXES = ('.jpg', '.jpeg', '.png')


class ImageFiles:
  """Image files, read when asked for."""

  def __init__(self, paths: list[str], image_size: int, stored_size: int):
    self._paths = paths
    self._sizes = image_size, stored_size

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> np.ndarray:
    path = self._paths[index]
    with open(path, 'rb') as file:
      data = file.read()
    return face_images.decode_image(data, path, *self._sizes)


class FileIndex:
  """Finds the images that a list names and gives each file one index.

  Attributes:
    paths: of the files, by index.
  """

  def __init__(self, root: str | os.PathLike):
    self._root = os.fspath(root)
    if not os.path.isdir(self._root):
      raise ValueError(
        f'There is no image folder {self._root}: give the folder that holds '
        'the images of the list, such as one folder for each person.'
      )
    self._indices: dict[str, int] = {}
    self.paths: list[str] = []

  def find(self, names: Sequence[str], where: str) -> int:
    """The index of an image.

    Args:
      names: where it may lie, `folder/image.jpg`; the first there is counts.
      where: in the list, for messages.

    Raises:
      ValueError: there is none, or a name is no path inside the folder.
    """
    if names[0] in self._indices:
      return self._indices[names[0]]
    path = next(filter(None, (self._file(name, where) for name in names)), None)
    if path is None:
      raise ValueError(
        f'{where} names an image that does not exist: '
        f'{os.path.join(self._root, names[0])} (nor '
        f'{" or ".join(SUFFIXES[1:])}).'
      )
    self._indices[names[0]] = len(self.paths)
    self.paths.append(path)
    return self._indices[names[0]]

  def _file(self, name: str, where: str) -> str | None:
    # A list from elsewhere must not read outside the folder.
    parts = name.split('/')
    if {'', '.', '..'} & set(parts) or '\\' in name or '\0' in name:
      raise ValueError(f'{where} names "{name}", which is no file name.')
    stem, suffix = os.path.splitext(os.path.join(self._root, *parts))
    if suffix.lower() not in SUFFIXES:
      stem, suffix = stem + suffix, ''
    for choice in (suffix, *SUFFIXES):
      if choice and os.path.isfile(stem + choice):
        return stem + choice
    return None


def read_lines(path: str | os.PathLike) -> list[str]:
  """The lines of a list, without blank ones at its end.

  Raises:
    ValueError: there is no such file, or it is no text.
  """
  try:
    with open(path, encoding='utf-8') as file:
      return file.read().rstrip().split('\n')
  except FileNotFoundError:
    raise ValueError(f'There is no list of pairs {path}.') from None
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is no list of pairs: it is not UTF-8 text ({error}).'
    ) from error
