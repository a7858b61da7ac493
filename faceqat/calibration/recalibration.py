"""Calibrates a packaged network anew, on the faces of a user's own camera.

Ranges, equalisation factors and bias corrections take the place of those that
it ships with; its weights stay. The same images make the same program on the
same kind of processor: ranges are of float sums, whose order is its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.traverse_util
import numpy as np

from faceqat.calibration import packaged_network
from faceqat.calibration.calibrate import calibrate
from faceqat.calibration.lower import lower
from faceqat.evaluators import verification
from faceqat.evaluators.predict import make_integer_predict, make_predict
from faceqat.integer import program as integer_program
from faceqat.models.network import Network
from faceqat.quant.spec import FLOAT

# SFace's mean cosine to float on other people's faces, one number for each
# random choice of images, beside 0.9967 of the 256 that its own ranges are of:
# 4: 0.985, 0.989, 0.990; 8: 0.992, 0.993, 0.993, 0.994; 16: 0.995, 0.996;
# 32: 0.996, 0.996. So few of them are refused, and up to some dozens warned of.
LEAST_IMAGES = 16
ENOUGH_IMAGES = 64
# Nearly: people are held out whole. Bias correction holds all in memory.
MOST_IMAGES = 256

# One in so many is only compared on.
_HELD_OUT = 5
_BATCH_SIZE = 32


class RangeChange(NamedTuple):
  """The output range of a layer: [least, greatest], before and after."""

  layer: str
  before: tuple[float, float]
  after: tuple[float, float]

  @property
  def share(self) -> float:
    """By how much the farther end moved, in parts of the range before."""
    moved = np.abs(np.subtract(self.after, self.before)).max()
    return float(moved / max(self.before[1] - self.before[0], 1e-30))


class Form(NamedTuple):
  """A calibrated form of the network.

  Attributes:
    cosines: [N] float64 of its integer embeddings of held-out images to those
      of the float network as its weights are.
    digest: of the program.
  """

  cosines: np.ndarray
  digest: str


class Recalibrated(NamedTuple):
  """A network with ranges of its own, and what changed.

  Attributes:
    network: in its float form and ready for integers.
    images: on how many it was calibrated.
    changes: of all layers, the greatest first.
    packaged, own: the form that ships, and the new one.
  """

  network: Network
  images: int
  changes: tuple[RangeChange, ...]
  packaged: Form
  own: Form


def recalibrate(
  name: str,
  shipped: Network,
  images: np.ndarray,
  people: Sequence[str | None],
) -> Recalibrated:
  """Measures what a packaged network ships with on other images.

  Args:
    name: of `packaged_files.NAMES`.
    shipped: that network as it ships.
    images: uint8 [N, H, W, 3], N at least `LEAST_IMAGES`.
    people: N names, or None: as far as it goes, no person is both calibrated
      and compared on.

  Raises:
    ValueError: its weights are not installed.
  """
  start = packaged_network.load_uncalibrated(name)
  compared = held_out(people)
  own_images = images[~compared]
  # Batches have one shape; the last one is filled from the start.
  size = min(_BATCH_SIZE, len(own_images))
  order = np.arange(-(-len(own_images) // size) * size) % len(own_images)
  batches = own_images[order].reshape(-1, size, *images.shape[1:])
  own = start._replace(variables=calibrate(start, batches))
  predict = make_predict(start.model, start.variables, FLOAT)
  floats = _embed(predict, images[compared])
  return Recalibrated(
    own,
    len(own_images),
    _changes(shipped, own),
    _form(shipped, images[compared], floats),
    _form(own, images[compared], floats),
  )


def held_out(people: Sequence[str | None]) -> np.ndarray:
  """Which images are kept out of the calibration: bool [N].

  Every fifth person; or every fifth image, where there are not five people.
  """
  names = list(dict.fromkeys(people))
  if len(names) < _HELD_OUT:
    return np.arange(len(people)) % _HELD_OUT == _HELD_OUT - 1
  chosen = set(names[_HELD_OUT - 1 :: _HELD_OUT])
  return np.array([name in chosen for name in people])


def _embed(predict, images: np.ndarray) -> np.ndarray:
  return np.asarray(predict(images), np.float64)


def _form(network: Network, images: np.ndarray, floats: np.ndarray) -> Form:
  program = lower(network)
  integers = _embed(make_integer_predict(program), images)
  return Form(
    verification.cosine(floats, integers), integer_program.digest(program)
  )


def _changes(before: Network, after: Network) -> tuple[RangeChange, ...]:
  old, new = _ranges(before), _ranges(after)
  changes = [RangeChange(name, old[name], new[name]) for name in old]
  return tuple(sorted(changes, key=lambda change: -change.share))


def _ranges(network: Network) -> dict[str, tuple[float, float]]:
  stats = network.variables['quant_stats']
  flat = flax.traverse_util.flatten_dict(stats, sep='/')
  return {
    path.removesuffix('/quantizer/range'): (
      float(leaf.minimum),
      float(leaf.maximum),
    )
    for path, leaf in flat.items()
  }
