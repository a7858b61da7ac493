"""A network's hardest pairs, as a file with their images.

A safetensors file with K pairs, so that a page can show them where the data set
is not: `same` bool [K], `pair` int64 [K], `score` float64 [K], and `images`
uint8 [K, 2, H, W, 3], RGB.
"""

import os
import pathlib
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from PIL import Image, ImageOps

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators.scores import read_arrays
from faceqat.files import atomic

FILE_NAME = 'hardest.safetensors'
# 24 images of 112 x 112 pixels: 0.9 MB.
_PAIRS_PER_KIND = 6
_MOST_PIXELS = 112


class Hardest(NamedTuple):
  """K pairs: false matches first, then false non-matches, hardest first.

  Attributes:
    precision: of the scores.
    same: bool [K], whether both images show the same person.
    pair: int64 [K], the number of the pair in its set.
    score: float64 [K].
    images: uint8 [K, 2, H, W, 3], RGB.
  """

  precision: str
  same: np.ndarray
  pair: np.ndarray
  score: np.ndarray
  images: np.ndarray


def hardest_pairs(
  scores: np.ndarray, same: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Orders P pairs by how likely a threshold gets them wrong.

  >>> hardest_pairs(np.array([1, 2, 3, 4]), np.array([True, False] * 2))
  (array([3, 1]), array([0, 2]))

  Returns:
    The positions of the different people by falling score, and of the same
    ones by rising score. Equal scores keep their order, or its reverse.
  """
  order = np.argsort(scores, kind='stable')
  return order[::-1][~same[order[::-1]]], order[same[order]]


def side_by_side(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Two images of one height, with a white line between them."""
  gap = np.full([first.shape[0], 4, 3], 255, np.uint8)
  return np.concatenate([first, gap, second], axis=1)


def save(
  pair_set: PairSet,
  scores: np.ndarray,
  precision: str,
  folder: str | os.PathLike,
):
  """Writes the hardest of P pairs to `hardest.safetensors` in a folder.

  Images are stored with a longer side of at most 112 pixels.
  """
  same = np.asarray(pair_set.same, bool)
  false_matches, false_rejects = hardest_pairs(np.asarray(scores), same)
  chosen = np.concatenate(
    [false_matches[:_PAIRS_PER_KIND], false_rejects[:_PAIRS_PER_KIND]]
  )
  images = [
    [
      _shrink(pair_set.images[int(ends[pair])])
      for ends in (pair_set.first, pair_set.second)
    ]
    for pair in chosen
  ]
  arrays = {
    'same': same[chosen],
    'pair': chosen.astype(np.int64),
    'score': np.asarray(scores, np.float64)[chosen],
    'images': np.array(images),
  }
  content = safetensors.numpy.save(arrays, metadata={'precision': precision})
  atomic.write(pathlib.Path(folder) / FILE_NAME, content)


def load(folder: str | os.PathLike) -> Hardest | None:
  """Reads what `save` wrote; None where there is no such file.

  Raises:
    ValueError: the file is damaged or of another form.
  """
  path = pathlib.Path(folder) / FILE_NAME
  if not path.is_file():
    return None
  arrays, metadata = read_arrays(path)
  try:
    found = Hardest(
      # Files of earlier runs call it `reading`.
      metadata.get('precision') or metadata['reading'],
      **{name: arrays[name] for name in Hardest._fields if name != 'precision'},
    )
  except KeyError as error:
    raise ValueError(
      f'{path} is damaged (it has no {error}); evaluate that run again'
    ) from error
  count, shape = found.same.size, found.images.shape
  if (
    found.same.shape != (count,)
    or found.images.dtype != np.uint8
    or shape[:2] + shape[4:] != (count, 2, 3)
    or found.pair.shape != (count,)
    or found.score.shape != (count,)
  ):
    raise ValueError(
      f'{path}: images are {found.images.dtype}{shape} of {count} pairs, '
      f'wanted uint8({count}, 2, H, W, 3); evaluate that run again'
    )
  return found


def _shrink(image: np.ndarray) -> np.ndarray:
  if max(image.shape[:2]) <= _MOST_PIXELS:
    return image
  square = _MOST_PIXELS, _MOST_PIXELS
  return np.asarray(ImageOps.contain(Image.fromarray(image), square))
