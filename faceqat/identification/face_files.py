"""Images of people in folders: listed first, and read when asked for.

A reader gives the faces in an image as a network takes them: the image is an
aligned crop already, or a photograph in which they have to be found.
"""

import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from faceqat.faces import images
from faceqat.files import decoding, folders
from faceqat.files.image_size import ImageSize

# From a path to the faces in it, uint8 [H, W, 3] each; raises ValueError where
# there is none.
Reader = Callable[[pathlib.Path], list[np.ndarray]]
# Takes the path and the pixels of a photograph, and its faces
# (`faces.detection.Face`).
Judge = Callable[[pathlib.Path, np.ndarray, list], None]


class Entry(NamedTuple):
  """An image to read.

  Attributes:
    name: person/image.jpg.
    person: whose name; None where nothing says.
    read: gives the faces in it, uint8 [H, W, 3] each; raises ValueError.
    path: of the file; None where there is none of its own.
  """

  name: str
  person: str | None
  read: Callable[[], list[np.ndarray]]
  path: pathlib.Path | None = None


class LeftOut(NamedTuple):
  """An image that was not used, and why."""

  name: str
  reason: str


def list_people(
  root: str | os.PathLike, reader: Reader
) -> tuple[list[Entry], list[LeftOut]]:
  """The images of a folder root/person/image.jpg, sorted by name.

  Names that start with a dot are skipped, and files beside the people that are
  no images.

  Returns:
    The images; and other files in folders of people, and broken links.

  Raises:
    ValueError: no such folder, images that lie beside the people, or a name
      that is no text.
  """
  root = pathlib.Path(root)
  if not root.is_dir():
    raise ValueError(
      f'{root} is no folder; give one that holds a folder of images for each '
      'person'
    )
  loose = [path for path in _visible(root) if _is_image_file(path)]
  if loose:
    raise ValueError(
      f'{loose[0]} lies beside the people: move it into the folder of its '
      'person, so that it has a name'
    )
  return _list_folder(root, reader)


def list_probes(
  path: str | os.PathLike, reader: Reader
) -> tuple[list[Entry], list[LeftOut]]:
  """One image, or the images of a folder, in folders of people or not.

  An image's person is the folder in which it lies; one that is given by itself,
  or lies beside the people, has no name to compare with.

  Raises:
    ValueError: there is nothing of that name, or a name that is no text.
  """
  path = pathlib.Path(path)
  if path.is_file():
    folders.check_text(path)
    return [Entry(path.name, None, lambda: reader(path), path)], []
  if not path.is_dir():
    raise ValueError(
      f'{path} does not exist; give an image, or a folder of images'
    )
  return _list_folder(path, reader)


def read_faces(
  entries: Iterable[Entry], left_out: list[LeftOut]
) -> Iterator[tuple[Entry, int, np.ndarray]]:
  """Yields each face with its image and its place there, from 0.

  Images that cannot be used are added to `left_out`.
  """
  for entry in entries:
    try:
      crops = entry.read()
    except (ValueError, OSError) as error:
      left_out.append(LeftOut(entry.name, str(error)))
      continue
    for number, crop in enumerate(crops):
      yield entry, number, crop


def make_crop_reader(image_size: ImageSize, stored_size: ImageSize) -> Reader:
  """Reads files that are aligned faces already, of `stored_size` pixels."""
  # Else it would be said of each file.
  images.wanted_and_stored(image_size, stored_size)

  def read(path: pathlib.Path) -> list[np.ndarray]:
    data = path.read_bytes()
    try:
      return [images.decode_image(data, path.name, image_size, stored_size)]
    except images.WrongSizeError as error:
      raise ValueError(
        f'{error.what}: align the faces to that size with faceqat.prepare, '
        'give --photographs to do it here, or --stored_size to resize crops'
      ) from error
    except images.DamagedImageError as error:
      raise ValueError(error.what) from error

  return read


def make_photograph_reader(
  template: str,
  choice: str,
  image_size: ImageSize,
  stored_size: ImageSize = 0,
  *,
  bgr: bool = False,
  detector: str | os.PathLike | None = None,
  ambiguous: list[pathlib.Path] | None = None,
  judge: Judge | None = None,
) -> Reader:
  """Reads photographs: finds the faces, and aligns them as a network wants.

  Args:
    template: of `alignment.TEMPLATES` or `alignment.WITH_MARGIN`.
    choice: which of several faces, one of `faces.choice.CHOICES`.
    image_size: of the faces given.
    stored_size: to which the network's training images were aligned before
      they were resized; 0: image_size.
    bgr: the network takes BGR.
    detector: an ONNX file; None: the packaged one.
    ambiguous: gets the photographs in which another face is nearly as good a
      choice, when they are read.
    judge: is shown the faces given, when they are read.

  Raises:
    ValueError: another template, a size that it is not for, or no detector.
  """
  # A detector's library is large, and crops need none.
  from faceqat.faces import choice as choices
  from faceqat.faces import photographs
  from faceqat.identification.face_finder import FaceFinder

  finder = FaceFinder(
    template, image_size, stored_size, bgr=bgr, detector=detector
  )

  def read(path: pathlib.Path) -> list[np.ndarray]:
    image = photographs.read_photograph(path)
    faces = finder.detect(image)
    found = choices.choose(faces, choice, image.shape)
    if not found:
      raise ValueError(
        f'{path.name} has no face that the detector finds: give one with the '
        'whole face, upright and not too small'
      )
    if ambiguous is not None and choices.is_ambiguous(
      faces, choice, image.shape
    ):
      ambiguous.append(path)
    if judge is not None:
      judge(path, image, found)
    return finder.cut(image, found)

  return read


def _is_image_file(path: pathlib.Path) -> bool:
  """By its name, and not a folder."""
  return decoding.is_image(path) and not path.is_dir()


def _list_folder(root: pathlib.Path, reader: Reader):
  """The images in folders of people, and those beside them."""
  entries, left_out = [], []
  for path in _visible(root):
    if path.is_dir():
      for image in _visible(path):
        name = image.relative_to(root).as_posix()
        if _is_image_file(image):
          entries.append(
            Entry(name, path.name, lambda image=image: reader(image), image)
          )
        else:
          left_out.append(LeftOut(name, _why_left_out(image, name)))
    elif decoding.is_image(path):
      entries.append(
        Entry(path.name, None, lambda path=path: reader(path), path)
      )
    else:
      left_out += _broken_link(path)
  return entries, left_out


def _why_left_out(path: pathlib.Path, name: str) -> str:
  if path.is_dir():
    return f'{name} is a folder: images lie in person/image.jpg'
  return f'{name} is no image file: {decoding.why_no_image(path)}'


def _broken_link(path: pathlib.Path) -> list[LeftOut]:
  """A note where a link leads nowhere: a person may be behind it."""
  if path.exists():
    return []
  reason = f'{path.name} is a link to {os.readlink(path)}, which is not there'
  return [LeftOut(path.name, reason)]


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
  visible = [pathlib.Path(entry) for entry in folders.visible(folder)]
  for path in visible:
    folders.check_text(path)
  return visible
