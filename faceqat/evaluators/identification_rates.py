"""Face identification: who of a gallery is shown, if anybody?

The gallery has one image of each person; a probe's answers are the gallery by
falling cosine. As in verification, an image's embedding is the sum of its own
and its mirror image's.

Closed set: everybody is in the gallery, and the probes are their other images.
Rank-k is the share of the probes whose person is among the first k answers; the
CMC curve is rank-k over k.

Open set: some people are left out of the gallery, and all of their images are
probes without a mate. FPIR is the share of these whose first answer reaches the
threshold; TPIR is the share of the probes with a mate whose first answer is the
mate and reaches it. One threshold holds for all probes.

Sources: Phillips, Moon, Rizvi and Rauss 2000, "The FERET Evaluation
Methodology" (CMC); Grother, Ngan and Hanaoka, NIST IR 8271 (FPIR; its FNIR at
rank 1 is 1 - TPIR); Maze et al. 2018, "IARPA Janus Benchmark - C".
"""

import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import safetensors.numpy

from faceqat.evaluators import influence, intervals
from faceqat.evaluators.verification import Predict, embed, is_supported
from faceqat.faces import lazy_images
from faceqat.files import atomic

FILE_NAME = 'identification.safetensors'
RANKS = (1, 5)
FPIRS = (1e-1, 1e-2, 1e-3)
# Two cosines that are closer than this are tied: sums of float64 products of
# unit vectors are uncertain by some 1e-14, in an order that the gallery's size
# may change.
_DECIMALS = 12
_TIE = 10.0**-_DECIMALS
# Below every cosine: the score of a probe whose first answer is wrong.
_WRONG = -2.0
# Probes compared with the gallery at a time.
_BLOCK = 1024


class OpenSet(NamedTuple):
  """The scores of N probes in an open set.

  Attributes:
    scores: float64 [N], the cosine of a probe and its first answer.
    hits: bool [N], whether that is its person; False without a mate.
    mated: bool [N], whether the probe's person is in the gallery.
    people: int64 [N], the person in each probe.
    rivals: int64 [N], the first answer that is not the probe's person.
    without_rival: float64 [N], `identified` if the gallery lacked the rival.
  """

  scores: np.ndarray
  hits: np.ndarray
  mated: np.ndarray
  people: np.ndarray
  rivals: np.ndarray
  without_rival: np.ndarray

  @property
  def identified(self) -> np.ndarray:
    """float64 [N]: scores, below all for a mated probe with a wrong answer.

    At a threshold, TPIR is the share of the mated ones at or above it, and
    FPIR that of the others.
    """
    return np.where(self.mated & ~self.hits, _WRONG, self.scores)


class SearchResult(NamedTuple):
  """The answers of one precision of a network to N probes.

  Attributes:
    ranks: int64 [N], the place of the probe's person among the answers;
      everybody is in the gallery.
    people: int64 [N], the person in each of these probes.
    rivals: int64 [N], the first answer that is not that person.
    gallery_size: the number of people.
    open_set: None if nobody was left out of the gallery, or there is nothing
      left to search for.
  """

  ranks: np.ndarray
  people: np.ndarray
  rivals: np.ndarray
  gallery_size: int
  open_set: OpenSet | None


def split_gallery(
  labels: np.ndarray, images_per_person: int
) -> tuple[np.ndarray, np.ndarray]:
  """Takes everybody's first image as gallery and their next ones as probes.

  >>> split_gallery(np.array([0, 1, 0, 0]), images_per_person=2)
  (array([0, 1]), array([2]))

  Args:
    labels: integers [N], the person in each image.
    images_per_person: the most images of a person, the gallery's included.

  Returns:
    Image indices of the gallery, by rising label, and of the probes. A person
    with one image is in the gallery alone, for others to be mistaken for.
  """
  labels = np.asarray(labels)
  order = np.argsort(labels, kind='stable')
  _, starts = np.unique(labels[order], return_index=True)
  counts = np.diff(np.append(starts, len(labels)))
  # The number of each image among those of its person, from 0.
  place = np.arange(len(labels)) - np.repeat(starts, counts)
  probes = order[(place > 0) & (place < images_per_person)]
  return order[place == 0], probes


