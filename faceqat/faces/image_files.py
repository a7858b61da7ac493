"""The image files that a list names: found once each, read when needed."""

import collections
import os
import unicodedata
from collections.abc import Sequence

from faceqat.faces import images as face_images
from faceqat.faces.lazy_images import LazyImages, encoded_images
from faceqat.faces.made import is_made
from faceqat.files import decoding
from faceqat.files.image_size import ImageSize


def images_of_files(
  paths: Sequence[str], image_size: ImageSize, stored_size: ImageSize
) -> LazyImages:
  """Image files, decoded when asked for."""

  def file(index: int) -> tuple[bytes, str]:
    return face_images.read_file(paths[index]), paths[index]

  return encoded_images(len(paths), file, image_size, stored_size)


class FileIndex:
  """Finds the images that a list names, and gives each file one index.

  Lists and folders often differ in the suffix of images, its case, or the
  Unicode form of a letter, so these are not compared.

  Attributes:
    paths: of the files, by index.
  """

  def __init__(self, root: str | os.PathLike):
    self._root = os.fspath(root)
    if not os.path.isdir(self._root):
      raise ValueError(
        f'There is no image folder {self._root}: set eval.path to the folder '
        'that holds the images of the list, such as one folder for each person'
      )
    self._listings: dict[str, dict[str, list[str]]] = {}
    self._indices: dict[str, int] = {}
    self.paths: list[str] = []

  def find(self, names: Sequence[str], where: str) -> int:
    """The index of an image.

    Args:
      names: possible paths, `folder/image.jpg`; the first that exists counts.
      where: the place in the list, for messages.

    Raises:
      ValueError: none exists, it was made of another image (`made.py`), or a
        name is no path inside the folder.
    """
    if names[0] in self._indices:
      return self._indices[names[0]]
    path = next(filter(None, (self._file(name, where) for name in names)), None)
    if path is None:
      raise ValueError(
        f'{where} names an image that does not exist: '
        f'{os.path.join(self._root, names[0])} (nor with another suffix of '
        'images)'
      )
    if is_made(path):
      raise ValueError(
        f'{where} names {path}, which was made of another image by prepare '
        '--complete, and so compares with it: take it off the list'
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
    """The parts of a path below the folder."""
    inside = name.replace('\\', '/')
    if os.path.isabs(inside):
      inside = os.path.relpath(inside, os.path.abspath(self._root))
    parts = [part for part in inside.split('/') if part not in ('.', '')]
    # A list must not lead outside of the folder.
    if not parts or '..' in parts or '\0' in inside:
      raise ValueError(
        f'{where} names "{name}", which is no file name inside of '
        f'{self._root}: write it as it lies there, or set eval.path to the '
        'folder that it is in'
      )
    return parts

  def _list(self, folder: str) -> dict[str, list[str]]:
    """The entries of a folder by their names, and of images by their stems."""
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
    ValueError: there is no such file, or it is no UTF-8 text.
  """
  try:
    # Windows editors put a byte order mark before the first line.
    with open(path, encoding='utf-8-sig') as file:
      return file.read().rstrip().split('\n')
  except FileNotFoundError:
    raise ValueError(
      f'There is no list of pairs {path}: set eval.pairs to one'
    ) from None
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is no list of pairs: it is not UTF-8 text ({error}); save it as '
      'UTF-8'
    ) from error
