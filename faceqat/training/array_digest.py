"""A digest of arrays, by which a damaged or another one is found out."""

import hashlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from faceqat.training.train_state import named_leaves


def digest_arrays(tree: Any, classes: int = 0) -> str:
  """SHA-256 of the names, types, shapes and values of arrays.

  Args:
    tree: of arrays.
    classes: where JAX's arrays are split over devices, their rows that are no
      padding. The digest is that of these rows as one of numpy's arrays. 0:
      nothing is split.
  """
  digest = hashlib.sha256()
  for name, leaf in named_leaves(tree).items():
    shape, parts = np.shape(leaf), [np.asarray(leaf)]
    if classes and isinstance(leaf, jax.Array):
      shape, parts = (classes, *shape[1:]), _parts(leaf, classes)
    digest.update(f'{name} {leaf.dtype} {shape} '.encode())
    for part in parts:
      # Not every type of number has a buffer of its own.
      rows = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
      digest.update(rows.data)
  return digest.hexdigest()


def _parts(leaf: jax.Array, classes: int) -> Iterator[np.ndarray]:
  """The rows of each device, in their order, without padding."""
  for shard in sorted(leaf.addressable_shards, key=_first_row):
    yield np.asarray(shard.data)[: max(0, classes - _first_row(shard))]


def _first_row(shard) -> int:
  return shard.index[0].start or 0
