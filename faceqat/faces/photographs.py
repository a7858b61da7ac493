"""Photographs as people have them, to upright RGB pixels.

Data sets are decoded in `data/images.py`, which wants one size and few formats;
here everything that a camera, a scanner or the web leaves in a folder comes in.
"""

import os
import warnings

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 100_000_000
# Pillow knows more formats, some of which start other programs. MPO, several
# JPEGs in one file, comes with JPEG.
_FORMATS = ('JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP', 'GIF')
SUFFIXES = (
  '.jpg',
  '.jpeg',
  '.png',
  '.webp',
  '.tif',
  '.tiff',
  '.bmp',
  '.gif',
)
# Modes whose range of values no file tells: 32-bit integers and floats.
_UNBOUNDED_MODES = ('I', 'F')
_WHITE = (255, 255, 255)


def read_photograph(path: str | os.PathLike) -> np.ndarray:
  """Reads a photograph of any usual kind.

  It is turned as its EXIF orientation says. Grey, palette and CMYK images
  become RGB (CMYK without its colour profile), of 16 bits the upper 8 stay,
  what is transparent lies on white, and of an animation or of several pages
  the first is taken.

  Args:
    path: the file: JPEG, PNG, WebP, TIFF, BMP or GIF, whatever its name ends
      in.

  Returns:
    [H, W, 3] uint8, RGB.

  Raises:
    ValueError: the file is missing, empty, truncated, damaged, no image, has
      no pixels or more than `MAX_PIXELS` (which its header says: nothing is
      decoded), or has values of 32 bits.
  """
  try:
    with warnings.catch_warnings():
      # Pillow warns of large images and of details that it can do without;
      # what is too large is refused here.
      warnings.simplefilter('ignore')
      with Image.open(path, formats=_FORMATS) as image:
        _check(image, path)
        return _to_rgb(_upright(image))
  except _RefusedError as error:
    raise ValueError(str(error)) from None
  except Image.DecompressionBombError:
    raise ValueError(_too_large(path, 'far too many')) from None
  except FileNotFoundError:
    raise ValueError(f'{path} is not there; give a photograph.') from None
  except Image.UnidentifiedImageError:
    raise ValueError(
      f'{path} is no photograph that can be read (not one of '
      f'{", ".join(_FORMATS)}, or damaged): remove it or convert it.'
    ) from None
  # Pillow raises OSError, SyntaxError, struct.error, zlib.error and more for
  # broken files, depending on the format and the damaged byte.
  except Exception as error:
    raise ValueError(
      f'{path} cannot be decoded ({type(error).__name__}: {error}): restore '
      'or remove it.'
    ) from error


class _RefusedError(ValueError):
  """An image that is sound, but not wanted."""


def _check(image, path):
  """Refuses by what the header says."""
  width, height = image.size
  if not width or not height:
    raise _RefusedError(
      f'{path} has {width}x{height} pixels, so there is nothing to see in it: '
      'remove it.'
    )
  if width * height > MAX_PIXELS:
    raise _RefusedError(_too_large(path, f'{width}x{height}'))
  if image.mode in _UNBOUNDED_MODES:
    raise _RefusedError(
      f'{path} has pixels of 32 bits (mode {image.mode!r}), whose range it '
      'does not tell: save it with 8 or 16 bits.'
    )


def _too_large(path, got):
  return (
    f'{path} has {got} pixels, at most {MAX_PIXELS // 10**6} million are '
    'taken: make it smaller.'
  )


def _upright(image):
  """Turned as EXIF says; left as it is where EXIF is damaged."""
  image.load()
  try:
    return ImageOps.exif_transpose(image)
  except Exception:
    # Viewers show such a file too, and the pixels have already been decoded.
    return image


def _to_rgb(image):
  """[H, W, 3] uint8."""
  if image.mode.startswith('I;16'):
    # Pillow would clip to 255 instead; of 16-bit RGB it keeps these 8 bits.
    grey = (np.asarray(image) >> 8).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
  if image.has_transparency_data:
    image = image.convert('RGBA')
    paper = Image.new('RGB', image.size, _WHITE)
    paper.paste(image, mask=image.getchannel('A'))
    image = paper
  return np.array(image.convert('RGB'))
