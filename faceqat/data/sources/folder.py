"""A folder of people: root/person/image.jpg."""

import os
from collections.abc import Iterable

import numpy as np

from faceqat.data.sources.labelled import EncodedSource
from faceqat.data.sources.name_list import Names
from faceqat.faces import fingerprint, images, made
from faceqat.files import decoding, folders
from faceqat.files.image_size import ImageSize


class FolderSource(EncodedSource):
  """Labelled images from path/person/image, one folder for each person.

  People and their images are in sorted order, so an index means the same image
  on every machine. Names that start with a dot, and files that systems leave in
  folders (Thumbs.db), are not looked at.

  Attributes:
    ignored: the names of files beside the people, but for its fingerprint.
    made: bool [N], which images were made of others.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    image_size: ImageSize,
    stored_size: ImageSize = 0,
    field: str = 'data.path',
  ):
    """Lists the folder; images are read when they are asked for.

    Args:
      path: the folder with one folder for each person.
      image_size: as of `EncodedSource`.
      stored_size: as of `EncodedSource`.
      field: of the config, for messages.

    Raises:
      ValueError: no such folder, no people, a person without images, or a
        file that is no image.
    """
    super().__init__(path, image_size, stored_size)
    people, self.ignored = _people(self.path, field)
    counts = np.zeros(len(people), np.int32)

    def files():
      for label, person in enumerate(people):
        names = _image_files(os.path.join(self.path, person), field)
        counts[label] = len(names)
        yield from names

    self._files = Names(files())
    labels = np.repeat(np.arange(len(people), dtype=np.int32), counts)
    self._set_people(labels, people)
    is_made = map(made.is_made, self._files)
    self.made = np.fromiter(is_made, bool, len(self._files))

  def name(self, index: int) -> str:
    person = self.class_names[self.labels[index]]
    return os.path.join(self.path, person, self._files[index])

  def _stored(self) -> Iterable[str]:
    return map(self.name, range(len(self)))

  def _bytes(self, index: int) -> bytes:
    return images.read_file(self.name(index))


def _people(root: str, field: str) -> tuple[Names, list[str]]:
  """The folders of people, and the names of other files; both sorted."""
  if not os.path.isdir(root):
    raise ValueError(
      f'There is no image folder {root}: set {field} to the folder that holds '
      'one folder of images for each person'
    )
  people, others, ignored = [], [], []
  # An entry takes more than its name, and there may be millions of people.
  for entry in folders.each_visible(root):
    if entry.is_dir():
      people.append(entry.name)
    else:
      others.append(entry)
  for entry in sorted(others, key=lambda entry: entry.name):
    if decoding.is_image(entry.name):
      raise ValueError(_image_among_people(entry.path, root, field))
    elif not os.path.exists(entry.path):
      # Or a person would be gone without a word.
      raise ValueError(
        f'{entry.path} is a link to {os.readlink(entry.path)}, which is not '
        'there: correct or remove the link'
      )
    elif entry.name != fingerprint.FILE_NAME:
      ignored.append(entry.name)
  if not people:
    raise ValueError(
      f'{root} has no person folders: images must lie in {root}/person/; set '
      f'{field} to the folder that holds those of the people'
    )
  return Names(sorted(people)), ignored


def _image_among_people(image: str, root: str, field: str) -> str:
  if any(entry.is_dir() for entry in folders.visible(root)):
    return (
      f'The image {image} lies beside the people: move it into the folder of '
      f'its person, as {field} wants {root}/person/image.jpg'
    )
  parent = os.path.dirname(os.path.abspath(root))
  return (
    f'{root} has images and no folders, as that of one person: set {field} to '
    f'the folder of all people, such as {parent}, or, for images without '
    f'names, move them into {root}/anyone/; wanted is {field}/person/image.jpg'
  )


def _image_files(folder: str, field: str) -> list[str]:
  found = folders.visible(folder)
  inner = [entry.name for entry in found if entry.is_dir()]
  if inner and len(inner) == len(found):
    raise ValueError(
      f'{folder} holds no images but folders, such as {inner[0]}: if these are '
      f'people, set {field} to {folder}; wanted is {field}/person/image.jpg'
    )
  if inner:
    raise ValueError(
      f'{folder}/{inner[0]} is not an image file but a folder inside of a '
      f"person's: {field} wants the images themselves in {folder}"
    )
  others = [entry for entry in found if not decoding.is_image(entry.name)]
  if others:
    first, more = others[0], len(others) - 1
    raise ValueError(
      f'{first.path} is not an image file: '
      f'{decoding.why_no_image(first.name)}. Move it out of {folder}'
      + (f', and {more} more that are none' if more else '')
    )
  if not found:
    raise ValueError(
      f'The person folder {folder} has no images: add some or remove it'
    )
  return [entry.name for entry in found]
