"""Quality of faces: pose against a model in space, blur, exposure, size."""

import cv2
import numpy as np
import pytest

from faceqat.faces import alignment, quality
from faceqat.faces.detection import Face
from faceqat.faces.quality import Bars, Quality

GOOD = Quality(size=80, yaw=3, pitch=-5, roll=1, sharpness=0.1, exposed=1)


def turned(yaw=0.0, pitch=0.0, roll=0.0, scale=1.0):
  """The landmarks [5, 2] of a head that is turned by so many degrees."""
  flat = quality.FRONTAL - [56.0, 72.0]
  distance = 32.2
  # The nose stands out of the plane, towards the camera.
  points = np.column_stack([flat, [0, 0, distance * 0.5, 0, 0]])
  a, b, c = np.radians([yaw, pitch, roll])
  across = np.array(
    [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
  )
  nod = np.array(
    [[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]]
  )
  tilt = np.array(
    [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
  )
  return scale * (points @ (tilt @ across @ nod).T)[:, :2] + 60


@pytest.mark.parametrize('scale', [0.3, 4.0])
@pytest.mark.parametrize('angle', [-70, -40, 0, 20, 60])
def test_the_pose_is_that_of_the_head(angle, scale):
  yaw, pitch, roll = quality.pose(turned(yaw=angle, scale=scale))
  # The template is not quite symmetric.
  np.testing.assert_allclose((yaw, pitch), (angle, 0), atol=3)
  yaw, pitch, _ = quality.pose(turned(pitch=angle * 0.8, scale=scale))
  np.testing.assert_allclose((yaw, pitch), (0, angle * 0.8), atol=3)
  yaw, pitch, roll = quality.pose(turned(roll=angle, scale=scale))
  np.testing.assert_allclose((yaw, pitch, roll), (0, 0, angle), atol=2)


def test_a_tilted_head_may_be_turned_too():
  yaw, pitch, roll = quality.pose(turned(yaw=35, roll=25))
  np.testing.assert_allclose((yaw, pitch, roll), (35, 0, 25), atol=4)


def measure(image, scale=1.0):
  box = np.array([20, 20, 72, 90]) * scale
  return quality.measure(
    image, Face(box, alignment.ARCFACE_TEMPLATE * scale, score=0.9)
  )


@pytest.fixture(scope='module')
def picture():
  """Stripes and noise, in a photograph of 112 pixels."""
  rng = np.random.default_rng(0)
  waves = 128 + 60 * np.sin(np.arange(112) / 4)[:, np.newaxis, np.newaxis]
  noise = rng.normal(0, 12, (112, 112, 1))
  return np.clip(waves + noise, 20, 240).repeat(3, axis=2).astype(np.uint8)


def test_blur_lowers_sharpness_and_contrast_does_not(picture):
  sharp = measure(picture)
  assert (sharp.size, sharp.exposed) == (72, 1)
  blurred = measure(cv2.GaussianBlur(picture, (0, 0), 3))
  assert blurred.sharpness < sharp.sharpness / 10
  pale = measure((picture // 4 + 96).astype(np.uint8))
  # Pixels are rounded, which adds noise.
  assert pale.sharpness == pytest.approx(sharp.sharpness, rel=0.1)
  # A small photograph has to be enlarged.
  small = cv2.resize(picture, (28, 28), interpolation=cv2.INTER_AREA)
  found = measure(small, scale=0.25)
  assert found.sharpness < sharp.sharpness / 10
  assert found.size == 18


def test_what_is_black_or_white_is_not_exposed(picture):
  for value in (0, 255):
    half = picture.copy()
    half[:, :56] = value
    assert measure(half).exposed == pytest.approx(0.5, abs=0.02)
  assert measure(np.zeros_like(picture)).exposed == 0


@pytest.mark.parametrize(
  ('change', 'reason'),
  [
    ({}, ''),
    ({'size': 12.3}, '12 pixels small'),
    ({'yaw': -61.6}, 'turned by 62 degrees'),
    ({'pitch': 58}, 'turned by 58 degrees'),
    ({'exposed': 0.1}, '90% of it is black or white'),
    ({'sharpness': 0.001}, 'blurred (sharpness 0.001)'),
    # The alignment takes it away.
    ({'roll': 170}, ''),
  ],
)
def test_the_reason_is_given_in_words(change, reason):
  assert quality.why_not(GOOD._replace(**change), Bars()) == reason
  # Bars can be lowered until none is left.
  everything = Bars(size=0, turn=180, sharpness=0, exposed=0)
  assert quality.why_not(GOOD._replace(**change), everything) == ''
