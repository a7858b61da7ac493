"""From score to false-match rate, over all pairs of different people.

N images make about N^2 / 2 impostor pairs, far more than a list of pairs has,
but not as many independent ones: all pairs that show one person depend on each
other. The variance of a rate is the dyadic-robust one (Fafchamps and Gubert
2007; Aronow, Samii and Assenova 2015): the squared influence of each person,
less that of each two people, which was counted twice. The interval is taken of
the logarithm of the rate, which cannot fall below 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Cosines are counted in so many steps between -1 and 1.
_STEPS = 1 << 16
# Rows at a time: the scores of a block, float32 [_BLOCK, N], are in memory.
_BLOCK = 512
# Of the normal distribution, for 95 %.
_Z = 1.959964
# Below so many false matches a rate is mostly noise.
LEAST_MATCHES = 30


class Rate(NamedTuple):
  """A threshold and how often impostors reach it.

  Attributes:
    threshold: a cosine; `score >= threshold` is a match.
    value: share of the impostor pairs that reach it.
    low, high: of a 95 % interval over people.
    matches: how many pairs reach it.
    pairs: how many pairs there are.
  """

  threshold: float
  value: float
  low: float
  high: float
  matches: int
  pairs: int


def false_match_rates(
  embeddings: np.ndarray, people: np.ndarray, rates: Sequence[float]
) -> list[Rate]:
  """The least threshold for each rate.

  Args:
    embeddings: [N, D], not normalised; no row is zero.
    people: [N] integers.
    rates: that are not to be exceeded, in (0, 1).

  Returns:
    One for each rate that at least `LEAST_MATCHES` pairs make, in that order:
    the data say nothing of a lower one.

  Raises:
    ValueError: there are fewer than three people.
  """
  _, people = np.unique(people, return_inverse=True)
  count = people.max(initial=-1) + 1
  if count < 3:
    raise ValueError(f'{count} people make no interval; give 3 at least')
  unit = embeddings / np.linalg.norm(np.float64(embeddings), axis=1)[:, None]
  unit = np.float32(unit)
  order = np.argsort(people, kind='stable')
  unit, people = unit[order], people[order]
  histogram = np.zeros(_STEPS + 1, np.int64)
  for steps, _ in _blocks(unit, people):
    histogram += np.bincount(steps[steps >= 0], minlength=_STEPS + 1)
  pairs = int(histogram.sum()) // 2
  # Of each step, the pairs at or above it.
  reached = np.cumsum(histogram[::-1])[::-1] // 2
  found = []
  for rate in rates:
    step = int(np.argmax(reached <= rate * pairs))
    if LEAST_MATCHES <= reached[step] <= rate * pairs:
      found.append(step)
  return [_with_interval(unit, people, step) for step in found]


def _blocks(unit: np.ndarray, people: np.ndarray):
  """Yields the steps [n, N] of the scores of n rows; and the rows' place.

  The rows of one person stay together. Where both images are of one person
  the step is -1; each other pair comes twice, once from either side.
  """
  starts = np.flatnonzero(np.diff(people, prepend=-1))
  first = 0
  while first < len(unit):
    later = starts[starts >= first + _BLOCK]
    end = later[0] if len(later) else len(unit)
    scores = unit[first:end] @ unit.T
    steps = np.int32(np.floor((scores + 1) * (_STEPS / 2)))
    np.clip(steps, 0, _STEPS, out=steps)
    steps[people[first:end, None] == people] = -1
    yield steps, slice(first, end)
    first = end


def _with_interval(unit: np.ndarray, people: np.ndarray, step: int) -> Rate:
  """The rate at a step; `people` are 0, 0, ..., 1, ... in order."""
  columns = np.flatnonzero(np.diff(people, prepend=-1))
  sizes = np.bincount(people)
  # Of each two people, the matches and the pairs.
  matches = []
  for steps, rows in _blocks(unit, people):
    inside = columns[(columns >= rows.start) & (columns < rows.stop)]
    hits = np.add.reduceat(np.int32(steps >= step), columns, axis=1)
    matches.append(np.add.reduceat(hits, inside - rows.start, axis=0))
  matches = np.concatenate(matches)
  pairs = np.outer(sizes, sizes)
  np.fill_diagonal(pairs, 0)
  total, num_pairs = int(matches.sum()) // 2, int(pairs.sum()) // 2
  value = total / num_pairs
  influence = (matches - value * pairs) / num_pairs
  of_two = np.sum(influence**2) / 2
  variance = max(np.sum(influence.sum(1) ** 2) - of_two, of_two)
  margin = float(np.exp(_Z * np.sqrt(variance) / value))
  return Rate(
    step * 2 / _STEPS - 1,
    value,
    value / margin,
    min(1.0, value * margin),
    total,
    num_pairs,
  )
