"""Checks the images of a set before anything is computed with them.

Several threads look at the header and the end of each file (`decoding.check`).
So files that are missing, cut short, no image, or of another size are found at
the start, and so is a picture of two people. A core checks some 6,000 crops a
second, a million in three minutes; a slow disk takes longer.
"""

import concurrent.futures
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from faceqat.faces.images import (
  DamagedImageError,
  SkippedImages,
  WrongSizeError,
)
from faceqat.files.names import first_few
from faceqat.progress import track

# They wait for the disk, mostly where it is in a network.
_THREADS = 8
_IMAGES_AT_ONCE = 64
# Where not all are looked at.
_FEW = 20
# Images in a message.
_MOST_NAMED = 5


def check_training_images(
  source,
  skipped: SkippedImages | None,
  *,
  every_image: bool,
  process_index: int = 0,
  process_count: int = 1,
) -> list[str]:
  """Checks the images of a labelled source of files.

  Args:
    source: a labelled source with `encoded(i) -> bytes`.
    skipped: takes those that cannot be used; None: they are an error.
    every_image: False: only 20 of them, from the first to the last.
    process_index: this process; each checks a part.
    process_count: all processes.

  Returns:
    Sentences for the user: how many images cannot be used, and which pictures
    of this part are two people's.

  Raises:
    ValueError: one cannot be used and none may be skipped, or most cannot.
  """
  indices = np.arange(process_index, len(source), process_count)
  if not every_image:
    count = min(_FEW, len(indices))
    indices = indices[np.linspace(0, len(indices) - 1, count).astype(int)]
  damaged, whole, digests = _check_each(source, indices, 'images')
  if damaged and (skipped is None or 2 * len(damaged) > len(indices)):
    first = damaged[0]
    raise ValueError(_describe(damaged, len(indices), first.remedy))
  for error in damaged[:_FEW]:
    skipped.add(error)
  notes = []
  if damaged:
    notes.append(
      f'note: {len(damaged):,} of {len(indices):,} images cannot be used and '
      'are passed over'
    )
  if every_image:
    notes += _shared_pictures(source, whole, digests)
  return notes


def check_evaluation_images(images: Sequence, name: str):
  """Checks the images of a benchmark, of which none may be missing.

  Args:
    images: with `encoded(i) -> bytes`.
    name: of the benchmark, for messages.

  Raises:
    ValueError: one cannot be used.
  """
  indices = np.arange(len(images))
  damaged, _, _ = _check_each(images, indices, f'images of {name}')
  if damaged:
    first = damaged[0]
    remedy = 'restore it, as all pairs of a list are evaluated.'
    if isinstance(first, WrongSizeError):
      remedy = first.remedy
    raise ValueError(_describe(damaged, len(images), remedy))


def usable(source, skipped: SkippedImages) -> np.ndarray:
  """The indices of the images of a source that can be decoded.

  Args:
    source: a labelled source.
    skipped: takes the others.
  """

  def decode(index: int):
    source[index]

  found, indices = [], np.arange(len(source))
  results = each(decode, indices, 'looked at images held out')
  for index, result in zip(indices, results):
    if isinstance(result, DamagedImageError):
      skipped.add(result)
    else:
      found.append(index)
  return np.array(found, np.int64)


def _check_each(
  images, indices: np.ndarray, what: str
) -> tuple[list[DamagedImageError], np.ndarray, np.ndarray]:
  """Errors of unusable images, and the others' indices and digests."""

  def digest(index: int) -> int:
    data = images.encoded(index)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())

  damaged = []
  whole = np.ones(len(indices), bool)
  digests = np.zeros(len(indices), np.uint64)
  for place, result in enumerate(each(digest, indices, f'looked at {what}')):
    if isinstance(result, DamagedImageError):
      damaged.append(result)
      whole[place] = False
    else:
      digests[place] = result
  return damaged, indices[whole], digests[whole]


def each(
  function: Callable[[int], Any], indices: np.ndarray, what: str
) -> Iterator[Any]:
  """Yields the function's value of each index, or its DamagedImageError.

  Several threads call it. `what` is done then, as `looked at images`.
  """

  def look(chunk: np.ndarray) -> list[Any]:
    results = []
    for index in chunk.tolist():
      try:
        results.append(function(index))
      except DamagedImageError as error:
        results.append(error)
    return results

  starts = range(0, len(indices), _IMAGES_AT_ONCE)
  chunks = [indices[start : start + _IMAGES_AT_ONCE] for start in starts]
  pool = concurrent.futures.ThreadPoolExecutor(_THREADS)
  try:
    results = itertools.chain.from_iterable(pool.map(look, chunks))
    yield from track(results, what, len(indices))
  finally:
    pool.shutdown(cancel_futures=True)


def _describe(
  damaged: Sequence[DamagedImageError], total: int, remedy: str
) -> str:
  first, *others = damaged
  text = f'{first.what}: {remedy}'
  if others:
    also = first_few([e.what for e in others], _MOST_NAMED - 1, '; ')
    text += (
      f' So {len(damaged):,} of {total:,} images cannot be used, also {also}.'
    )
  return text


def _shared_pictures(
  source, indices: np.ndarray, digests: np.ndarray
) -> list[str]:
  """Sentences on equal files of different people."""
  order = np.argsort(digests, kind='stable')
  indices, digests = indices[order], digests[order]
  labels = np.asarray(source.labels)[indices]
  equal = digests[1:] == digests[:-1]
  (twice,) = np.nonzero(equal & (labels[1:] != labels[:-1]))
  twice = twice[np.argsort(indices[twice])]
  notes = []
  for place in twice[:_MOST_NAMED]:
    (one, first), (other, second) = (
      (source.name(int(indices[i])), source.class_names[labels[i]])
      for i in (place, place + 1)
    )
    notes.append(
      f'note: {one} and {other} are one picture, trained as {first!r} and as '
      f'{second!r}; remove the wrong one'
    )
  if len(twice) > _MOST_NAMED:
    rest = len(twice) - _MOST_NAMED
    notes.append(f'note: {rest:,} more pictures are of two people')
  return notes
