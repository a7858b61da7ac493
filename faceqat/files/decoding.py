"""Decodes images to upright RGB pixels.

Crops of a data set and photographs all come through here, so that a file has
the same pixels whoever reads it.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterable
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 100_000_000
# Of a file: so many pixels, of 16 bits and uncompressed, are less.
_MAX_BYTES = 2**30
# By Pillow's names. Other formats of Pillow start programs (EPS), or have no
# signature (TGA). MPO, several JPEGs in one file, comes with JPEG.
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

# 32-bit integers and floats, whose range of values is in no file.
_UNBOUNDED_MODES = ('I', 'F')
_SMALLER = 'make it smaller, or remove it'
_WHITE = (255, 255, 255)


class UnreadableError(ValueError):
  """The fault of an image; the message stands after its name.

  Attributes:
    remedy: what to do, with which the message ends; '' where it has none.
  """

  def __init__(self, fault: str, remedy: str = ''):
    super().__init__(f'{fault}: {remedy}' if remedy else fault)
    self.remedy = remedy


class TooLargeError(UnreadableError):
  """An image of more pixels than are decoded."""


def is_image(name: str | os.PathLike) -> bool:
  """Whether a file's name has a suffix of images, in any case."""
  return os.fspath(name).lower().endswith(SUFFIXES)


def why_no_image(name: str | os.PathLike) -> str:
  """Says which names are images, and the remedy, for one that is none."""
  return about_heic([name]) or f'images end in {", ".join(SUFFIXES)}'


def about_heic(names: Iterable[str | os.PathLike]) -> str:
  """The remedy where some names that are no images end as HEIC, or ''."""
  if any(os.fspath(name).lower().endswith(_HEIF_SUFFIXES) for name in names):
    return 'HEIC is read after pip install pillow-heif; or convert it to JPEG'
  return ''


def decode(
  file: str | os.PathLike | BinaryIO,
  check_size: Callable[[int, int], None] | None = None,
) -> Image.Image:
  """Decodes an image of any of `FORMATS`, whatever its suffix.

  It is turned as its EXIF orientation says. Grey, palette and CMYK images
  become RGB (CMYK without its colour profile), of 16 bits the upper 8 stay,
  transparent pixels lie on white, and of several frames or pages the first is
  taken.

  Args:
    file: its path, or an open file.
    check_size: is called with the width and the height of the header before
      anything is decoded, and may raise.

  Returns:
    An image of mode RGB.

  Raises:
    UnreadableError: it is truncated, damaged, no image, without pixels, or has
      values of 32 bits.
    TooLargeError: it has more than `MAX_PIXELS`.
    FileNotFoundError: there is no such file.
  """
  with _open(_read(file), check_size) as image:
    # Depending on the format, Pillow raises OSError, SyntaxError, struct.error,
    # zlib.error and more.
    try:
      return _to_rgb(_upright(image))
    except Exception as error:
      raise UnreadableError(_damaged(error)) from error


def check(file: BinaryIO, check_size: Callable[[int, int], None] | None = None):
  """Refuses an image by its header and its end, as `decode` would.

  This finds a file that is cut short, though no damage in its middle, in a
  quarter of the time.

  Args:
    file: an open file.
    check_size: as for `decode`.

  Raises:
    UnreadableError, TooLargeError: as `decode`.
  """
  data = _read(file)
  with _open(data, check_size) as image:
    format_name = image.format
  if not _ends_as(format_name, data):
    # It may be whole all the same.
    decode(io.BytesIO(data))


def _ends_as(format_name: str, data: bytes) -> bool:
  """Whether a file has the end of its format."""
  if format_name == 'JPEG':
    return data.endswith(b'\xff\xd9')
  if format_name == 'PNG':
    return data[-8:-4] == b'IEND'
  if format_name == 'WEBP':
    return len(data) >= 8 + int.from_bytes(data[4:8], 'little')
  return False


def _read(file: str | os.PathLike | BinaryIO) -> bytes:
  """The whole file, so that no length in it can ask for more than it has."""
  if isinstance(file, str | os.PathLike):
    try:
      with open(file, 'rb') as opened:
        return _read(opened)
    except FileNotFoundError:
      raise
    except OSError as error:
      raise UnreadableError(_damaged(error)) from error
  size = file.seek(0, os.SEEK_END)
  if size > _MAX_BYTES:
    raise TooLargeError(
      f'has {size:,} bytes, at most {_MAX_BYTES:,} are taken', _SMALLER
    )
  file.seek(0)
  return file.read()


def _open(
  data: bytes, check_size: Callable[[int, int], None] | None
) -> Image.Image:
  """Reads the header of an image, and checks it."""
  try:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
  except (Image.DecompressionBombError, Image.DecompressionBombWarning):
    raise _too_large('far too many') from None
  except Image.UnidentifiedImageError:
    raise _unknown(data[:12]) from None
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
  width, height = image.size
  if not width or not height:
    raise UnreadableError(
      f'has {width}x{height} pixels, so there is nothing to see in it'
    )
  if width * height > MAX_PIXELS:
    raise _too_large(f'{width}x{height}')
  # Pillow reads a .pgm of 16 bits as 32, scaled to 0 .. 65535.
  if image.mode in _UNBOUNDED_MODES and (image.format, image.mode) != (
    'PPM',
    'I',
  ):
    raise UnreadableError(
      f'has pixels of 32 bits (mode {image.mode!r}), whose range it does not '
      'tell',
      'save it with 8 or 16 bits',
    )


def _unknown(start: bytes) -> UnreadableError:
  """The fault of a file of no known format that begins so."""
  if start[4:8] == b'ftyp' and start[8:] in _HEIF_BRANDS:
    return UnreadableError(
      'is HEIC', 'to read it, pip install pillow-heif, or convert it to JPEG'
    )
  return UnreadableError(
    f'cannot be decoded (not one of {", ".join(FORMATS)}, or damaged)'
  )


def _damaged(error: Exception) -> str:
  return f'cannot be decoded ({type(error).__name__}: {error})'


def _too_large(got: str) -> TooLargeError:
  most = MAX_PIXELS // 10**6
  return TooLargeError(
    f'has {got} pixels, at most {most} million are taken', _SMALLER
  )


def _upright(image: Image.Image) -> Image.Image:
  """Turns an image as its EXIF says; damaged EXIF is ignored."""
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
