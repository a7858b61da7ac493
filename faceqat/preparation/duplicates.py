"""Finds the same picture under several names.

Exact copies have the same pixels. Near ones (saved again, smaller, brighter,
cut out a pixel aside) have similar perceptual hashes: which of the picture's
low frequencies are above their median (Zauner 2010, 'pHash').

Face crops are alike in their lowest frequencies, so the usual 64 bits are too
few: different people of LFW differ in as few as 4, a picture and its brighter
copy in up to 8. Measured with 256 bits (`benchmarks/duplicates.py`):

* Different people differ in 50 bits and more, on 96 million pairs of LFW and a
  training set, but for 14 pictures that are there under two names.
* Copies of quality 30, half the size, 20 % brighter or turned by a degree
  differ in up to 40 bits, and so do 98.8 % of those moved by a pixel.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

HASH_BITS = 256
# Hashes of one picture differ in at most so many bits. Not 48: twice as many
# pictures have four times as many pairs of different people.
MAX_DISTANCE = 40
_SIDE = 16
_BLOCK = 4096


def perceptual_hash(image: np.ndarray) -> np.ndarray:
  """A hash of which similar pictures share most bits.

  `phash(hash_size=16)` of the package ImageHash, but for the resizing.

  Args:
    image: [H, W, 3] uint8, RGB, or [H, W], grey; of any size.

  Returns:
    [32] uint8: 256 bits.
  """
  if image.ndim == 3:
    image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
  side = 4 * _SIDE
  small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
  frequencies = cv2.dct(small.astype(np.float32))[:_SIDE, :_SIDE].ravel()
  return np.packbits(frequencies > np.median(frequencies))


def near_pairs(
  hashes: np.ndarray,
  others: np.ndarray | None = None,
  max_distance: int = MAX_DISTANCE,
) -> np.ndarray:
  """The pairs of hashes that differ in few bits.

  All are compared, block by block: 100,000 take about a minute on two cores,
  and time grows with the square, memory does not.

  Args:
    hashes: [N, 32] uint8.
    others: [M, 32] uint8 to compare with; None: `hashes` themselves.
    max_distance: bits.

  Returns:
    int64 [P, 2], indices of `hashes` and of `others`, sorted; of `hashes`
    alone, the smaller index first. Of several equal hashes, pairs that connect
    them, not all.
  """
  if others is None:
    hashes, places, copies = _unique(hashes)
    near = list(_blocks(hashes, hashes, max_distance, upper=True))
    pairs = np.concatenate([places[np.concatenate(near)], copies])
    pairs.sort(axis=1)
  else:
    near = list(_blocks(hashes, others, max_distance, upper=False))
    pairs = np.concatenate(near)
  return pairs[np.lexsort(pairs.T[::-1])]


def group(count: int, pairs: np.ndarray) -> list[list[int]]:
  """The connected sets of two and more.

  >>> group(9, [[5, 1], [1, 3], [0, 8]])
  [[0, 8], [1, 3, 5]]

  Args:
    count: of all things.
    pairs: int [P, 2] of their indices.
  """
  pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
  # Here, as the command imports this module to read its flags.
  from scipy import sparse
  from scipy.sparse import csgraph

  graph = sparse.coo_array(
    (np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count)
  )
  _, labels = csgraph.connected_components(graph, directed=False)
  order = np.argsort(labels, kind='stable')
  starts = np.flatnonzero(np.diff(labels[order])) + 1
  sets = [members.tolist() for members in np.split(order, starts)]
  return sorted(members for members in sets if len(members) > 1)


def equal_pairs(keys: Sequence[str]) -> np.ndarray:
  """Pairs each key with the first that is equal; [P, 2]."""
  first: dict[str, int] = {}
  pairs = [
    (first[key], index)
    for index, key in enumerate(keys)
    if first.setdefault(key, index) != index
  ]
  return np.array(pairs, np.int64).reshape(-1, 2)


def _unique(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Different hashes, the index of each, and pairs (index, that of a copy)."""
  _, places, which = np.unique(
    hashes, axis=0, return_index=True, return_inverse=True
  )
  first = places[which.ravel()]
  copies = np.flatnonzero(first != np.arange(len(hashes)))
  return hashes[places], places, np.stack([first[copies], copies], axis=1)


def _blocks(
  hashes: np.ndarray, others: np.ndarray, max_distance: int, *, upper: bool
) -> Iterator[np.ndarray]:
  """The near pairs [P, 2] of each pair of blocks."""
  yield np.empty((0, 2), np.int64)
  # With bits as -1 and 1 the product is 256 less twice the distance.
  least = HASH_BITS - 2 * max_distance
  for row in range(0, len(hashes), _BLOCK):
    left = _signs(hashes[row : row + _BLOCK])
    for column in range(row if upper else 0, len(others), _BLOCK):
      product = left @ _signs(others[column : column + _BLOCK]).T
      near = np.argwhere(product >= least) + np.array([row, column])
      yield near[near[:, 0] < near[:, 1]] if upper else near


def _signs(hashes: np.ndarray) -> np.ndarray:
  return np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1
