import numpy as np
import pytest

from faceqat.data import augment


def image(seed=0, size=12):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (size, size, 3), np.uint8)


def make(flip=0.0, shift=0, brightness=0.0):
  return augment.Augment(
    flip_probability=flip, max_shift=shift, max_brightness=brightness
  )


def test_nothing_asked_for_changes_nothing():
  result = make()(image(), np.random.default_rng(0))
  np.testing.assert_array_equal(result, image())


def test_certain_flip_mirrors_left_and_right():
  result = make(flip=1.0)(image(), np.random.default_rng(0))
  np.testing.assert_array_equal(result, image()[:, ::-1])


def test_half_of_the_images_are_flipped():
  rng = np.random.default_rng(0)
  fn = make(flip=0.5)
  flips = [not np.array_equal(fn(image(), rng), image()) for _ in range(400)]
  # Four standard deviations of 400 fair coins: 4 * sqrt(100) = 40.
  assert 160 <= sum(flips) <= 240


@pytest.mark.parametrize(('down', 'right'), [(2, 0), (0, 3), (-3, 2), (1, -1)])
def test_shift_moves_pixels_and_repeats_the_border(down, right):
  # The shifted image is a window of the image with repeated borders.
  padded = np.pad(image(), ((4, 4), (4, 4), (0, 0)), mode='edge')
  window = padded[4 - down : 16 - down, 4 - right : 16 - right]
  np.testing.assert_array_equal(augment.shift(image(), down, right), window)


def test_every_shift_up_to_the_limit_occurs():
  column = np.zeros((9, 9, 3), np.uint8)
  column[4, 4] = 255
  rng = np.random.default_rng(0)
  fn = make(shift=2)
  places = {
    tuple(int(axis[0]) - 4 for axis in np.nonzero(fn(column, rng)[..., 0]))
    for _ in range(400)
  }
  assert places == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}


def test_brightness_is_rounded_and_saturates():
  values = augment.tones(1.1)[[0, 1, 100, 200, 250, 255]]
  assert values.tolist() == [0, 1, 110, 220, 255, 255]


def test_brightness_stays_in_its_range():
  grey = np.full((2, 2, 3), 100, np.uint8)
  rng = np.random.default_rng(0)
  values = [make(brightness=0.2)(grey, rng)[0, 0, 0] for _ in range(200)]
  assert min(values) in (80, 81)
  assert max(values) in (119, 120)


def test_result_depends_on_the_generator_alone_and_leaves_the_input():
  fn = make(flip=0.5, shift=2, brightness=0.2)
  original = image()
  original.setflags(write=False)
  one = fn(original, np.random.default_rng(3))
  two = fn(original, np.random.default_rng(3))
  assert one.dtype == np.uint8
  assert one.flags['C_CONTIGUOUS']
  np.testing.assert_array_equal(one, two)
  assert not np.array_equal(one, fn(original, np.random.default_rng(4)))


@pytest.mark.parametrize(
  ('settings', 'name'),
  [
    ({'flip': 1.5}, 'flip_probability'),
    ({'shift': -1}, 'max_shift'),
    ({'shift': 0.5}, 'max_shift'),
    ({'brightness': 1.0}, 'max_brightness'),
  ],
)
def test_settings_out_of_range_are_named(settings, name):
  with pytest.raises(ValueError, match=name):
    make(**settings)
