"""From images of people to templates.

An image that cannot be used is noted with its reason, and the rest goes on.
"""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from faceqat.evaluators import verification
from faceqat.identification import face_files
from faceqat.identification.embedders import Embedder
from faceqat.identification.face_files import Entry, LeftOut
from faceqat.identification.gallery import DIGEST_BYTES, digest_image
from faceqat.progress import track

# Batches of one call of `verification.embed`: few of their images are held.
_BATCHES_AT_ONCE = 4


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
    places: N paths of their files, or None, and their places there, from 0.
  """

  names: list[str]
  people: list[str | None]
  templates: np.ndarray
  digests: np.ndarray
  pictures: list[Callable[[], np.ndarray]]
  left_out: list[LeftOut]
  places: list[tuple[pathlib.Path | None, int]] = dataclasses.field(
    default_factory=list
  )


def embed_faces(
  embedder: Embedder,
  entries: Sequence[Entry],
  what: str | None,
  batch_size: int,
  left_out: Iterable[LeftOut] = (),
) -> Faces:
  """Reads and embeds images, and may print how far it is.

  Args:
    embedder: the network.
    entries: the images.
    what: a word for them, for the lines printed; None: print nothing.
    batch_size: images in one call of the network.
    left_out: images that were left out before.

  Raises:
    ValueError: an embedding is not finite.
  """
  names, people, pictures, digests, templates = [], [], [], [], []
  places = []
  left_out = list(left_out)
  shown = track(entries, what, len(entries)) if what else iter(entries)
  # Closed before an error is printed, so that no bar is left on the terminal.
  with contextlib.closing(face_files.read_faces(shown, left_out)) as faces:
    while chunk := list(itertools.islice(faces, batch_size * _BATCHES_AT_ONCE)):
      crops = []
      for entry, number, crop in chunk:
        names.append(f'{entry.name}#{number + 1}' if number else entry.name)
        people.append(entry.person)
        pictures.append(lambda entry=entry, number=number: entry.read()[number])
        digests.append(digest_image(crop))
        places.append((entry.path, number))
        crops.append(crop)
      templates.append(verification.embed(embedder.predict, crops, batch_size))
  if entries and what:
    print(
      f'{what}: {len(names):,} faces in {len(entries):,} images', flush=True
    )
  return Faces(
    names,
    people,
    np.concatenate(templates) if templates else np.zeros([0, 0], np.float32),
    np.stack(digests) if digests else np.zeros([0, DIGEST_BYTES], np.uint8),
    pictures,
    left_out,
    places,
  )
