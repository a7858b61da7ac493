"""Search of a gallery: the nearest people, and the threshold for strangers.

Scores are cosines. Of float templates they are float32; of integer templates
they are those of `integer.matching`, exact to the last bit.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from faceqat.evaluators.verification import MIN_FALSE_ACCEPTS, is_supported
from faceqat.integer import template_score

# Templates compared with a block of probes at a time. A search holds some ten
# arrays of scores, so they are a few hundred MB however large the gallery is.
GALLERY_BLOCK = 131_072
PROBE_BLOCK = 64
# So many pairs of integer templates are compared on the host: XLA, which JAX
# has to be imported for, takes seconds to compile a search.
FEW_PAIRS = 4096
# With so many strangers, the scores of a network can be moved to those of a
# camera (benchmarks/transfer.py).
ENOUGH_STRANGERS = 40
# So many times k templates are looked at first, for k people.
_MORE = 4


class Matches(NamedTuple):
  """The k nearest people of each of P probes, the nearest first.

  Attributes:
    people: int32 [P, k], labels.
    rows: int32 [P, k], this person's nearest template.
    scores: float32 [P, k], or int32 in steps of 1 / `matching.ONE`.
  """

  people: np.ndarray
  rows: np.ndarray
  scores: np.ndarray

  @property
  def cosines(self) -> np.ndarray:
    """float64 [P, k]."""
    return as_cosine(self.scores)


def as_cosine(scores):
  """Scores of either kind as float64 in [-1, 1]."""
  scores = np.asarray(scores)
  if np.issubdtype(scores.dtype, np.integer):
    return scores / template_score.ONE
  return scores.astype(np.float64)


def as_score(cosine: float, integers: bool) -> float | int:
  """The lowest score that reaches a cosine, as the matching gives scores."""
  return (
    int(np.ceil(cosine * template_score.ONE)) if integers else float(cosine)
  )


class Index:
  """A gallery that is ready to be searched, again and again."""

  def __init__(
    self,
    templates: np.ndarray,
    labels: np.ndarray,
    block: int = GALLERY_BLOCK,
  ):
    """Takes the gallery; the first search prepares it.

    Args:
      templates: [N, D], float32 unit vectors, or integers as `matching` takes.
      labels: int [N], the person of each.
      block: templates compared at a time.
    """
    self._templates, self._labels = templates, np.asarray(labels)
    self._starts = range(0, len(templates), block)
    self._block = block
    self._searches: dict[int, Callable] = {}

  def find_people(self, probes: np.ndarray, k: int) -> Matches:
    """Finds the k people whose best template is most similar to each probe.

    Of equal scores the earlier template comes first.

    Args:
      probes: [P, D], of the kind of the templates.
      k: at most the number of people.

    Raises:
      ValueError: k is not in [1, people], or `matching` refuses the templates.
    """
    labels = self._labels
    # Counting all of them takes as long as a search, and the first tell enough.
    people = len(np.unique(labels[: _MORE * max(k, 1)]))
    if people < k:
      people = len(np.unique(labels))
    if not 1 <= k <= people:
      raise ValueError(
        f'k is {k}, for a gallery of {people} people; it must be 1 to {people}'
      )
    parts = []
    for start in range(0, len(probes), PROBE_BLOCK):
      some = probes[start : start + PROBE_BLOCK]
      found = []
      for first in self._starts:
        rows, scores = self._search_block(first, some, k)
        found.append((rows + np.int32(first), scores))
      # Whoever is among the best of all is among the best of their block.
      rows, scores = (np.concatenate(x, axis=1) for x in zip(*found))
      parts.append(_best_people(rows, scores, labels, k))
    rows, scores = (np.concatenate(part) for part in zip(*parts))
    return Matches(labels[rows].astype(np.int32), rows, scores)

  def _search_block(self, first: int, probes: np.ndarray, k: int):
    """The templates of the k best people (or of all) in one block."""
    labels = self._labels[first : first + self._block]
    # The same for every block of a size: each other number is compiled anew.
    wanted = min(_MORE * k, len(labels))
    search = self._search_of(first, probes)
    while True:
      rows, scores = map(np.asarray, search(probes, k=wanted))
      found = min(len(np.unique(labels[row])) for row in rows)
      if found < k:
        # There may be fewer in this block.
        k = min(k, len(np.unique(labels)))
      if found >= k:
        return _best_people(rows, scores, labels, k)
      # One person may have all the best templates: look further down.
      wanted = min(_MORE * wanted, len(labels))

  def _search_of(self, first: int, probes: np.ndarray) -> Callable:
    """From probes and k to the nearest of a block, as `matching.search`."""
    templates = self._templates[first : first + self._block]
    # Any that are no templates are refused by `matching`.
    if (
      len(templates) * len(probes) <= FEW_PAIRS
      and templates.shape[1:] == probes.shape[1:]
      and all(map(template_score.fits, (templates, probes)))
    ):
      return functools.partial(template_score.search, templates)
    if first not in self._searches:
      self._searches[first] = _make_search(templates)
    return self._searches[first]


def find_people(
  templates: np.ndarray, labels: np.ndarray, probes: np.ndarray, k: int
) -> Matches:
  """`Index.find_people` of a gallery that is searched once."""
  return Index(templates, labels).find_people(probes, k)


def people_needed(rate: float, templates: int) -> int:
  """Of how many strangers the pairs support a share of strangers.

  With K people there are some K^2 / 2 pairs of two, of which twice
  `MIN_FALSE_ACCEPTS` have to match at the rate of a pair, the share divided by
  the templates of the gallery: then its upper limit is some 1.5 times as high.

  >>> people_needed(0.05, 12)
  98
  """
  return math.ceil(math.sqrt(4 * MIN_FALSE_ACCEPTS * templates / rate))


def check_rate(
  rate: float, num_images: int, num_people: int = 0, templates: int = 0
):
  """Refuses a rate that so few strangers do not support.

  Args:
    rate: the share of strangers.
    num_images: of strangers.
    num_people: how many strangers they show.
    templates: of the gallery; 0: not known, so that pairs of strangers are not
      counted.
  """
  if not 0 < rate < 1:
    raise ValueError(
      f'--false_positive_rate={rate:g}: it must be above 0 and below 1'
    )
  wanted = people_needed(rate, templates) if templates else 0
  enough = 0 < min(wanted, ENOUGH_STRANGERS) <= num_people
  if not is_supported(rate, num_images) and not enough:
    # As a percentage would, a rate is rounded up to three digits.
    supported = MIN_FALSE_ACCEPTS / num_images if num_images else 1
    needed = int(np.ceil(round(MIN_FALSE_ACCEPTS / rate, 6)))
    remedy = f'give {needed:,} images or more'
    if supported < 1:
      remedy += f', or a rate of at least {_rounded_up(supported):g}'
    if wanted:
      remedy += (
        f'; or images of {wanted:,} different people, whose pairs are enough '
        f'for a gallery of {templates:,}'
      )
    if wanted > ENOUGH_STRANGERS:
      remedy += (
        f', or of {ENOUGH_STRANGERS} where the network has false-match rates'
      )
    raise ValueError(
      f'--false_positive_rate={rate:g}: {num_images:,} images of strangers do '
      f'not support it, as {MIN_FALSE_ACCEPTS} of them must be false positives '
      f'for the rate to be more than noise; {remedy}'
    )


def choose_threshold(best: np.ndarray, rate: float) -> float | int:
  """The threshold that at most a stated share of strangers reaches.

  It is the score of the n-th nearest of the strangers, n being the rate times
  their number M. A stranger like them reaches it with a probability of at most
  n / (M + 1) (Vovk et al. 2005, "Algorithmic Learning in a Random World"), as
  far as they are not the same few people again and again.

  Args:
    best: [M], the highest score of each image of a stranger.
    rate: the false-positive identification rate, above 0 and below 1.

  Returns:
    Of the type of the scores; `score >= threshold` is accepted.

  Raises:
    ValueError: M is too small for the rate to be more than noise.
  """
  best = np.sort(np.asarray(best))[::-1]
  check_rate(rate, len(best))
  # Rounded: 0.01 * 1000 must count as 10.
  count = int(round(rate * len(best), 6))
  threshold = best[count - 1]
  if best[count] == threshold:
    # Those that tie are accepted together or not at all.
    if np.issubdtype(best.dtype, np.integer):
      return int(threshold) + 1
    return float(np.nextafter(threshold, np.float32(np.inf)))
  return threshold.item()


def _rounded_up(rate: float) -> float:
  digits = 10.0 ** (2 - np.floor(np.log10(rate)))
  return float(np.ceil(round(rate * digits, 6)) / digits)


def _best_people(rows, scores, labels, k: int):
  """Everybody's first template in [P, m], the k with the highest scores."""
  # Stable, so that of equal scores the earlier one stays first.
  order = np.argsort(-scores.astype(np.float64), axis=1, kind='stable')
  rows = np.take_along_axis(rows, order, axis=1)
  scores = np.take_along_axis(scores, order, axis=1)
  chosen = []
  for people in labels[rows]:
    _, first = np.unique(people, return_index=True)
    chosen.append(np.sort(first)[:k])
  chosen = np.stack(chosen)
  return (
    np.take_along_axis(rows, chosen, axis=1),
    np.take_along_axis(scores, chosen, axis=1),
  )


def _make_search(templates: np.ndarray) -> Callable:
  """From probes and k to the nearest templates, as `matching.search`."""
  import jax.numpy as jnp

  from faceqat.integer import matching

  if np.issubdtype(templates.dtype, np.integer):
    return functools.partial(matching.find, matching.prepare(templates))
  return functools.partial(_float_search(), jnp.asarray(templates))


@functools.cache
def _float_search():
  import jax
  import jax.numpy as jnp

  @functools.partial(jax.jit, static_argnames='k')
  def search(gallery, probes, k: int):
    highest = jax.lax.Precision.HIGHEST
    scores = jnp.matmul(probes, gallery.T, precision=highest)
    scores, rows = jax.lax.top_k(jnp.clip(scores, -1, 1), k)
    return rows, scores

  return search
