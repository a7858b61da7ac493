"""Writes packs of images and the files of their people."""

import abc
import os
import pathlib

from faceqat.data.sources import people_file
from faceqat.files import atomic


class PackWriter(abc.ABC):
  """A context in which images are appended to a pack.

  The pack and `x.people.json` appear when the context is left, or not at all if
  that is by an error.

  Attributes:
    suffix: of a pack's name.
  """

  suffix: str

  def __init__(self, path: str | os.PathLike):
    """Checks the name.

    Args:
      path: the pack, in a folder that exists.

    Raises:
      ValueError: the name has another suffix.
    """
    self._path = pathlib.Path(path)
    if self._path.suffix != self.suffix:
      raise ValueError(f'{path} has to end in {self.suffix}')
    self._temporary = atomic.temporary_name(self._path)
    self._people: people_file.People = []

  def __enter__(self):
    self._open()
    return self

  def write(self, image_bytes: bytes, label: int, person_name: str):
    """Appends an image.

    Args:
      image_bytes: encoded, such as a JPEG file.
      label: 0 .. K-1, that of the image before or one more.
      person_name: of this label.

    Raises:
      ValueError: the label is out of order, has had another name, or is too
        large for the pack.
    """
    self._count(label, person_name)
    self._append(image_bytes, label, person_name)

  def __exit__(self, error_type, *_):
    try:
      self._close(complete=error_type is None)
      if error_type is None:
        people_file.write_people(self._people, self._path)
        self._temporary.replace(self._path)
    finally:
      self._temporary.unlink(missing_ok=True)

  def _count(self, label: int, name: str):
    last = len(self._people) - 1
    if label == last + 1:
      self._people.append((name, 1))
      return
    if label != last:
      raise ValueError(
        f'label {label} ({name!r}) comes after {last}: labels go up from 0 by '
        'one, with all images of a person together'
      )
    known, count = self._people[-1]
    if name != known:
      raise ValueError(f'label {label} is {known!r}, and now {name!r}')
    self._people[-1] = known, count + 1

  @abc.abstractmethod
  def _open(self):
    """Opens `_temporary`."""

  @abc.abstractmethod
  def _append(self, image_bytes: bytes, label: int, person_name: str):
    """Writes one image."""

  @abc.abstractmethod
  def _close(self, complete: bool):
    """Closes `_temporary`, with all that it still lacks if it is complete."""
