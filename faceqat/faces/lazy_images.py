"""Images of a set, each read when it is asked for."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from faceqat.faces import images
from faceqat.files.image_size import ImageSize


@dataclasses.dataclass(frozen=True)
class LazyImages(Sequence):
  """A sequence of images, uint8 [H, W, 3] each.

  Attributes:
    length: N.
    pixels: decodes the image of an index.
    encoded: its bytes, checked as by `images.checked`; None where nothing
      looks at them.
  """

  length: int
  pixels: Callable[[int], np.ndarray]
  encoded: Callable[[int], bytes] | None = None

  def __len__(self) -> int:
    return self.length

  def __getitem__(self, index: int) -> np.ndarray:
    return self.pixels(range(self.length)[index])


def encoded_images(
  length: int,
  file: Callable[[int], tuple[bytes, str]],
  image_size: ImageSize,
  stored_size: ImageSize,
) -> LazyImages:
  """Encoded images, decoded to `image_size`.

  Args:
    length: N.
    file: the bytes of an image, and its name for messages.
    image_size: as for `images.decode_image`.
    stored_size: as for `images.decode_image`.
  """

  def pixels(index: int) -> np.ndarray:
    return images.decode_image(*file(index), image_size, stored_size)

  def encoded(index: int) -> bytes:
    return images.checked(*file(index), image_size, stored_size)

  return LazyImages(length, pixels, encoded)


def selected(source, indices: np.ndarray) -> LazyImages:
  """The images of a labelled source at some indices, without the labels."""
  return LazyImages(
    len(indices),
    lambda index: source[int(indices[index])]['image'],
    lambda index: source.encoded(int(indices[index])),
  )


def in_rgb(bgr: LazyImages) -> LazyImages:
  """Images whose files have blue and red exchanged."""
  return LazyImages(len(bgr), lambda index: bgr[index][..., ::-1], bgr.encoded)
