"""Encoded face crops to pixels of one size, for every source and pair set.

An image that cannot be used is one kind of error wherever it comes from, so
that a training can pass over it, if it may.
"""

import io
import logging
import os
import threading

import numpy as np
from PIL import Image

from faceqat import decoding

_REMEDY = 'restore or remove it, or pass over it with data.skip_damaged=True.'


class DamagedImageError(ValueError):
  """An image that cannot be used; the message names it.

  Attributes:
    what: which it is and what is wrong with it.
    remedy: what to do.
  """

  def __init__(self, what: str, remedy: str = _REMEDY):
    super().__init__(f'{what}: {remedy}')
    self.what, self.remedy = what, remedy


class WrongSizeError(DamagedImageError):
  """An image that has another size than all are to have."""


class SkippedImages:
  """Images that are passed over; each is named once, by whatever thread."""

  def __init__(self):
    self._named: set[str] = set()
    self._lock = threading.Lock()

  def add(self, error: DamagedImageError):
    """Names an image, unless it was named before."""
    with self._lock:
      is_new = error.what not in self._named
      self._named.add(error.what)
    if is_new:
      logging.warning('Skipped: %s', error.what)


def decode_image(
  data: bytes, name: str, image_size: int, stored_size: int = 0
) -> np.ndarray:
  """Decodes one image to RGB, as `decoding.decode` does.

  Args:
    data: the encoded image, of any of `decoding.FORMATS`.
    name: the file or record, for messages.
    image_size: height and width to return, in pixels.
    stored_size: the height and width that the encoded image must have; where
      it is not image_size, the image is resized (bilinear, and averaged where
      it gets smaller). 0: image_size.

  Returns:
    uint8 [image_size, image_size, 3], RGB. Read-only: it may be shared.

  Raises:
    DamagedImageError: the bytes are empty, truncated or no image.
    WrongSizeError: the image has another size than stored_size.
  """
  stored_size = stored_size or image_size
  image = _tried(decoding.decode, data, name, stored_size)
  if stored_size != image_size:
    image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
  return np.asarray(image)


def checked(
  data: bytes, name: str, image_size: int = 0, stored_size: int = 0
) -> bytes:
  """The same bytes, unless their header or their end shows that they are wrong.

  Args:
    data: the encoded image.
    name: the file or record, for messages.
    image_size: as for `decode_image`; 0 in both: any size is taken.
    stored_size: as for `decode_image`.

  Raises:
    DamagedImageError: as `decode_image`, but for damage in the middle.
    WrongSizeError: as `decode_image`.
  """
  _tried(decoding.check, data, name, stored_size or image_size)
  return data


def _tried(decode, data: bytes, name: str, size: int):
  """What a function of decoding.py gives; its errors get the image's name."""

  def check_size(width: int, height: int):
    # The header already has the size: nothing large is ever decoded.
    if size and (width, height) != (size, size):
      raise WrongSizeError(*_wrong_size(name, f'{width}x{height}', size))

  if not data:
    raise DamagedImageError(f'{name} is empty (0 bytes)')
  try:
    return decode(io.BytesIO(data), check_size)
  except decoding.UnreadableError as error:
    if size and isinstance(error, decoding.TooLargeError):
      raise WrongSizeError(*_wrong_size(name, 'far too many', size)) from None
    raise DamagedImageError(f'{name} {error}') from error


def read_image(
  path: str | os.PathLike, image_size: int, stored_size: int = 0
) -> np.ndarray:
  """Reads one image file, as `decode_image` decodes it.

  Raises:
    DamagedImageError: it is not there (a link may lead nowhere), cannot be
      read, or is damaged.
    WrongSizeError: the image has another size than stored_size.
  """
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


def _wrong_size(name: str, got: str, wanted: int) -> tuple[str, str]:
  return f'{name} has {got} pixels, wanted {wanted}x{wanted}', (
    'align the faces to that size first, or set stored_size to the size of the '
    'files, which are then resized to image_size.'
  )
