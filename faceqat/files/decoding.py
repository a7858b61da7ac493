"""Encoded images to upright RGB pixels: all that is read is decoded here.

Crops of a data set and the photographs to cut them out of come through the
same step, so that a file has the same pixels whoever reads it.
"""

import contextlib
import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 100_000_000
# By Pillow's names. It knows more formats: some start other programs (EPS), of
# others any damaged file might be one (TGA has no signature). MPO, several
# JPEGs in one file, comes with JPEG.
_SUFFIXES_OF = {
  'JPEG': ('.jpg', '.jpeg', '.jfif', '.jpe', '.mpo'),
  'PNG': ('.png', '.apng'),
  'BMP': ('.bmp',),
  'WEBP': ('.webp',),
  'TIFF': ('.tif', '.tiff'),
  'GIF': ('.gif',),
  'PPM': ('.pgm', '.ppm', '.pbm', '.pnm'),
  'AVIF': ('.avif',),
  'JPEG2000': ('.jp2', '.j2k'),
}
_HEIF_SUFFIXES = ('.heic', '.heif', '.hif')
_HEIF_BRANDS = (b'heic', b'heix', b'hevc', b'hevx', b'mif1', b'msf1')
with contextlib.suppress(ImportError):
  import pillow_heif

  pillow_heif.register_heif_opener()
  _SUFFIXES_OF['HEIF'] = _HEIF_SUFFIXES
FORMATS = tuple(_SUFFIXES_OF)
SUFFIXES = tuple(name for names in _SUFFIXES_OF.values() for name in names)

# Modes whose range of values no file tells: 32-bit integers and floats.
_UNBOUNDED_MODES = ('I', 'F')
_WHITE = (255, 255, 255)


class UnreadableError(ValueError):
  """What is wrong with an image, to stand behind its name."""


class TooLargeError(UnreadableError):
  """So many pixels that they are not even decoded."""


def is_image(name: str | os.PathLike) -> bool:
  """Whether a file's name ends as those of images do, in any case."""
  return os.fspath(name).lower().endswith(SUFFIXES)


def why_no_image(name: str | os.PathLike) -> str:
  """Of a file that is none by its name: what is, and what to do."""
  if os.fspath(name).lower().endswith(_HEIF_SUFFIXES):
    return 'HEIC is read after pip install pillow-heif; or convert it to JPEG'
  return f'images end in {", ".join(SUFFIXES)}'


def decode(
  file: str | os.PathLike | BinaryIO,
  check_size: Callable[[int, int], None] | None = None,
) -> Image.Image:
  """Decodes an image of any of `FORMATS`, whatever its name ends in.

  It is turned as its EXIF orientation says. Grey, palette and CMYK images
  become RGB (CMYK without its colour profile), of 16 bits the upper 8 stay,
  what is transparent lies on white, and of an animation or of several pages
  the first is taken.

  Args:
    file: its path, or an open file.
    check_size: is called with the width and the height that the header says,
      before anything is decoded; what it raises goes on.

  Returns:
    An image of mode RGB.

  Raises:
    UnreadableError: it is truncated, damaged, no image, without pixels, or has
      values of 32 bits.
    TooLargeError: it has more than `MAX_PIXELS`.
    FileNotFoundError: there is no such file.
  """
  with _open(file, check_size) as image:
    # Pillow raises OSError, SyntaxError, struct.error, zlib.error and more for
    # broken files, depending on the format and the damaged byte.
    try:
      return _to_rgb(_upright(image))
    except Exception as error:
      raise UnreadableError(_damaged(error)) from error


def check(file: BinaryIO, check_size: Callable[[int, int], None] | None = None):
  """Refuses what `decode` would, as far as the header and the end tell.

  So a file that is cut short is found, and damage in its middle is not, in a
  quarter of the time.

  Args:
    file: an open file.
    check_size: as for `decode`.

  Raises:
    UnreadableError, TooLargeError: as `decode`.
  """
  with _open(file, check_size) as image:
    format_name = image.format
  file.seek(0)
  if not _ends_as(format_name, file.read()):
    # It may be whole all the same.
    file.seek(0)
    decode(file)


def _ends_as(format_name: str, data: bytes) -> bool:
  """Whether a file ends as whole ones of its format do."""
  if format_name == 'JPEG':
    return data.endswith(b'\xff\xd9')
  if format_name == 'PNG':
    return data[-8:-4] == b'IEND'
  if format_name == 'WEBP':
    return len(data) >= 8 + int.from_bytes(data[4:8], 'little')
  return False


def _open(
  file: str | os.PathLike | BinaryIO,
  check_size: Callable[[int, int], None] | None,
) -> Image.Image:
  """An image of which the header was read, and is one that is decoded."""
  try:
    image = Image.open(file, formats=FORMATS)
  except FileNotFoundError:
    raise
  except (Image.DecompressionBombError, Image.DecompressionBombWarning):
    raise TooLargeError(_too_large('far too many')) from None
  except Image.UnidentifiedImageError:
    raise UnreadableError(_unknown(file)) from None
  except Exception as error:
    raise UnreadableError(_damaged(error)) from error
  try:
    _check(image)
    if check_size is not None:
      check_size(*image.size)
  except ValueError:
    image.close()
    raise
  return image


def _check(image: Image.Image):
  """Refuses by what the header says."""
  width, height = image.size
  if not width or not height:
    raise UnreadableError(
      f'has {width}x{height} pixels, so there is nothing to see in it'
    )
  if width * height > MAX_PIXELS:
    raise TooLargeError(_too_large(f'{width}x{height}'))
  # Pillow takes the 16 bits of a .pgm for some of 32, scaled to 0 .. 65535.
  if image.mode in _UNBOUNDED_MODES and (image.format, image.mode) != (
    'PPM',
    'I',
  ):
    raise UnreadableError(
      f'has pixels of 32 bits (mode {image.mode!r}), whose range it does not '
      'tell: save it with 8 or 16 bits'
    )


def _unknown(file: str | os.PathLike | BinaryIO) -> str:
  """What is wrong with a file that none of the formats is."""
  if isinstance(file, str | os.PathLike):
    with open(file, 'rb') as opened:
      start = opened.read(12)
  else:
    file.seek(0)
    start = file.read(12)
  if start[4:8] == b'ftyp' and start[8:] in _HEIF_BRANDS:
    return 'is HEIC, which is read after pip install pillow-heif'
  return f'cannot be decoded (not one of {", ".join(FORMATS)}, or damaged)'


def _damaged(error: Exception) -> str:
  return f'cannot be decoded ({type(error).__name__}: {error})'


def _too_large(got: str) -> str:
  return (
    f'has {got} pixels, at most {MAX_PIXELS // 10**6} million are taken: make '
    'it smaller'
  )


def _upright(image: Image.Image) -> Image.Image:
  """Turned as EXIF says; left as it is where EXIF is damaged."""
  image.load()
  # Viewers show a file with damaged EXIF too, and its pixels are decoded.
  with contextlib.suppress(Exception):
    return ImageOps.exif_transpose(image)
  return image


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode == 'I' or image.mode.startswith('I;16'):
    # Pillow would clip to 255 instead; of 16-bit RGB it keeps these 8 bits.
    deep = np.asarray(image)
    grey = (deep >> 8).astype(np.uint8)
    if image.has_transparency_data:
      grey[deep == image.info['transparency']] = 255
    return Image.fromarray(grey).convert('RGB')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    paper = Image.new('RGB', image.size, _WHITE)
    paper.paste(image, mask=image.getchannel('A'))
    return paper
  return image.convert('RGB')
