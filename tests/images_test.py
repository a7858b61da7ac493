import io

import numpy as np
import pytest
from PIL import Image

from faceqat.data import images


def encode(pixels, format_name='PNG', **options):
  stream = io.BytesIO()
  Image.fromarray(pixels).save(stream, format_name, **options)
  return stream.getvalue()


def pixels(seed=0, shape=(16, 16, 3)):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
  ('format_name', 'options'),
  [('PNG', {}), ('BMP', {}), ('WEBP', {'lossless': True})],
)
def test_lossless_formats_give_back_the_rgb_pixels(format_name, options):
  data = encode(pixels(), format_name, **options)
  decoded = images.decode_image(data, 'a', 16)
  assert decoded.dtype == np.uint8
  np.testing.assert_array_equal(decoded, pixels())


def test_channels_are_in_rgb_order_in_a_jpeg():
  red = np.zeros((16, 16, 3), np.uint8)
  red[..., 0] = 200
  decoded = images.decode_image(encode(red, 'JPEG'), 'a', 16)
  # JPEG keeps a flat colour to a few grey levels.
  np.testing.assert_allclose(decoded[8, 8], [200, 0, 0], atol=4)


def test_grey_image_is_repeated_over_the_channels():
  grey = pixels(shape=(16, 16))
  decoded = images.decode_image(encode(grey), 'a', 16)
  np.testing.assert_array_equal(decoded, np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize('format_name', ['PNG', 'JPEG', 'BMP', 'WEBP'])
@pytest.mark.parametrize('keep', [0, 1, 20, 100])
def test_truncated_image_is_damaged_and_named(format_name, keep):
  data = encode(pixels(), format_name)[:keep]
  with pytest.raises(images.DamagedImageError, match=r'people/one\.jpg'):
    images.decode_image(data, 'people/one.jpg', 16)


def test_text_is_damaged_and_the_message_lists_the_formats():
  with pytest.raises(images.DamagedImageError, match='JPEG, PNG, BMP, WEBP'):
    images.decode_image(b'404: not found' * 20, 'one.jpg', 16)


def test_wrong_size_is_no_damage_and_names_both_sizes():
  data = encode(pixels(shape=(10, 12, 3)))
  with pytest.raises(ValueError, match=r'one\.jpg has 12x10 .* 16x16') as info:
    images.decode_image(data, 'one.jpg', 16)
  assert not isinstance(info.value, images.DamagedImageError)


def test_an_enormous_image_is_refused_by_its_header(monkeypatch):
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 64)
  with pytest.raises(ValueError, match='far too many pixels'):
    images.decode_image(encode(pixels()), 'one.png', 16)
