"""Images whose files have blue and red exchanged, as RGB."""

from collections.abc import Sequence

import numpy as np

from faceqat.faces.made import are_made


class SourceInRGB:
  """A labelled source whose files have blue and red exchanged."""

  def __init__(self, source):
    self._source = source
    self.labels = source.labels
    self.class_names = source.class_names
    self.ignored = getattr(source, 'ignored', [])
    self.made = are_made(source)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    example = self._source[index]
    return {**example, 'image': example['image'][..., ::-1]}

  def encoded(self, index: int) -> bytes:
    return self._source.encoded(index)

  def name(self, index: int) -> str:
    return self._source.name(index)


class ImagesInRGB:
  """The same for the images of pairs."""

  def __init__(self, images: Sequence[np.ndarray]):
    self._images = images

  def __len__(self) -> int:
    return len(self._images)

  def __getitem__(self, index: int) -> np.ndarray:
    return self._images[index][..., ::-1]

  def encoded(self, index: int) -> bytes:
    return self._images.encoded(index)
