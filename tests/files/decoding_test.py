import importlib.util
import io
import struct
import sys
import types
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from faceqat.files import decoding


def pixels(shape=(12, 16, 3), seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def read(path):
  return np.array(decoding.decode(path))


def save(image, path, **options):
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  image.save(path, **options)
  return path


@pytest.mark.parametrize('suffix', ['png', 'bmp', 'tif', 'webp'])
def test_lossless_files_give_back_their_rgb_pixels(suffix, tmp_path):
  options = {'lossless': True} if suffix == 'webp' else {}
  path = save(pixels(), tmp_path / f'a.{suffix}', **options)
  image = read(path)
  assert image.dtype == np.uint8
  np.testing.assert_array_equal(image, pixels())


def test_the_name_of_a_file_does_not_matter(tmp_path):
  path = save(pixels(), tmp_path / 'IMG_0001', format='PNG')
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
def test_exif_orientation_is_undone(orientation, mode, tmp_path):
  exif = Image.Exif()
  exif[0x0112] = orientation
  stored = pixels()
  if mode == 'I;16':
    stored = stored[..., 0].astype(np.uint16) << 8
  path = save(stored, tmp_path / 'a.png', exif=exif)
  expected = UPRIGHT[orientation](pixels())
  if mode == 'I;16':
    expected = expected[..., :1].repeat(3, axis=-1)
  np.testing.assert_array_equal(read(path), expected)


def test_a_transparent_level_of_16_bit_grey_lies_on_white(tmp_path):
  deep = np.array([[0, 0x8012, 0xFFFF]], np.uint16)
  path = save(deep, tmp_path / 'a.png', transparency=0x8012)
  np.testing.assert_array_equal(read(path)[0, :, 0], [0, 255, 255])


def test_damaged_exif_leaves_the_image_as_it_is_stored(tmp_path):
  exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12\0\x03'
  path = save(pixels(), tmp_path / 'a.png', exif=exif)
  np.testing.assert_array_equal(read(path), pixels())


@pytest.mark.parametrize('suffix', ['png', 'tif', 'webp', 'jpg'])
def test_grey_images_are_repeated_over_the_channels(suffix, tmp_path):
  path = save(np.full((8, 8), 90, np.uint8), tmp_path / f'a.{suffix}')
  # A lossy file keeps a flat grey to a level or two.
  np.testing.assert_allclose(read(path), np.full((8, 8, 3), 90), atol=2)


def test_of_16_bit_grey_the_upper_8_bits_stay(tmp_path):
  deep = np.array([[0, 255, 256, 0x8012, 0xFFFF]], np.uint16)
  paths = [save(deep, tmp_path / f'a.{suffix}') for suffix in ('png', 'tif')]
  # Which Pillow takes for 32 bits.
  paths.append(tmp_path / 'a.pgm')
  paths[-1].write_bytes(b'P5 5 1 65535\n' + deep.astype('>u2').tobytes())
  for path in paths:
    image = read(path)
    np.testing.assert_array_equal(image[0, :, 0], [0, 0, 1, 0x80, 255])
    np.testing.assert_array_equal(image[..., 1:], image[..., :2])


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_of_16_bit_rgb_the_upper_8_bits_stay(suffix, tmp_path):
  deep = np.random.default_rng(0).integers(0, 2**16, (6, 5, 3), np.uint16)
  path = tmp_path / f'a.{suffix}'
  cv2.imwrite(str(path), deep[..., ::-1])
  np.testing.assert_array_equal(read(path), deep >> 8)


@pytest.mark.parametrize('mode', ['I', 'F'])
def test_pixels_of_32_bits_are_refused(mode, tmp_path):
  path = save(Image.new(mode, (4, 4)), tmp_path / 'deep.tif')
  with pytest.raises(decoding.UnreadableError, match=r'^has pixels of 32 bits'):
    read(path)


@pytest.mark.parametrize(
  ('ink', 'color'),
  [((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0))],
)
@pytest.mark.parametrize('suffix', ['jpg', 'tif'])
def test_cmyk_becomes_rgb(ink, color, suffix, tmp_path):
  path = save(Image.new('CMYK', (8, 8), ink), tmp_path / f'a.{suffix}')
  np.testing.assert_allclose(read(path)[4, 4], color, atol=3)


def test_palettes_and_single_bits_become_rgb(tmp_path):
  colors = np.array([[[200, 10, 30], [0, 90, 250]]], np.uint8).repeat(4, 0)
  palette = Image.fromarray(colors).quantize(2)
  for suffix in ('png', 'gif', 'bmp'):
    path = save(palette, tmp_path / f'a.{suffix}')
    np.testing.assert_array_equal(read(path), colors)
  path = save(Image.new('1', (3, 2), 1), tmp_path / 'bits.png')
  np.testing.assert_array_equal(read(path), np.full((2, 3, 3), 255))


@pytest.mark.parametrize('suffix', ['png', 'webp', 'tif'])
def test_what_is_transparent_lies_on_white(suffix, tmp_path):
  image = np.zeros((1, 3, 4), np.uint8)
  image[0, :, 0], image[0, :, 3] = 100, [255, 0, 51]
  options = {'lossless': True, 'exact': True} if suffix == 'webp' else {}
  path = save(image, tmp_path / f'a.{suffix}', **options)
  # A fifth of (100, 0, 0) and four fifths of white.
  np.testing.assert_array_equal(
    read(path)[0],
    [[100, 0, 0], [255, 255, 255], [224, 204, 204]],
  )


@pytest.mark.parametrize('mode', ['LA', 'P'])
def test_grey_and_palettes_have_transparency_too(mode, tmp_path):
  image = Image.new('RGBA', (2, 2), (0, 0, 0, 0)).convert(mode)
  options = {'transparency': 0} if mode == 'P' else {}
  path = save(image, tmp_path / 'a.png', **options)
  np.testing.assert_array_equal(read(path), np.full((2, 2, 3), 255))


@pytest.mark.parametrize('suffix', ['gif', 'png', 'webp', 'tif'])
def test_of_an_animation_the_first_image_is_taken(suffix, tmp_path):
  frames = [Image.new('RGB', (8, 8), color) for color in ('red', 'blue')]
  options = {'lossless': True} if suffix == 'webp' else {}
  path = save(
    frames[0],
    tmp_path / f'a.{suffix}',
    save_all=True,
    append_images=frames[1:],
    **options,
  )
  image = read(path)
  np.testing.assert_array_equal(image, np.full((8, 8, 3), [255, 0, 0]))


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'bmp', 'gif', 'tif'])
@pytest.mark.parametrize('share', [0, 0.02, 0.5, 0.9])
def test_truncated_files_are_refused_and_named(suffix, share, tmp_path):
  path = save(pixels((64, 64, 3)), tmp_path / f'half.{suffix}')
  data = path.read_bytes()
  path.write_bytes(data[: int(share * len(data))])
  with pytest.raises(decoding.UnreadableError, match='cannot be decoded'):
    read(path)


