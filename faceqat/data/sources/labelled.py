"""Labelled sources: images of people by number, as training takes them.

A source has `len(source)`, `source[i] -> {'image': uint8 [H, W, 3], 'label':
int32}`, `source.labels`, `source.class_names` and `source.name(i)`. One of
files has `source.encoded(i)` too, their bytes.
"""

import abc
import hashlib
import os
from collections.abc import Iterable, Sequence

import numpy as np

from faceqat.faces import images
from faceqat.faces.made import are_made
from faceqat.files.image_size import ImageSize


class EncodedSource(abc.ABC):
  """Encoded images of a folder or a pack, decoded when asked for.

  Attributes:
    path: of the folder or pack.
    image_size: height and width of the images given, in pixels.
    stored_size: height and width that every image must have, resized where
      that is another size; 0: image_size.
    labels: int32 [N], 0 .. K-1.
    class_names: the K names of people, a sequence.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    image_size: ImageSize,
    stored_size: ImageSize = 0,
  ):
    """Keeps what is to be read; a subclass finds the people."""
    self.path = os.fspath(path)
    self.image_size = image_size
    self.stored_size = stored_size

  def _set_people(self, labels: np.ndarray, class_names: Sequence[str]):
    if not len(class_names):
      raise ValueError(
        f'{self.path} has {len(labels)} images of 0 people: give a set with '
        'one person or more'
      )
    self.labels = labels.astype(np.int32, copy=False)
    self.class_names = class_names

  def __len__(self) -> int:
    return len(self.labels)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    image = images.decode_image(
      self._bytes(index), self.name(index), self.image_size, self.stored_size
    )
    return {'image': image, 'label': self.labels[index]}

  def encoded(self, index: int) -> bytes:
    """The bytes of image `index`, checked as by `images.checked`."""
    return images.checked(
      self._bytes(index), self.name(index), self.image_size, self.stored_size
    )

  def version(self) -> str:
    """A digest that changes when an image does, in a file or as it is given."""
    settings = self.path, self.image_size, self.stored_size
    digest = hashlib.sha256(repr(settings).encode(errors='surrogateescape'))
    for path in self._stored():
      path = os.path.abspath(path)
      try:
        found = os.stat(path)
        state = found.st_size, found.st_mtime_ns, found.st_ctime_ns
      except OSError:
        state = ()
      digest.update(f'{path} {state}\n'.encode(errors='surrogateescape'))
    return digest.hexdigest()

  @abc.abstractmethod
  def name(self, index: int) -> str:
    """The file or record of image `index`, for messages."""

  def _stored(self) -> Iterable[str | os.PathLike]:
    """The files that the images, and their order, are in."""
    return [self.path]

  @abc.abstractmethod
  def _bytes(self, index: int) -> bytes:
    """The encoded image."""


class View(abc.ABC):
  """Images of other sources under labels of its own."""

  def __len__(self) -> int:
    return len(self.labels)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    source, place = self._find(index)
    return {**source[place], 'label': self.labels[index]}

  def encoded(self, index: int) -> bytes:
    """The bytes of image `index`, checked as by `images.checked`."""
    source, place = self._find(index)
    return source.encoded(place)

  def name(self, index: int) -> str:
    """The file or record of image `index`, for messages."""
    source, place = self._find(index)
    return source.name(place)

  @abc.abstractmethod
  def version(self) -> str:
    """As of `EncodedSource`."""

  @abc.abstractmethod
  def _find(self, index: int):
    """The source that image `index` is in, and its index there."""


class Subset(View):
  """Some images of a source, in a given order; labels stay as they are.

  The class names stay too, also where no image of a class is left, so that a
  part and its whole share one classifier.
  """

  def __init__(self, source, indices: Sequence[int]):
    self._source = source
    self._indices = np.asarray(indices, np.int64)
    self.labels = np.asarray(source.labels)[self._indices]
    self.class_names = source.class_names
    self.made = are_made(source)[self._indices]

  def version(self) -> str:
    indices = hashlib.sha256(self._indices.tobytes()).hexdigest()
    return f'{self._source.version()} at {indices}'

  def _find(self, index: int):
    return self._source, int(self._indices[index])


class SourceInRGB(Subset):
  """All images of a source whose files have blue and red exchanged."""

  def __init__(self, source):
    super().__init__(source, np.arange(len(source)))
    self.ignored = getattr(source, 'ignored', [])

  def version(self) -> str:
    return f'{super().version()} reversed'

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    example = super().__getitem__(index)
    return {**example, 'image': example['image'][..., ::-1]}
