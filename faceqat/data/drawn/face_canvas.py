"""The canvas that synthetic faces are drawn on, and the pose of the head.

Head coordinates: x to the right, y down, z towards the camera, origin midway
between the eyes; a head is about 1.2 wide and 1.8 high. The frame (the image)
is [-1, 1] x [-1, 1]. Every part is a soft mask, a signed distance divided by
the pixel size, so that edges are anti-aliased at any image size. Small parts
are evaluated in their own windows only: that is where the speed comes from.

Scalars are Python floats throughout: a NumPy float64 among them would turn
the float32 arrays into float64 and halve the speed.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

_SURFACE = 0.72  # radius of the ball on which the features sit
_CENTRE_DEPTH = 0.45  # depth of the point that stays where it is in a turn


def unit(x: np.ndarray) -> np.ndarray:
  """Clips to 0..1 in place; on small arrays twice as fast as np.clip."""
  return x.clip(0.0, 1.0, out=x)


class Part(NamedTuple):
  """A window of the image with the coordinates of one part in it."""

  canvas: np.ndarray  # [3, h, w] float32, a view
  u: np.ndarray  # [h, w] float32, to the right in head units
  v: np.ndarray  # [h, w] float32, down
  sharpness: float  # pixels per head unit

  def mask(self, distance: np.ndarray) -> np.ndarray:
    """Soft mask, [h, w] in 0..1, of where a distance [h, w] is positive."""
    mask = distance * self.sharpness
    mask += 0.5
    return unit(mask)

  def line(self, distance: np.ndarray, half_width: float) -> np.ndarray:
    """Soft mask of a line along the zeros of a distance [h, w]."""
    mask = np.abs(distance)
    mask *= -1 / half_width
    mask += 1
    return unit(mask)

  def blend(self, mask: np.ndarray, color: np.ndarray) -> None:
    """Covers with a colour [3] (or a picture [3, h, w]) where masked."""
    canvas = self.canvas
    change = (color[:, None, None] if color.ndim == 1 else color) - canvas
    change *= mask
    canvas += change

  def shade(self, amount: np.ndarray) -> None:
    """Darkens by a fraction [h, w]; negative ones lighten."""
    canvas = self.canvas
    canvas *= 1.0 - amount


class Canvas:
  """An image under way, and the pose that takes head coordinates to it."""

  def __init__(
    self,
    image_size: int,
    angles: tuple[float, float, float],
    scale: float,
    shift: tuple[float, float],
  ):
    """Starts an empty image.

    Args:
      image_size: height and width in pixels.
      angles: yaw, pitch and roll in radians.
      scale: size of the head, 1 for a head that just fits.
      shift: place of the point between the eyes, in frame units.
    """
    self.size = image_size
    self.planes = np.empty((3, image_size, image_size), np.float32)
    self.scale = scale
    self.shift = shift
    self.yaw, self.pitch, self.roll = (
      (math.sin(angle), math.cos(angle)) for angle in angles
    )

  def part(
    self,
    x: float,
    y: float,
    z: float,
    half_width: float,
    half_height: float,
    mirror: bool = False,
  ) -> Part | None:
    """The window of a part centred at a head point; None outside the image.

    A mirrored part has its u to the left: left and right of a face are drawn
    by the same code.
    """
    (sin_yaw, cos_yaw), (sin_pitch, cos_pitch) = self.yaw, self.pitch
    # Aligned crops are centred on the features, not on the skull.
    turned_x = cos_yaw * x + sin_yaw * (z - _CENTRE_DEPTH)
    depth = cos_yaw * z - sin_yaw * x
    turned_y = cos_pitch * y + sin_pitch * (depth - _CENTRE_DEPTH)
    narrow = cos_yaw - sin_yaw * x / _SURFACE
    lower = cos_pitch - sin_pitch * y / (2 * _SURFACE)
    return self._window(
      turned_x, turned_y, narrow, lower, half_width, half_height, mirror
    )

  def head(self) -> Part:
    """The whole image in head coordinates, of which only roll is visible.

    A skull is about as deep as it is wide: a turn moves it against its
    features, and does not make it narrower.
    """
    x, y = -_CENTRE_DEPTH * self.yaw[0], -_CENTRE_DEPTH * self.pitch[0]
    return self._window(x, y, 1.0, 1.0, 9.0, 9.0, False)

  def _window(self, x, y, narrow, lower, half_width, half_height, mirror):
    (sin, cos), scale, size = self.roll, self.scale, self.size
    cx = scale * (cos * x - sin * y) + self.shift[0]
    cy = scale * (sin * x + cos * y) + self.shift[1]
    narrow, lower = scale * max(narrow, 0.3), scale * max(lower, 0.3)
    wide, high = narrow * half_width, lower * half_height
    reach_x = abs(cos) * wide + abs(sin) * high
    reach_y = abs(sin) * wide + abs(cos) * high
    half = 0.5 * size
    left = max(int((cx - reach_x + 1) * half), 0)
    right = min(int((cx + reach_x + 1) * half) + 1, size)
    top = max(int((cy - reach_y + 1) * half), 0)
    bottom = min(int((cy + reach_y + 1) * half) + 1, size)
    if left >= right or top >= bottom:
      return None
    row, column = _pixel_centres(size)
    dx, dy = row[left:right] - cx, column[top:bottom] - cy
    a, b = (-1 if mirror else 1) / narrow, 1 / lower
    return Part(
      self.planes[:, top:bottom, left:right],
      dx * (a * cos) + dy * (a * sin),
      dx * (-b * sin) + dy * (b * cos),
      half * scale,
    )


@functools.lru_cache(maxsize=8)
def _pixel_centres(size):
  row = (np.arange(size) + 0.5) * (2.0 / size) - 1.0
  row = row.astype(np.float32)
  return row, row[:, None]


@functools.lru_cache(maxsize=8)
def smooth_basis(size: int, nodes: int) -> np.ndarray:
  """[size, nodes] float32: spreads nodes over pixels with raised cosines."""
  place = np.linspace(0, nodes - 1, size)[:, None]
  distance = np.minimum(np.abs(place - np.arange(nodes)), 1)
  return (0.5 + 0.5 * np.cos(np.pi * distance)).astype(np.float32)


@functools.lru_cache(maxsize=8)
def grain_bank(size: int) -> np.ndarray:
  """Normal noise for two images, [2 * 3 * size * size] float32.

  Every image takes its grain from a random place in it: drawing fresh noise
  would add a quarter to the time of a face.
  """
  return np.random.default_rng(0).standard_normal(
    6 * size * size, dtype=np.float32
  )
