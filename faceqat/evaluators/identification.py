"""Face identification: who of the gallery is it, if anybody?

The gallery has one image of each person, and a probe's answers are the gallery
by falling cosine. As in verification, an image's embedding is the sum of its
own and its mirror image's.

Closed set: all people are in the gallery, the probes are their other images.
Rank-k is the share of the probes whose person is among the first k answers; the
CMC curve is rank-k over k.

Open set: some people are left out of the gallery, and all of their images are
probes without a mate. FPIR is the share of these whose first answer has a score
at or above the threshold, TPIR the share of the probes with a mate whose first
answer is the mate, with a score at or above the threshold. One threshold holds
for all probes.

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
from sklearn import metrics

from faceqat import atomic
from faceqat.data.pairs import SourceImages
from faceqat.evaluators import bootstrap
from faceqat.evaluators.verification import Predict, embed, is_supported

FILE_NAME = 'identification.safetensors'
RANKS = (1, 5)
FPIRS = (1e-1, 1e-2, 1e-3)
# Two cosines that are closer than this are tied: sums of float64 products of
# unit vectors are uncertain by some 1e-14, in an order that the gallery's size
# may change.
_DECIMALS = 12
_TIE = 10.0**-_DECIMALS
# Below every cosine: what a probe scores whose first answer is wrong.
_WRONG = -2.0
# Probes compared with the gallery at a time.
_BLOCK = 1024


class OpenSet(NamedTuple):
  """What the probes of an open set scored.

  Attributes:
    scores: float64 [N], the cosine of a probe and its first answer.
    hits: bool [N], whether that is its person; False without a mate.
    mated: bool [N], whether the probe's person is in the gallery.
    people: int64 [N], the person in each probe.
  """

  scores: np.ndarray
  hits: np.ndarray
  mated: np.ndarray
  people: np.ndarray

  @property
  def identified(self) -> np.ndarray:
    """float64 [N]: scores, of mated probes below all where the answer is wrong.

    So that at a threshold TPIR is the share of the mated ones at or above it,
    and FPIR that of the others.
    """
    return np.where(self.mated & ~self.hits, _WRONG, self.scores)


class Identification(NamedTuple):
  """What one reading of a network answers.

  Attributes:
    ranks: int64 [N], at which place of each probe's answers its person stands;
      everybody is in the gallery.
    people: int64 [N], the person in each of these probes.
    gallery_size: the number of people.
    open_set: None if nobody was left out of the gallery, or there is nothing
      left to search for.
  """

  ranks: np.ndarray
  people: np.ndarray
  gallery_size: int
  open_set: OpenSet | None


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
  ranks = []
  for block, cosines in _compare(gallery, probes):
    own = np.take_along_axis(cosines, mates[block, None], axis=1)
    ranks.append(np.sum(cosines >= own - _TIE, axis=1))
  return np.concatenate(ranks)


def search_open_set(
  gallery: np.ndarray,
  gallery_people: np.ndarray,
  probes: np.ndarray,
  probe_people: np.ndarray,
) -> OpenSet:
  """Searches for people of whom not all are in the gallery.

  Args:
    gallery: [G, D], one embedding a person; of any type, normalised or not.
    gallery_people: [G] integers, who they are, rising.
    probes: [N, D].
    probe_people: [N] integers.
  """
  mated = np.isin(probe_people, gallery_people)
  # Any row will do where there is no mate: its rank is not looked at.
  mates = np.where(mated, np.searchsorted(gallery_people, probe_people), 0)
  best = [cosines.max(axis=1) for _, cosines in _compare(gallery, probes)]
  return OpenSet(
    # What rounding alone parts is tied here, too.
    scores=np.clip(np.concatenate(best).round(_DECIMALS), -1, 1),
    hits=mated & (find_ranks(gallery, probes, mates) == 1),
    mated=mated,
    people=np.asarray(probe_people, np.int64),
  )


def identify(
  predict: Predict,
  source,
  *,
  images_per_person: int,
  unknown_share: float,
  seed: int,
  batch_size: int,
) -> Identification:
  """Searches for the people of a source, closed set and open set.

  Args:
    predict: From uint8 [batch_size, H, W, 3] to [batch_size, D].
    source: a labelled source, of people never trained on.
    images_per_person: as in `split_gallery`.
    unknown_share: the share of the people, drawn, who are left out of the
      gallery of the open set; 0: no open set.
    seed: of that draw.
    batch_size: images in one call of `predict`.

  Raises:
    ValueError: nobody has a second image, or an embedding is not finite.
  """
  labels = np.asarray(source.labels)
  first, others = split_gallery(labels, images_per_person)
  if not len(others):
    raise ValueError(
      f'Identification needs two images of a person, got {images_per_person} '
      f'at most and {len(labels)} images of {len(first)} people.'
    )
  images = SourceImages(source, np.concatenate([first, others]))
  embeddings = embed(predict, images, batch_size)
  gallery, probes = np.split(embeddings, [len(first)])
  enrolled, people = labels[first], labels[others].astype(np.int64)
  ranks = find_ranks(gallery, probes, np.searchsorted(enrolled, people))
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
  return Identification(ranks, people, len(first), open_set)


def cmc(found: Identification) -> np.ndarray:
  """Rank-k of the closed set for k = 1, 2, ..., float64 [gallery_size]."""
  counts = np.bincount(found.ranks - 1, minlength=found.gallery_size)
  return np.cumsum(counts) / len(found.ranks)


def open_set_rates(open_set: OpenSet) -> tuple[np.ndarray, np.ndarray]:
  """FPIR and TPIR at every threshold, float64 [T] each, rising.

  From a threshold above all scores to one below: the last FPIR is 1, the last
  TPIR the rank-1 rate in this gallery.
  """
  fpir, tpir, thresholds = metrics.roc_curve(
    open_set.mated, open_set.identified, drop_intermediate=False
  )
  kept = thresholds > _WRONG
  return fpir[kept], tpir[kept]


def summarize(
  found: Identification, resamples: int
) -> Iterator[tuple[str, float]]:
  """Turns answers into figures.

  Args:
    found: of one reading.
    resamples: of the people in the probes, for the intervals; the gallery stays
      as it is. 0: no intervals.

  Yields:
    `rank1` and `rank5`, only ranks that are below the number of people, as the
    others are always 1; and `tpir@fpir=X` for those of `FPIRS` at which at
    least ten false positives are expected among the probes without a mate: the
    highest TPIR whose FPIR does not exceed X. All are fractions. With
    `resamples`, `low/rank1` and `high/rank1` and so on: 95 % of the resamples
    lie between.
  """
  weights = None
  if resamples:
    weights = bootstrap.draw_person_weights(found.people, resamples)
  for rank in RANKS:
    if rank < found.gallery_size:
      hits = found.ranks <= rank
      yield f'rank{rank}', float(np.mean(hits))
      if resamples:
        spread = bootstrap.shares(hits, weights)
        yield from bootstrap.limits(f'rank{rank}', spread)
  open_set = found.open_set
  if open_set is None:
    return
  if resamples:
    weights = bootstrap.draw_person_weights(open_set.people, resamples)
  fpir, tpir = open_set_rates(open_set)
  for limit in FPIRS:
    if is_supported(limit, np.sum(~open_set.mated)):
      name = f'tpir@fpir={limit:g}'
      yield name, float(tpir[fpir <= limit][-1])
      if resamples:
        spread = bootstrap.tars(
          open_set.identified, open_set.mated, weights, limit
        )
        yield from bootstrap.limits(name, spread)


def save(found: Mapping[str, Identification], folder: str | os.PathLike):
  """Writes `identification.safetensors` to a folder that exists.

  In it are by reading, float64: `cmc/<reading>` [gallery_size], and where
  there is an open set `fpir/<reading>` and `tpir/<reading>`, as
  `open_set_rates` gives them.
  """
  arrays = {}
  for reading, answers in found.items():
    arrays[f'cmc/{reading}'] = cmc(answers)
    if answers.open_set is not None:
      fpir, tpir = open_set_rates(answers.open_set)
      arrays[f'fpir/{reading}'], arrays[f'tpir/{reading}'] = fpir, tpir
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
