"""Decodes face crops to pixels of one size, for every source and pair set.

An image that cannot be used raises the same error wherever it comes from, so
that a training can skip it.
"""

import io
import logging
import os
import threading

import numpy as np
from PIL import Image

from faceqat.files import decoding
from faceqat.files.image_size import (
  ImageSize,
  height_width,
  same_proportions,
  shown_size,
)

# Height and width in pixels.
_Size = tuple[int, int]

_REMEDY = 'restore or remove it, or pass over it with data.skip_damaged=True'


class DamagedImageError(ValueError):
  """An image that cannot be used; the message names it.

  Attributes:
    what: names the image and the damage.
    remedy: what to do.
  """

  def __init__(self, what: str, remedy: str = _REMEDY):
    super().__init__(f'{what}: {remedy}')
    self.what, self.remedy = what, remedy


class WrongSizeError(DamagedImageError):
  """An image of another size than wanted."""


class SkippedImages:
  """Logs each skipped image once, from any thread."""

  def __init__(self):
    self._named: set[str] = set()
    self._lock = threading.Lock()

  def add(self, error: DamagedImageError):
    """Logs an image, unless it was logged before."""
    with self._lock:
      is_new = error.what not in self._named
      self._named.add(error.what)
    if is_new:
      logging.warning('Skipped: %s', error.what)


def decode_image(
  data: bytes, name: str, image_size: ImageSize, stored_size: ImageSize = 0
) -> np.ndarray:
  """Decodes one image to RGB, as `decoding.decode` does.

  Args:
    data: the encoded image, in one of `decoding.FORMATS`.
    name: the file or record, for messages.
    image_size: height and width to return, in pixels.
    stored_size: height and width that the encoded image must have; it is
      resized if these are others than image_size. 0: image_size.

  Returns:
    uint8 [H, W, 3] of image_size, RGB, read-only.

  Raises:
    DamagedImageError: the bytes are empty, truncated or no image.
    WrongSizeError: the image has another size than stored_size.
    ValueError: as `wanted_and_stored`.
  """
  wanted, stored = sizes = wanted_and_stored(image_size, stored_size)
  image = _tried(decoding.decode, data, name, sizes)
  size = image.height, image.width
  if size != stored:
    raise WrongSizeError(*_wrong_size(name, size, sizes))
  return np.asarray(resize(image, wanted))


def wanted_and_stored(
  image_size: ImageSize, stored_size: ImageSize
) -> tuple[_Size, _Size]:
  """The sizes of images as they are returned, and in their files.

  >>> wanted_and_stored(112, 0)
  ((112, 112), (112, 112))

  Raises:
    ValueError: one is no size; or their proportions differ, so that faces
      would be squeezed.
  """
  wanted = height_width(image_size)
  stored = height_width(stored_size, 'stored_size') if stored_size else wanted
  if not same_proportions(wanted, stored):
    raise ValueError(
      f'stored_size is {shown_size(stored)} and image_size '
      f'{shown_size(wanted)} (height x width): faces would be squeezed; cut '
      'them to the proportions of image_size, or set image_size to those of '
      'the files'
    )
  return wanted, stored


def resize(image: Image.Image, size: _Size) -> Image.Image:
  """Resizes an image, bilinear, and averaged where it gets smaller."""
  height, width = size
  return image.resize((width, height), Image.Resampling.BILINEAR)


def checked(
  data: bytes, name: str, image_size: ImageSize = 0, stored_size: ImageSize = 0
) -> bytes:
  """The same bytes, after a check of the image's header and end.

  Args:
    data: the encoded image.
    name: the file or record, for messages.
    image_size: as for `decode_image`; 0: any size is taken.
    stored_size: as for `decode_image`.

  Raises:
    DamagedImageError: as `decode_image`, except for damage in the middle.
    WrongSizeError: as `decode_image`.
  """
  sizes = wanted_and_stored(image_size, stored_size) if image_size else None
  _tried(decoding.check, data, name, sizes)
  return data


def _tried(decode, data: bytes, name: str, sizes: tuple[_Size, _Size] | None):
  """Calls a function of decoding.py; its errors get the image's name."""

  def check_size(width: int, height: int):
    # Known from the header, upright or not, so that nothing large is decoded.
    if sizes and sizes[1] not in ((height, width), (width, height)):
      raise WrongSizeError(*_wrong_size(name, (height, width), sizes))

  if not data:
    raise DamagedImageError(f'{name} is empty (0 bytes)')
  try:
    return decode(io.BytesIO(data), check_size)
  except decoding.UnreadableError as error:
    if sizes and isinstance(error, decoding.TooLargeError):
      what = f'{name} has far too many pixels, wanted {shown_size(sizes[1])}'
      remedy = 'align the faces to that size first'
      raise WrongSizeError(what, remedy) from None
    raise DamagedImageError(f'{name} {error}') from error


def read_image(
  path: str | os.PathLike, image_size: ImageSize, stored_size: ImageSize = 0
) -> np.ndarray:
  """Reads one image file; see `read_file` and `decode_image`."""
  data = read_file(path)
  return decode_image(data, os.fspath(path), image_size, stored_size)


def read_file(path: str | os.PathLike) -> bytes:
  """The bytes of an image file.

  Raises:
    DamagedImageError: it is not there, or cannot be read.
  """
  try:
    with open(path, 'rb') as file:
      return file.read()
  except OSError as error:
    what = f'{os.fspath(path)} cannot be read ({error.strerror})'
    if os.path.islink(path):
      what += f', it is a link to {os.readlink(path)}'
    raise DamagedImageError(what) from error


def _wrong_size(
  name: str, got: _Size, sizes: tuple[_Size, _Size]
) -> tuple[str, str]:
  """The fault of an image, and the remedy."""
  wanted, stored = sizes
  square = got[0] == got[1] and stored[0] == stored[1]
  order = '' if square else ' (height x width)'
  remedy = (
    'set stored_size to the size of the files, which are then resized to '
    'image_size'
    if same_proportions(got, wanted)
    else f'for a network of such images, set data.image_size to {got}'
  )
  fault = (
    f'{name} has {shown_size(got)} pixels{order}, wanted {shown_size(stored)}'
  )
  return fault, (
    'align the faces to that size first, which faceqat.prepare does with '
    f'photographs, or {remedy}'
  )
