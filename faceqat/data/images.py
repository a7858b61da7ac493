"""Encoded images to pixels: the one place that decodes, and says what is wrong.

Every source and pair set decodes here, so that a damaged file is one kind of
error wherever it comes from and the training pipeline can tell it (it may skip
such an image) from a data set prepared in the wrong size (it may not).
"""

import io

import numpy as np
from PIL import Image

# Only these decoders are tried: the formats that face data sets come in.
_FORMATS = ('JPEG', 'PNG', 'BMP', 'WEBP')
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')


class DamagedImageError(ValueError):
  """An image whose bytes cannot be decoded; the message names it."""


def decode_image(
  data: bytes, name: str, image_size: int, stored_size: int = 0
) -> np.ndarray:
  """Decodes one image to RGB.

  Args:
    data: the encoded image (JPEG, PNG, BMP or WebP).
    name: the file or record, for messages.
    image_size: height and width to return, in pixels.
    stored_size: the height and width that the encoded image must have; where
      it is not image_size, the image is resized (bilinear, and averaged where
      it gets smaller). 0: image_size.

  Returns:
    uint8 [image_size, image_size, 3], RGB; grey images are repeated over the
    three channels. Read-only: it may be shared.

  Raises:
    DamagedImageError: the bytes are empty, truncated or no image.
    ValueError: the image has another size than stored_size.
  """
  stored_size = stored_size or image_size
  if not data:
    raise DamagedImageError(
      f'{name} is empty (0 bytes): restore or remove it, or train with '
      'skip_damaged.'
    )
  # Pillow raises OSError, SyntaxError, struct.error, zlib.error and more for
  # broken files, depending on the format and the damaged byte.
  try:
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
  except (Image.DecompressionBombError, Image.DecompressionBombWarning):
    raise ValueError(_wrong_size(name, 'far too many', stored_size)) from None
  except Exception as error:
    raise DamagedImageError(_damaged(name, error)) from error
  # The header already has the size: nothing large is ever decoded.
  if image.size != (stored_size, stored_size):
    got = f'{image.size[0]}x{image.size[1]}'
    raise ValueError(_wrong_size(name, got, stored_size))
  try:
    image = image.convert('RGB')
  except Exception as error:
    raise DamagedImageError(_damaged(name, error)) from error
  if stored_size != image_size:
    image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
  return np.asarray(image)


def _damaged(name: str, error: Exception) -> str:
  reason = type(error).__name__
  # Pillow's text for unknown data is the address of a buffer.
  if not isinstance(error, Image.UnidentifiedImageError):
    reason = f'{reason}: {error}'
  else:
    reason = f'not one of {", ".join(_FORMATS)}'
  return (
    f'{name} cannot be decoded ({reason}): restore or remove it, or train '
    'with skip_damaged.'
  )


def _wrong_size(name: str, got: str, wanted: int) -> str:
  return (
    f'{name} has {got} pixels, wanted {wanted}x{wanted}: align the faces to '
    'that size first, or set stored_size to the size of the files, which are '
    'then resized to image_size.'
  )
