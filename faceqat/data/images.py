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
from faceqat.image_size import (
  ImageSize,
  height_width,
  same_proportions,
  shown,
)

# Height and width in pixels.
_Size = tuple[int, int]


class DamagedImageError(ValueError):
  """An image whose bytes cannot be decoded; the message names it."""


def decode_image(
  data: bytes, name: str, image_size: ImageSize, stored_size: ImageSize = 0
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
    uint8 [H, W, 3] of image_size, RGB. Read-only: it may be shared.

  Raises:
    DamagedImageError: the bytes are empty, truncated or no image.
    ValueError: the image has another size than stored_size, or that has other
      proportions than image_size.
  """
  wanted, stored = wanted_and_stored(image_size, stored_size)

  def check_size(width: int, height: int):
    # The header already has the size, upright or not: nothing large is ever
    # decoded.
    if stored not in ((height, width), (width, height)):
      raise ValueError(_wrong_size(name, (height, width), stored, wanted))

  if not data:
    raise DamagedImageError(_damaged(name, 'is empty (0 bytes)'))
  try:
    image = decoding.decode(io.BytesIO(data), check_size)
  except decoding.TooLargeError:
    raise ValueError(
      f'{name} has far too many pixels, wanted {shown(stored)}: align the '
      'faces to that size first.'
    ) from None
  except decoding.UnreadableError as error:
    raise DamagedImageError(_damaged(name, str(error))) from error
  size = image.height, image.width
  if size != stored:
    raise ValueError(_wrong_size(name, size, stored, wanted))
  return np.asarray(resize(image, wanted))


def wanted_and_stored(
  image_size: ImageSize, stored_size: ImageSize
) -> tuple[_Size, _Size]:
  """The sizes that images are given in and that they have in their files.

  Args:
    image_size: as a config has it.
    stored_size: as a config has it; 0: image_size.

  Raises:
    ValueError: one is no size; or they have other proportions, so that faces
      would be squeezed.
  """
  wanted = height_width(image_size)
  stored = height_width(stored_size, 'stored_size') if stored_size else wanted
  if not same_proportions(wanted, stored):
    raise ValueError(
      f'stored_size is {shown(stored)} and image_size {shown(wanted)} (height '
      'x width): faces would be squeezed; cut them to the proportions of '
      'image_size, or set image_size to those of the files'
    )
  return wanted, stored


def resize(image: Image.Image, size: _Size) -> Image.Image:
  """Bilinear, and averaged where the image gets smaller."""
  height, width = size
  if image.size == (width, height):
    return image
  return image.resize((width, height), Image.Resampling.BILINEAR)


def read_image(
  path: str | os.PathLike, image_size: ImageSize, stored_size: ImageSize = 0
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


def _wrong_size(name: str, got: _Size, stored: _Size, wanted: _Size) -> str:
  order = (
    '' if got[0] == got[1] and stored[0] == stored[1] else ' (height x width)'
  )
  remedy = (
    'set stored_size to the size of the files, which are then resized to '
    'image_size'
    if same_proportions(got, wanted)
    else f'for a network of such images, set data.image_size to {got}'
  )
  return (
    f'{name} has {shown(got)} pixels{order}, wanted {shown(stored)}: align the '
    f'faces to that size first, or {remedy}.'
  )