def check_probes(
  labels: np.ndarray, images_per_person: int
) -> tuple[np.ndarray, np.ndarray]:
  """`split_gallery`, where there is anybody to search for.

  Raises:
    ValueError: nobody has a second image.
  """
  first, others = split_gallery(labels, images_per_person)
  if not len(others):
    raise ValueError(
      f'identification needs two images of a person, got {images_per_person} '
      f'at most and {len(labels)} images of {len(first)} people'
    )
  return first, others


class Nearest(NamedTuple):
  """A gallery's answers to N probes.

  Attributes:
    ranks: int64 [N], the place of the probe's person among the answers, 1 for
      the first; 0 without a mate. Whoever ties with the right person stands
      before them: a network that embeds all images alike finds nobody.
    best: float64 [N], the cosine of the first answer.
    rivals: int64 [N], the row of the first answer that is not the right person.
    without_rival: float64 [N], the cosine of the first answer if the gallery
      lacked the rival; below all where a wrong one is still first.
  """

  ranks: np.ndarray
  best: np.ndarray
  rivals: np.ndarray
  without_rival: np.ndarray


def search(
  gallery: np.ndarray, probes: np.ndarray, mates: np.ndarray
) -> Nearest:
  """Compares probes with a gallery.

  Args:
    gallery: [G, D], one embedding a person; of any type, normalised or not.
    probes: [N, D].
    mates: integers [N], the gallery's row of the probe's person; -1: none.
  """
  found = []
  for block, cosines in _compare(gallery, probes):
    mate, rows = mates[block], np.arange(len(cosines))
    mated = mate >= 0
    own = np.where(mated, cosines[rows, mate], np.inf)
    ranks = np.sum(cosines >= own[:, None] - _TIE, axis=1)
    best = cosines.max(axis=1)
    cosines[rows[mated], mate[mated]] = _WRONG
    rivals = cosines.argmax(axis=1)
    cosines[rows, rivals] = _WRONG
    rest = np.where(ranks <= 2, own, _WRONG)
    rest = np.where(mated, rest, cosines.max(axis=1))
    found.append((ranks, best, rivals, rest))
  return Nearest(*(np.concatenate(column) for column in zip(*found)))


def search_open_set(
  gallery: np.ndarray,
  gallery_people: np.ndarray,
  probes: np.ndarray,
  probe_people: np.ndarray,
) -> OpenSet:
  """Searches for people of whom not all are in the gallery.

  Args:
    gallery: [G, D], as `search` takes it.
    gallery_people: integers [G], rising.
    probes: [N, D].
    probe_people: integers [N].
  """
  mated = np.isin(probe_people, gallery_people)
  mates = np.where(mated, np.searchsorted(gallery_people, probe_people), -1)
  found = search(gallery, probes, mates)
  # Cosines that differ by rounding alone are tied here, too.
  best, without_rival = (
    np.where(scores == _WRONG, _WRONG, np.clip(scores.round(_DECIMALS), -1, 1))
    for scores in (found.best, found.without_rival)
  )
  return OpenSet(
    scores=best,
    hits=found.ranks == 1,
    mated=mated,
    people=np.asarray(probe_people, np.int64),
    rivals=np.asarray(gallery_people, np.int64)[found.rivals],
    without_rival=without_rival,
  )


def search_people(
  predict: Predict,
  source,
  *,
  images_per_person: int,
  unknown_share: float,
  seed: int,
  batch_size: int,
) -> SearchResult:
  """Searches for the people of a source, closed set and open set.

  Args:
    predict: from uint8 [batch_size, H, W, 3] to [batch_size, D].
    source: a labelled source, of people never trained on.
    images_per_person: as in `split_gallery`.
    unknown_share: of the people, who are drawn and left out of the gallery of
      the open set; 0: no open set.
    seed: of that draw.
    batch_size: images in one call of `predict`.

  Raises:
    ValueError: nobody has a second image, or an embedding is not finite.
  """
  labels = np.asarray(source.labels)
  first, others = check_probes(labels, images_per_person)
  images = lazy_images.selected(source, np.concatenate([first, others]))
  embeddings = embed(predict, images, batch_size)
  gallery, probes = np.split(embeddings, [len(first)])
  enrolled, people = labels[first], labels[others].astype(np.int64)
  found = search(gallery, probes, np.searchsorted(enrolled, people))
  drawn = np.random.default_rng(seed).permutation(len(first))
  unknown = np.zeros(len(first), bool)
  unknown[drawn[: round(unknown_share * len(first))]] = True
  open_set = None
  if 0 < np.sum(unknown) < len(first):
    open_set = search_open_set(
      gallery[~unknown],
      enrolled[~unknown],
      np.concatenate([gallery[unknown], probes]),
      np.concatenate([enrolled[unknown], people]),
    )
    if not open_set.mated.any():
      open_set = None
  rivals = enrolled[found.rivals].astype(np.int64)
  return SearchResult(found.ranks, people, rivals, len(first), open_set)


