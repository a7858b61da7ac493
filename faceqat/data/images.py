"""Encoded face crops to pixels of one size, for every source and pair set.

A damaged image is one kind of error wherever it comes from, so that the
training pipeline can tell it (it may skip such an image) from a data set
prepared in the wrong size (it may not).
"""

import io
import os

import numpy as np
from PIL import Image

from faceqat import decoding


class DamagedImageError(ValueError):
  """An image whose bytes cannot be decoded; the message names it."""


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
    ValueError: the image has another size than stored_size.
  """
  stored_size = stored_size or image_size

  def check_size(width: int, height: int):
    # The header already has the size: nothing large is ever decoded.
    if (width, height) != (stored_size, stored_size):
      raise ValueError(_wrong_size(name, f'{width}x{height}', stored_size))

  if not data:
    raise DamagedImageError(_damaged(name, 'is empty (0 bytes)'))
  try:
    image = decoding.decode(io.BytesIO(data), check_size)
  except decoding.TooLargeError:
    raise ValueError(_wrong_size(name, 'far too many', stored_size)) from None
  except decoding.UnreadableError as error:
    raise DamagedImageError(_damaged(name, str(error))) from error
  if stored_size != image_size:
    image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
  return np.asarray(image)


def read_image(
  path: str | os.PathLike, image_size: int, stored_size: int = 0
) -> np.ndarray:
  """Reads one image file, as `decode_image` decodes it.

  Raises:
    DamagedImageError: it is not there (a link may lead nowhere), cannot be
      read, or is damaged.
    ValueError: the image has another size than stored_size.
  """
  name = os.fspath(path)
  try:
    with open(path, 'rb') as file:
      data = file.read()
  except OSError as error:
    reason = f'cannot be read ({error.strerror})'
    if os.path.islink(path):
      reason += f', it is a link to {os.readlink(path)}'
    raise DamagedImageError(_damaged(name, reason)) from error
  return decode_image(data, name, image_size, stored_size)


def _damaged(name: str, reason: str) -> str:
  return f'{name} {reason}: restore or remove it, or train with skip_damaged.'


def _wrong_size(name: str, got: str, wanted: int) -> str:
  return (
    f'{name} has {got} pixels, wanted {wanted}x{wanted}: align the faces to '
    'that size first, or set stored_size to the size of the files, which are '
    'then resized to image_size.'
  )
