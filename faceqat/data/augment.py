"""Training augmentation on aligned face crops: uint8 in, uint8 out.

It is small on purpose. Aligned faces have their eyes at fixed pixels, and an
augmentation that moves them far shows the network what it will never meet.

What is random is drawn on the host, for each image from its own generator. The
pixels are moved on the device (augment_batch.py), to the same bits as here.
"""

import dataclasses
from typing import Annotated, NamedTuple

import numpy as np

from faceqat.fields import check_values, whole_from


class Draw(NamedTuple):
  """What is done to an image, or with a first axis [B] to each of a batch.

  Attributes:
    mirrored: [] bool, after it is shifted.
    shift: [2] int32, pixels down and to the right; the border is repeated.
    tones: [256] uint8, the value that each pixel value becomes.
  """

  mirrored: np.ndarray
  shift: np.ndarray
  tones: np.ndarray


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

  def draw(self, rng: np.random.Generator) -> Draw:
    """Draws what is done to one image.

    Args:
      rng: always four draws, so that the generator moves on alike whatever the
        settings are.
    """
    mirrored = rng.random() < self.flip_probability
    shift = rng.integers(-self.max_shift, self.max_shift, size=2, endpoint=True)
    factor = 1 + self.max_brightness * rng.uniform(-1, 1)
    return Draw(np.bool_(mirrored), shift.astype(np.int32), tones(factor))

  def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Augments one image.

    Args:
      image: uint8 [H, W, 3]; left unchanged.
      rng: as of `draw`.

    Returns:
      uint8 [H, W, 3].
    """
    draw = self.draw(rng)
    image = shift(image, *draw.shift.tolist())
    if draw.mirrored:
      image = image[:, ::-1]
    return np.ascontiguousarray(draw.tones[image])


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


def tones(factor: float) -> np.ndarray:
  """All 256 values times a factor, rounded and limited to 255; uint8 [256]."""
  return np.minimum(np.rint(_VALUES * factor), 255).astype(np.uint8)


_VALUES = np.arange(256)
