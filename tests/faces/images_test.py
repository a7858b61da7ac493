import numpy as np
import pytest
from pictures import encode
from PIL import ExifTags, Image

from faceqat.faces import images


def pixels(seed=0, shape=(16, 16, 3)):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize('format_name', ['PNG', 'JPEG', 'BMP', 'WEBP'])
@pytest.mark.parametrize('keep', [0, 1, 20, 100])
def test_truncated_image_is_damaged_and_named(format_name, keep):
  data = encode(pixels(), format_name)[:keep]
  with pytest.raises(images.DamagedImageError, match=r'people/one\.jpg'):
    images.decode_image(data, 'people/one.jpg', 16)


def test_wrong_size_is_damage_of_its_own_kind_and_names_both_sizes():
  data = encode(pixels(shape=(10, 12, 3)))
  for read in (images.decode_image, images.checked):
    with pytest.raises(
      images.WrongSizeError, match=r'one\.jpg has 10x12 .*height.* 16x16'
    ) as info:
      read(data, 'one.jpg', 16)
    assert isinstance(info.value, images.DamagedImageError)
  assert images.checked(data, 'one.jpg') == data


@pytest.mark.parametrize('name', ['PNG', 'JPEG', 'WEBP', 'BMP', 'GIF', 'TIFF'])
def test_a_look_finds_what_is_cut_short_and_nothing_else(name):
  data = encode(pixels(shape=(16, 16)), name)
  assert images.checked(data, 'a', 16) == data
  # Some writers leave a few bytes behind the end.
  longer = data + bytes(5)
  assert images.checked(longer, 'a', 16) == longer
  for keep in range(0, len(data), 7):

    def outcome(read, data=data[:keep]):
      try:
        return read(data, 'a', 16) is None
      except images.DamagedImageError as error:
        return str(error)

    assert outcome(images.checked) == outcome(images.decode_image), keep


def test_wrong_size_says_both_ways_out():
  data = encode(pixels(shape=(10, 10, 3)))
  message = r'wanted 12x12: align .* that size first, .* or set stored_size'
  with pytest.raises(ValueError, match=message):
    images.decode_image(data, 'one.jpg', 12)
  # The size of the result is no reason to take other files than announced.
  with pytest.raises(ValueError, match=message):
    images.decode_image(data, 'one.jpg', 10, stored_size=12)


def test_images_may_be_higher_than_wide():
  data = encode(pixels(shape=(14, 12, 3)))
  decoded = images.decode_image(data, 'a', (14, 12))
  np.testing.assert_array_equal(decoded, pixels(shape=(14, 12, 3)))
  half = images.decode_image(data, 'a', [7, 6], stored_size=(14, 12))
  assert half.shape == (7, 6, 3)
  square = images.decode_image(encode(pixels()), 'a', (16, 16))
  np.testing.assert_array_equal(square, pixels())


def test_files_of_other_proportions_are_not_squeezed():
  data = encode(pixels(shape=(14, 12, 3)))
  # Resizing would be no help, and is not advised.
  with pytest.raises(ValueError, match=r'14x12 .* 14x14: align') as info:
    images.decode_image(data, 'one.jpg', 14)
  assert 'data.image_size to (14, 12)' in str(info.value)
  assert 'stored_size' not in str(info.value)
  with pytest.raises(ValueError, match=r'has 12x14 .* wanted 14x12'):
    images.decode_image(encode(pixels(shape=(12, 14, 3))), 'a', (14, 12))
  with pytest.raises(
    ValueError, match=r'is 14x12 and image_size 14x14 .*squee'
  ):
    images.decode_image(data, 'one.jpg', 14, stored_size=(14, 12))


def test_an_image_has_its_size_when_it_is_upright():
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = 6
  lying = encode(pixels(shape=(12, 14, 3)), exif=exif)
  decoded = images.decode_image(lying, 'a', (14, 12))
  # A quarter turn to the right.
  np.testing.assert_array_equal(
    decoded, np.rot90(pixels(shape=(12, 14, 3)), k=-1)
  )
  standing = encode(pixels(shape=(14, 12, 3)), exif=exif)
  with pytest.raises(ValueError, match=r'has 12x14 .* wanted 14x12'):
    images.decode_image(standing, 'a', (14, 12))


@pytest.mark.parametrize('stored_size', [0, 16])
def test_images_stored_in_the_size_wanted_are_left_as_they_are(stored_size):
  decoded = images.decode_image(encode(pixels()), 'a', 16, stored_size)
  np.testing.assert_array_equal(decoded, pixels())


def bilinear_weights(stored, wanted):
  """[wanted, stored]: triangles around the centres of the wanted pixels."""
  ratio = stored / wanted
  centres = (np.arange(wanted) + 0.5) * ratio - 0.5
  # Where the image gets smaller, all pixels under the triangle are averaged.
  distance = np.abs(centres[:, None] - np.arange(stored)) / max(ratio, 1)
  weights = np.maximum(1 - distance, 0)
  return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize('image_size', [8, 11, 23, 32])
def test_images_stored_in_another_size_are_resized(image_size):
  decoded = images.decode_image(encode(pixels()), 'a', image_size, 16)
  assert decoded.dtype == np.uint8
  assert decoded.shape == (image_size, image_size, 3)
  weights = bilinear_weights(16, image_size)
  expected = np.einsum('ay,bx,yxc->abc', weights, weights, pixels())
  # Pillow rounds after each of the two axes.
  np.testing.assert_allclose(decoded, expected, atol=1.1)


@pytest.mark.parametrize('image_size', [16, 20])
def test_decoded_images_cannot_be_written_to(image_size):
  decoded = images.decode_image(encode(pixels()), 'a', image_size, 16)
  assert not decoded.flags.writeable


def test_an_enormous_image_is_refused_by_its_header(monkeypatch):
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 64)
  with pytest.raises(ValueError, match='far too many pixels'):
    images.decode_image(encode(pixels()), 'one.png', 16)


def test_files_that_cannot_be_read_are_damaged(tmp_path):
  (tmp_path / 'link.png').symlink_to('/nowhere/x.png')
  for name, reason in (
    ('gone.png', 'No such file'),
    ('link.png', 'it is a link to /nowhere/x.png'),
  ):
    with pytest.raises(
      images.DamagedImageError, match=rf'{name} cannot be read .*{reason}'
    ):
      images.read_image(tmp_path / name, 16)
