import contextlib
import importlib.util
import io
import struct
import sys
import tracemalloc
import types
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from faceqat.files import decoding


def pixels(shape=(12, 16, 3), seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def stored(image, form='PNG', **options):
  """The file of an image, or of pixels."""
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  if form == 'WEBP':
    options['lossless'] = True
  stream = io.BytesIO()
  image.save(stream, form, **options)
  stream.seek(0)
  return stream


def read(file):
  return np.array(decoding.decode(file))


def check_refused(
  data, message='^(has|cannot)', error=decoding.UnreadableError
):
  with pytest.raises(error, match=message):
    decoding.decode(io.BytesIO(data))


@pytest.mark.parametrize('form', ['PNG', 'BMP', 'TIFF', 'WEBP'])
def test_lossless_files_give_back_their_rgb_pixels(form):
  image = read(stored(pixels(), form))
  assert image.dtype == np.uint8
  np.testing.assert_array_equal(image, pixels())


def test_the_name_of_a_file_does_not_matter(tmp_path):
  path = tmp_path / 'IMG_0001'
  path.write_bytes(stored(pixels()).getvalue())
  np.testing.assert_array_equal(read(str(path)), pixels())


# What a viewer does to show the stored pixels, by the value of the tag.
UPRIGHT = {
  1: lambda x: x,
  2: lambda x: x[:, ::-1],
  3: lambda x: x[::-1, ::-1],
  4: lambda x: x[::-1],
  5: lambda x: x.swapaxes(0, 1),
  6: lambda x: np.rot90(x, -1),
  7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
  8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize('orientation', UPRIGHT)
@pytest.mark.parametrize('mode', ['RGB', 'I;16'])
def test_exif_orientation_is_undone(orientation, mode):
  exif = Image.Exif()
  exif[0x0112] = orientation
  image = pixels()
  expected = UPRIGHT[orientation](image)
  if mode == 'I;16':
    image = image[..., 0].astype(np.uint16) << 8
    expected = expected[..., :1].repeat(3, axis=-1)
  np.testing.assert_array_equal(read(stored(image, exif=exif)), expected)


def test_a_transparent_level_of_16_bit_grey_lies_on_white():
  deep = np.array([[0, 0x8012, 0xFFFF]], np.uint16)
  image = read(stored(deep, transparency=0x8012))
  np.testing.assert_array_equal(image[0, :, 0], [0, 255, 255])


def test_damaged_exif_leaves_the_image_as_it_is_stored():
  exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12\0\x03'
  np.testing.assert_array_equal(read(stored(pixels(), exif=exif)), pixels())


@pytest.mark.parametrize('form', ['PNG', 'TIFF', 'WEBP', 'JPEG'])
def test_grey_images_are_repeated_over_the_channels(form):
  image = read(stored(np.full((8, 8), 90, np.uint8), form))
  # A lossy file keeps a flat grey to a level or two.
  np.testing.assert_allclose(image, np.full((8, 8, 3), 90), atol=2)


def test_of_16_bit_grey_the_upper_8_bits_stay():
  deep = np.array([[0, 255, 256, 0x8012, 0xFFFF]], np.uint16)
  # Which Pillow takes for 32 bits.
  pgm = io.BytesIO(b'P5 5 1 65535\n' + deep.astype('>u2').tobytes())
  for file in (stored(deep), stored(deep, 'TIFF'), pgm):
    image = read(file)
    np.testing.assert_array_equal(image[0, :, 0], [0, 0, 1, 0x80, 255])
    np.testing.assert_array_equal(image[..., 1:], image[..., :2])


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_of_16_bit_rgb_the_upper_8_bits_stay(suffix):
  deep = np.random.default_rng(0).integers(0, 2**16, (6, 5, 3), np.uint16)
  _, data = cv2.imencode(f'.{suffix}', deep[..., ::-1])
  np.testing.assert_array_equal(read(io.BytesIO(data)), deep >> 8)


@pytest.mark.parametrize('mode', ['I', 'F'])
def test_pixels_of_32_bits_are_refused(mode):
  data = stored(Image.new(mode, (4, 4)), 'TIFF').getvalue()
  check_refused(data, '^has pixels of 32 bits')


@pytest.mark.parametrize(
  ('ink', 'color'),
  [((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0))],
)
@pytest.mark.parametrize('form', ['JPEG', 'TIFF'])
def test_cmyk_becomes_rgb(ink, color, form):
  image = read(stored(Image.new('CMYK', (8, 8), ink), form))
  np.testing.assert_allclose(image[4, 4], color, atol=3)


def test_palettes_and_single_bits_become_rgb():
  colors = np.array([[[200, 10, 30], [0, 90, 250]]], np.uint8).repeat(4, 0)
  palette = Image.fromarray(colors).quantize(2)
  for form in ('PNG', 'GIF', 'BMP'):
    np.testing.assert_array_equal(read(stored(palette, form)), colors)
  image = read(stored(Image.new('1', (3, 2), 1)))
  np.testing.assert_array_equal(image, np.full((2, 3, 3), 255))


@pytest.mark.parametrize('form', ['PNG', 'WEBP', 'TIFF'])
def test_what_is_transparent_lies_on_white(form):
  image = np.zeros((1, 3, 4), np.uint8)
  image[0, :, 0], image[0, :, 3] = 100, [255, 0, 51]
  options = {'exact': True} if form == 'WEBP' else {}
  # A fifth of (100, 0, 0) and four fifths of white.
  np.testing.assert_array_equal(
    read(stored(image, form, **options))[0],
    [[100, 0, 0], [255, 255, 255], [224, 204, 204]],
  )


@pytest.mark.parametrize('mode', ['LA', 'P'])
def test_grey_and_palettes_have_transparency_too(mode):
  image = Image.new('RGBA', (2, 2), (0, 0, 0, 0)).convert(mode)
  options = {'transparency': 0} if mode == 'P' else {}
  white = np.full((2, 2, 3), 255)
  np.testing.assert_array_equal(read(stored(image, **options)), white)


@pytest.mark.parametrize('form', ['GIF', 'PNG', 'WEBP', 'TIFF'])
def test_of_an_animation_the_first_image_is_taken(form):
  first, other = (Image.new('RGB', (8, 8), color) for color in ('red', 'blue'))
  image = read(stored(first, form, save_all=True, append_images=[other]))
  np.testing.assert_array_equal(image, np.full((8, 8, 3), [255, 0, 0]))


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF'])
@pytest.mark.parametrize('share', [0, 0.02, 0.5, 0.9])
def test_truncated_files_are_refused(form, share):
  data = stored(pixels((64, 64, 3)), form).getvalue()
  check_refused(data[: int(share * len(data))], 'cannot be decoded')


def test_damage_within_a_file_is_refused():
  data = bytearray(stored(pixels((64, 64, 3))).getvalue())
  data[len(data) // 2] ^= 0xFF
  check_refused(data, '^cannot be decoded')


def test_a_length_in_a_file_takes_no_memory_that_the_file_has_not(tmp_path):
  content = bytearray(stored(pixels()).getvalue())
  start = content.index(b'IDAT')
  content[start - 4 : start] = struct.pack('>I', 2**32 - 1)
  path = tmp_path / 'long.png'
  path.write_bytes(content)
  tracemalloc.start()
  # Pillow makes do with what there is, or does not.
  with contextlib.suppress(decoding.UnreadableError):
    decoding.decode(path)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 2**28


def test_files_of_more_than_a_gigabyte_are_refused(monkeypatch):
  file = stored(pixels())
  size = len(file.getvalue())
  monkeypatch.setattr(decoding, '_MAX_BYTES', size)
  assert read(file).shape == (12, 16, 3)
  monkeypatch.setattr(decoding, '_MAX_BYTES', size - 1)
  check_refused(
    file.getvalue(), rf'^has {size} bytes, at most', decoding.TooLargeError
  )


def test_text_and_formats_that_are_not_read_are_refused():
  check_refused(b'<html>404 not found</html>' * 9, 'not one of JPEG, PNG')
  # Pillow would start Ghostscript for this one.
  check_refused(stored(pixels(), 'EPS').getvalue(), 'not one of JPEG, PNG')


def png_header(width, height):
  """A PNG file that promises more than it holds."""
  header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
  stream = io.BytesIO(b'\x89PNG\r\n\x1a\n')
  stream.seek(0, io.SEEK_END)
  for kind, data in ((b'IHDR', header), (b'IDAT', zlib.compress(b''))):
    check = zlib.crc32(kind + data)
    stream.write(struct.pack('>I', len(data)) + kind + data)
    stream.write(struct.pack('>I', check))
  return stream.getvalue()


# 100,010,000 pixels are over our limit, 400 million over Pillow's too.
@pytest.mark.parametrize('height', [10_001, 40_000])
def test_more_than_100_megapixels_are_refused_by_the_header(height):
  data = png_header(10_000, height)
  check_refused(data, 'at most 100 million', decoding.TooLargeError)


def test_100_megapixels_are_within_the_limit(monkeypatch):
  # Pillow warns of fewer, which photographs.py does not show.
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
  # It is decoded, which its missing pixels then end.
  check_refused(png_header(10_000, 10_000), '^cannot be decoded')


@pytest.mark.parametrize('size', [(0, 4), (4, 0)])
def test_images_without_pixels_are_refused(size):
  check_refused(png_header(*size))
  check_refused(b'GIF89a' + struct.pack('<HHBBB', *size, 0, 0, 0) + b';')


@pytest.mark.parametrize('suffix', sorted(decoding.SUFFIXES))
def test_suffixes_are_those_of_images_in_any_case(suffix):
  assert decoding.is_image(f'a{suffix}')
  assert decoding.is_image(f'a{suffix.upper()}')
  assert Image.registered_extensions()[suffix] in {*decoding.FORMATS, 'MPO'}


@pytest.mark.parametrize('name', ['notes.txt', 'jpg', 'a.jpg.gz', 'a.eps'])
def test_other_names_are_no_images(name):
  assert not decoding.is_image(name)
  assert 'images end in .jpg, ' in decoding.why_no_image(name)


@pytest.mark.skipif(
  importlib.util.find_spec('pillow_heif') is not None, reason='reads HEIC'
)
def test_heic_says_what_reads_it(tmp_path):
  path = tmp_path / 'IMG_1.HEIC'
  path.write_bytes(b'\0\0\0\x18ftypheic' + bytes(100))
  assert not decoding.is_image(path)
  assert 'pip install pillow-heif' in decoding.why_no_image(path)
  for opened in (path, io.BytesIO(path.read_bytes())):
    with pytest.raises(decoding.UnreadableError, match='install pillow-heif'):
      decoding.decode(opened)


def test_heic_is_registered_where_its_reader_is_installed(monkeypatch):
  calls = []
  reader = types.SimpleNamespace(
    register_heif_opener=lambda: calls.append('registered')
  )
  monkeypatch.setitem(sys.modules, 'pillow_heif', reader)
  spec = importlib.util.find_spec('faceqat.files.decoding')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  assert calls == ['registered']
  assert module.FORMATS[-1] == 'HEIF'
  assert module.is_image('IMG_1.HEIC')