def test_damage_within_a_file_is_refused_and_named(tmp_path):
  path = save(pixels((64, 64, 3)), tmp_path / 'hit.png')
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 0xFF
  path.write_bytes(data)
  with pytest.raises(decoding.UnreadableError, match=r'^cannot be decoded'):
    read(path)


def test_text_and_formats_that_are_not_read_are_refused(tmp_path):
  path = tmp_path / 'page.jpg'
  path.write_bytes(b'<html>404 not found</html>' * 9)
  with pytest.raises(decoding.UnreadableError, match='not one of JPEG, PNG'):
    read(path)
  # Pillow would start Ghostscript for this one.
  path = save(pixels(), tmp_path / 'drawing.eps')
  with pytest.raises(decoding.UnreadableError, match='not one of JPEG, PNG'):
    read(path)


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
def test_more_than_100_megapixels_are_refused_by_the_header(height, tmp_path):
  path = tmp_path / 'huge.png'
  path.write_bytes(png_header(10_000, height))
  with pytest.raises(decoding.TooLargeError, match='at most 100 million'):
    read(path)


def test_100_megapixels_are_within_the_limit(tmp_path, monkeypatch):
  # Pillow warns of fewer, which photographs.py does not show.
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
  path = tmp_path / 'large.png'
  path.write_bytes(png_header(10_000, 10_000))
  # It is decoded, which its missing pixels then end.
  with pytest.raises(decoding.UnreadableError, match=r'^cannot be decoded'):
    read(path)


@pytest.mark.parametrize('size', [(0, 4), (4, 0)])
def test_images_without_pixels_are_refused(size, tmp_path):
  path = tmp_path / 'none.png'
  path.write_bytes(png_header(*size))
  with pytest.raises(decoding.UnreadableError):
    read(path)
  path = tmp_path / 'none.gif'
  path.write_bytes(b'GIF89a' + struct.pack('<HHBBB', *size, 0, 0, 0) + b';')
  with pytest.raises(decoding.UnreadableError):
    read(path)


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