def cmc(found: SearchResult) -> np.ndarray:
  """Rank-k of the closed set for k = 1, 2, ..., float64 [gallery_size]."""
  counts = np.bincount(found.ranks - 1, minlength=found.gallery_size)
  return np.cumsum(counts) / len(found.ranks)


def open_set_rates(open_set: OpenSet) -> tuple[np.ndarray, np.ndarray]:
  """FPIR and TPIR at every threshold, float64 [T] each, rising.

  From a threshold above all scores to one below: the last FPIR is 1, the last
  TPIR the rank-1 rate in this gallery.
  """
  # It takes a second to import.
  from sklearn import metrics

  fpir, tpir, thresholds = metrics.roc_curve(
    open_set.mated, open_set.identified, drop_intermediate=False
  )
  kept = thresholds > _WRONG
  return fpir[kept], tpir[kept]


def summarize(found: SearchResult) -> Iterator[tuple[str, float]]:
  """The figures of one precision, as fractions.

  Yields:
    `rank1` and `rank5`, where there are more people than that; `tpir@fpir=X`,
    the highest TPIR whose FPIR does not exceed X, for those of `FPIRS` at which
    ten false positives or more are expected; and `intervals.limits` of `rank1`
    and the TPIRs, over the people as probes and in the gallery.
  """
  for rank in RANKS:
    if rank < found.gallery_size:
      yield f'rank{rank}', float(np.mean(found.ranks <= rank))
  if found.gallery_size > 1:
    figure = influence.first_answers(found.ranks, found.people, found.rivals)
    yield from intervals.limits('rank1', figure)
  open_set = found.open_set
  if open_set is None:
    return
  fpir, tpir = open_set_rates(open_set)
  identified, without_rival = (
    np.where(scores == _WRONG, -np.inf, scores)
    for scores in (open_set.identified, open_set.without_rival)
  )
  for limit in FPIRS:
    if is_supported(limit, np.sum(~open_set.mated)):
      name = f'tpir@fpir={limit:g}'
      yield name, float(tpir[fpir <= limit][-1])
      figure = influence.true_identification_rate(
        identified,
        without_rival,
        open_set.mated,
        limit,
        open_set.people,
        open_set.rivals,
      )
      yield from intervals.limits(name, figure)


def save(found: Mapping[str, SearchResult], folder: str | os.PathLike):
  """Writes `identification.safetensors` to a folder that exists.

  It has by precision, float64: `cmc/<precision>` [gallery_size] and, of an open
  set, `fpir/<precision>` and `tpir/<precision>` of `open_set_rates`.
  """
  arrays = {}
  for precision, result in found.items():
    arrays[f'cmc/{precision}'] = cmc(result)
    if result.open_set is not None:
      fpir, tpir = open_set_rates(result.open_set)
      arrays[f'fpir/{precision}'], arrays[f'tpir/{precision}'] = fpir, tpir
  atomic.write(pathlib.Path(folder) / FILE_NAME, safetensors.numpy.save(arrays))


def _compare(
  gallery: np.ndarray, probes: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
  """The cosines of some probes at a time with the whole gallery."""
  gallery, probes = _normalized(gallery), _normalized(probes)
  for start in range(0, len(probes), _BLOCK):
    block = slice(start, start + _BLOCK)
    yield block, probes[block] @ gallery.T


def _normalized(embeddings: np.ndarray) -> np.ndarray:
  """Unit vectors in float64; zeros stay zeros."""
  embeddings = np.asarray(embeddings, float)
  norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
  return embeddings / np.where(norms > 0, norms, 1)
