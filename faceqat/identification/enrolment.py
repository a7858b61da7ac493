"""From images of people to templates.

An image that cannot be used is noted with its reason, and the rest goes on.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from faceqat.evaluators import verification
from faceqat.identification.embedders import Embedder
from faceqat.identification.face_files import Entry, LeftOut
from faceqat.identification.gallery import DIGEST_BYTES, digest_image

# Batches of one call of `verification.embed`: few of their images are held.
_BATCHES_AT_ONCE = 4
_SECONDS_PER_LINE = 5.0


@dataclasses.dataclass(frozen=True, eq=False)
class Faces:
  """N faces and their templates.

  Attributes:
    names: of their images, with #2, #3 behind it for further faces of one.
    people: names, or None.
    templates: [N, D], as `verification.embed` gives them.
    digests: uint8 [N, 16], of the pixels.
    pictures: N functions that read a face again, uint8 [H, W, 3].
    left_out: images that were not used.
  """

  names: list[str]
  people: list[str | None]
  templates: np.ndarray
  digests: np.ndarray
  pictures: list[Callable[[], np.ndarray]]
  left_out: list[LeftOut]


def embed_faces(
  embedder: Embedder,
  entries: Sequence[Entry],
  what: str,
  batch_size: int,
  left_out: Iterable[LeftOut] = (),
) -> Faces:
  """Reads and embeds images, and prints how far it is.

  Args:
    embedder: the network.
    entries: the images.
    what: a word for them, for the lines printed.
    batch_size: images in one call of the network.
    left_out: images that were left out before.

  Raises:
    ValueError: an embedding is not finite.
  """
  names, people, pictures, digests, templates = [], [], [], [], []
  left_out = list(left_out)
  progress = _Progress(what, len(entries))
  faces = _read(entries, left_out)
  while chunk := list(itertools.islice(faces, batch_size * _BATCHES_AT_ONCE)):
    crops = []
    for entry, number, crop in chunk:
      names.append(f'{entry.name}#{number + 1}' if number else entry.name)
      people.append(entry.person)
      pictures.append(lambda entry=entry, number=number: entry.read()[number])
      digests.append(digest_image(crop))
      crops.append(crop)
    templates.append(verification.embed(embedder.predict, crops, batch_size))
    progress.show(len(names))
  if entries:
    progress.show(len(names), end=True)
  return Faces(
    names,
    people,
    np.concatenate(templates) if templates else np.zeros([0, 0], np.float32),
    np.stack(digests) if digests else np.zeros([0, DIGEST_BYTES], np.uint8),
    pictures,
    left_out,
  )


class _Progress:
  """Prints a line now and then, and one at the end."""

  def __init__(self, what: str, total: int):
    self._what, self._total = what, total
    self._start = self._printed = time.monotonic()

  def show(self, faces: int, end: bool = False):
    now = time.monotonic()
    if end or now - self._printed >= _SECONDS_PER_LINE:
      self._printed = now
      rate = faces / max(now - self._start, 1e-9)
      print(
        f'{self._what}: {faces:,} faces{" in" if end else " so far, of"} '
        f'{self._total:,} images, {rate:.0f} faces/s',
        flush=True,
      )


def _read(entries, left_out) -> Iterator[tuple]:
  for entry in entries:
    try:
      crops = entry.read()
    except (ValueError, OSError) as error:
      left_out.append(LeftOut(entry.name, str(error)))
      continue
    for number, crop in enumerate(crops):
      yield entry, number, crop
