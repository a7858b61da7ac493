"""Training augmentation on aligned face crops: uint8 in, uint8 out.

It is small on purpose. Aligned faces have their eyes at fixed pixels, and an
augmentation that moves them far shows the network what it will never meet.
"""

import dataclasses
from typing import Annotated

import numpy as np

from faceqat.fields import check_values, whole_from


@dataclasses.dataclass(frozen=True)
class Augment:
  """Random mirror, shift and brightness; call it on an image.

  Attributes:
    flip_probability: how often the image is mirrored, in [0, 1].
    max_shift: largest shift in pixels along each axis; the border pixels are
      repeated.
    max_brightness: largest relative change of all pixels, in [0, 1): the
      factor is uniform in [1 - max_brightness, 1 + max_brightness].
  """

  flip_probability: Annotated[float, '[0, 1]']
  max_shift: Annotated[int, whole_from(0)]
  max_brightness: Annotated[float, '[0, 1)']

  def __post_init__(self):
    check_values(self, 'data.augment.')

  def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Augments one image.

    Args:
      image: uint8 [H, W, 3]; left unchanged.
      rng: always four draws, so that the generator moves on alike whatever the
        settings are.

    Returns:
      uint8 [H, W, 3].
    """
    mirrored = rng.random() < self.flip_probability
    down, right = rng.integers(
      -self.max_shift, self.max_shift, size=2, endpoint=True
    )
    factor = 1 + self.max_brightness * rng.uniform(-1, 1)
    image = shift(image, int(down), int(right))
    if mirrored:
      image = image[:, ::-1]
    if self.max_brightness:
      image = scale_brightness(image, factor)
    return np.ascontiguousarray(image)


def shift(image: np.ndarray, down: int, right: int) -> np.ndarray:
  """Moves an image [H, W, 3] by whole pixels, repeating its border."""
  height, width, _ = image.shape
  if down:
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    image = np.take(image, rows, axis=0)
  if right:
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    image = np.take(image, columns, axis=1)
  return image


def scale_brightness(image: np.ndarray, factor: float) -> np.ndarray:
  """Multiplies a uint8 image by a factor, rounded and limited to 255."""
  # A table of the 256 values: no float image is made.
  table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
  return table[image]
