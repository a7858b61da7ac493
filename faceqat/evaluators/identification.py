"""Face identification, closed set: who of the gallery is it?

The gallery has one image of each person, the probes are other images of the
same people, and a probe's answers are the gallery by falling cosine. As in
verification, an image's embedding is the sum of its own and its mirror image's.
"""

from collections.abc import Iterator

import numpy as np

from faceqat.data.pairs import SourceImages
from faceqat.evaluators.verification import Predict, embed

RANKS = (1, 5)
# Two cosines that are closer than this are tied: sums of float64 products of
# unit vectors are uncertain by some 1e-14, in an order that the gallery's size
# may change.
_TIE = 1e-12
# Probes compared with the gallery at a time.
_BLOCK = 1024


def split_gallery(
  labels: np.ndarray, images_per_person: int
) -> tuple[np.ndarray, np.ndarray]:
  """Takes everybody's first image as gallery and their next ones as probes.

  Args:
    labels: [N] integers, the person in each image.
    images_per_person: at most so many images of one person are used, the
      gallery's among them.

  Returns:
    Image indices of the gallery, by rising label, and of the probes. A person
    with one image only is in the gallery, for others to be mistaken for.
  """
  labels = np.asarray(labels)
  order = np.argsort(labels, kind='stable')
  _, starts = np.unique(labels[order], return_index=True)
  counts = np.diff(np.append(starts, len(labels)))
  # The how-manieth image of its person each one is.
  place = np.arange(len(labels)) - np.repeat(starts, counts)
  probes = order[(place > 0) & (place < images_per_person)]
  return order[place == 0], probes


def find_ranks(
  gallery: np.ndarray, probes: np.ndarray, mates: np.ndarray
) -> np.ndarray:
  """At which place of a probe's answers the right person stands.

  Args:
    gallery: [G, D], one embedding a person; of any type, normalised or not.
    probes: [N, D].
    mates: [N] integers, the row of the gallery that shows the probe's person.

  Returns:
    int64 [N], 1 for the first place. Whoever ties with the right person stands
    before them: a network that gives everybody the same embedding finds nobody.
  """
  gallery, probes = _normalized(gallery), _normalized(probes)
  ranks = []
  for start in range(0, len(probes), _BLOCK):
    block = slice(start, start + _BLOCK)
    cosines = probes[block] @ gallery.T
    own = np.take_along_axis(cosines, mates[block, None], axis=1)
    ranks.append(np.sum(cosines >= own - _TIE, axis=1))
  return np.concatenate(ranks)


def evaluate(
  predict: Predict, source, *, images_per_person: int, batch_size: int
) -> Iterator[tuple[str, float]]:
  """Evaluates one reading of a model on the people of a source.

  Args:
    predict: From uint8 [batch_size, H, W, 3] to [batch_size, D].
    source: a labelled source, of people never trained on.
    images_per_person: as in `split_gallery`.
    batch_size: images in one call of `predict`.

  Yields:
    ('rank1', share) and ('rank5', share): the probes, as a fraction, whose
    person is among the first so many answers; only ranks that are below the
    number of people, as the others are always 1.

  Raises:
    ValueError: nobody has a second image, or an embedding is not finite.
  """
  labels = np.asarray(source.labels)
  gallery, probes = split_gallery(labels, images_per_person)
  if not len(probes):
    raise ValueError(
      f'Identification needs two images of a person, got {images_per_person} '
      f'at most and {len(labels)} images of {len(gallery)} people.'
    )
  images = SourceImages(source, np.concatenate([gallery, probes]))
  embeddings = embed(predict, images, batch_size)
  ranks = find_ranks(
    embeddings[: len(gallery)],
    embeddings[len(gallery) :],
    np.searchsorted(labels[gallery], labels[probes]),
  )
  for rank in RANKS:
    if rank < len(gallery):
      yield f'rank{rank}', float(np.mean(ranks <= rank))


def _normalized(embeddings: np.ndarray) -> np.ndarray:
  """Unit vectors in float64; zeros stay zeros."""
  embeddings = np.asarray(embeddings, float)
  norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
  return embeddings / np.where(norms > 0, norms, 1)
