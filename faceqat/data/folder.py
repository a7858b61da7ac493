"""A folder of people: root/person/image.jpg."""

import os

import numpy as np

from faceqat.data import images


class FolderSource:
  """Labelled images from root/person/image, one folder for each person.

  People and their images are in sorted order, so an index means the same image
  on every machine; names that start with a dot are ignored.

  Attributes:
    labels: int32 [N], 0 .. K-1 in the sorted order of the people.
    class_names: the K folder names.
  """

  def __init__(
    self, root: str | os.PathLike, image_size: int, stored_size: int = 0
  ):
    """Lists the folder; images are read when they are asked for.

    Args:
      root: the folder with one folder for each person.
      image_size: height and width of the images given, in pixels.
      stored_size: height and width that every file must have, resized where
        that is another size; 0: image_size.

    Raises:
      ValueError: no such folder, no people, only one person, a person without
        images, or a file that is no image.
    """
    self.root = os.fspath(root)
    self.image_size = image_size
    self.stored_size = stored_size
    self.class_names = _people(self.root)
    self._files: list[str] = []
    counts = []
    for person in self.class_names:
      files = _image_files(os.path.join(self.root, person))
      self._files.extend(files)
      counts.append(len(files))
    self.labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    path = self.name(index)
    with open(path, 'rb') as file:
      data = file.read()
    return {
      'image': images.decode_image(
        data, path, self.image_size, self.stored_size
      ),
      'label': self.labels[index],
    }

  def name(self, index: int) -> str:
    """The path of image `index`."""
    person = self.class_names[self.labels[index]]
    return os.path.join(self.root, person, self._files[index])


def _people(root: str) -> list[str]:
  if not os.path.isdir(root):
    raise ValueError(
      f'There is no image folder {root}: give the folder that holds one '
      'folder of images for each person.'
    )
  people = []
  for entry in _visible(root):
    if entry.is_dir():
      people.append(entry.name)
    elif entry.name.lower().endswith(images.IMAGE_SUFFIXES):
      raise ValueError(
        f'The image {entry.path} lies beside the people: move it into the '
        'folder of its person.'
      )
  if not people:
    raise ValueError(
      f'{root} has no person folders: images must lie in {root}/person/.'
    )
  if len(people) == 1:
    raise ValueError(
      f'{root} has one person only ({people[0]}): training needs at least two.'
    )
  return people


def _image_files(folder: str) -> list[str]:
  names = []
  for entry in _visible(folder):
    is_image = entry.name.lower().endswith(images.IMAGE_SUFFIXES)
    if not is_image or entry.is_dir():
      raise ValueError(
        f'{entry.path} is not an image file '
        f'({", ".join(images.IMAGE_SUFFIXES)}): remove it from the data set.'
      )
    names.append(entry.name)
  if not names:
    raise ValueError(
      f'The person folder {folder} has no images: add some or remove it.'
    )
  return names


def _visible(folder: str) -> list[os.DirEntry]:
  """Entries that do not start with a dot, sorted by name."""
  with os.scandir(folder) as entries:
    visible = [entry for entry in entries if not entry.name.startswith('.')]
  return sorted(visible, key=lambda entry: entry.name)
