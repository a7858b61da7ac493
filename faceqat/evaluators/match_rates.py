"""From score to false-match rate, over all pairs of different people.

N images make about N^2 / 2 impostor pairs, far more than a list of pairs has,
but not as many independent ones: all pairs that show one person depend on each
other. Intervals are those of intervals.py, over people.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from faceqat.evaluators import intervals, verification
from faceqat.evaluators.influence import Share

# Cosines are counted in so many steps between -1 and 1, exact in the scores of
# `integer.matching`.
_STEPS = 1 << 16
# Rows at a time, at least: float64 [_BLOCK, N] is in memory.
_BLOCK = 512


class Rate(NamedTuple):
  """A share of pairs.

  Attributes:
    value: in [0, 1].
    low, high: a 95 % interval over people.
    count: how many of the pairs there are.
    pairs: of how many.
  """

  value: float
  low: float
  high: float
  count: int
  pairs: int


class Row(NamedTuple):
  """A threshold and both its errors.

  Attributes:
    threshold: a cosine; `score >= threshold` is a match.
    false_matches: of pairs of two people, those that match.
    misses: of pairs of one person, those that do not.
  """

  threshold: float
  false_matches: Rate
  misses: Rate


def measure(
  embeddings: np.ndarray,
  people: np.ndarray,
  genuine: np.ndarray,
  rates: Sequence[float],
) -> list[Row]:
  """The least threshold for each false-match rate.

  Args:
    embeddings: [N, D], of any type, not normalised.
    people: int [N].
    genuine: int [2, P], rows of the pairs of one person; impostors are all
      pairs of two.
    rates: that are not to be exceeded, in (0, 1).

  Returns:
    A row for each rate that `verification.MIN_FALSE_ACCEPTS` pairs make, in
    that order: the data say nothing of a lower one.

  Raises:
    ValueError: there are fewer than three people.
  """
  names, numbers = np.unique(people, return_inverse=True)
  if len(names) < 3:
    raise ValueError(f'{len(names)} people make no interval; give 3 at least')
  unit = np.float64(embeddings)
  norms = np.linalg.norm(unit, axis=1, keepdims=True)
  unit /= np.where(norms > 0, norms, 1)
  order = np.argsort(numbers, kind='stable')
  ordered = unit[order], numbers[order]
  # Of each step, the pairs at or above it; every one comes from either side.
  histogram = np.zeros(_STEPS + 1, np.int64)
  for scores, _ in _blocks(*ordered):
    histogram += np.bincount(scores[scores >= 0], minlength=_STEPS + 1)
  reached = np.cumsum(histogram[::-1])[::-1] // 2
  pairs = int(reached[0])
  steps = []
  for rate in rates:
    step = int(np.argmax(reached <= rate * pairs))
    if verification.MIN_FALSE_ACCEPTS <= reached[step] <= rate * pairs:
      steps.append(step)
  cosines = verification.cosine(*(embeddings[rows] for rows in genuine))
  owners = np.stack([people[genuine[0]]] * 2, axis=1)
  return [
    Row(threshold, found, _misses(cosines, owners, threshold))
    for threshold, found in zip(
      (step * 2 / _STEPS - 1 for step in steps),
      _false_matches(*ordered, steps, reached[steps] / pairs),
    )
  ]


def _blocks(
  unit: np.ndarray, people: np.ndarray
) -> Iterator[tuple[np.ndarray, slice]]:
  """Yields the steps int32 [n, N] of the scores of n rows; and which rows.

  `people` are 0, 0, ..., 1, ... in order, and the rows of one stay together.
  Where both images are of one person the step is -1.
  """
  starts = np.flatnonzero(np.diff(people, prepend=-1))
  first = 0
  while first < len(unit):
    later = starts[starts >= first + _BLOCK]
    end = int(later[0]) if len(later) else len(unit)
    scores = unit[first:end] @ unit.T
    steps = np.int32(np.floor((scores + 1) * (_STEPS // 2)))
    np.clip(steps, 0, _STEPS, out=steps)
    steps[people[first:end, np.newaxis] == people] = -1
    yield steps, slice(first, end)
    first = end


def _false_matches(
  unit: np.ndarray,
  people: np.ndarray,
  steps: Sequence[int],
  values: np.ndarray,
) -> list[Rate]:
  """The rates at S steps, whose values float64 [S] are known."""
  columns = np.flatnonzero(np.diff(people, prepend=-1))
  sizes = np.bincount(people)
  total = (len(people) ** 2 - int(np.sum(sizes**2))) // 2
  counts = np.zeros(len(steps), np.int64)
  owed, twice = np.zeros([len(steps), len(sizes)]), np.zeros(len(steps))
  for scores, rows in _blocks(unit, people):
    own = people[rows.start], people[rows.stop - 1] + 1
    pairs = np.outer(sizes[slice(*own)], sizes)
    pairs[np.arange(len(pairs)), np.arange(*own)] = 0
    for place, step in enumerate(steps):
      hits = np.add.reduceat(np.int32(scores >= step), columns, axis=1)
      hits = np.add.reduceat(hits, columns[slice(*own)] - rows.start, axis=0)
      influence = (hits - values[place] * pairs) / total
      counts[place] += hits.sum()
      owed[place, slice(*own)] = influence.sum(axis=1)
      twice[place] += np.sum(influence**2)
  found = []
  for place, value in enumerate(values):
    # Of each two people from either side.
    spread = intervals.variance_of_people(owed[place], twice[place] / 2)
    low, high = intervals.of_rate(value, total, *spread)
    found.append(Rate(float(value), low, high, int(counts[place]) // 2, total))
  return found


def _misses(cosines: np.ndarray, owners: np.ndarray, threshold: float) -> Rate:
  """Of pairs of one person, float64 [P], int [P, 2]."""
  missed = cosines < threshold
  value = float(np.mean(missed))
  share = Share(value, (missed - value) / len(missed), owners, len(missed))
  low, high = intervals.of_share(share)
  return Rate(value, low, high, int(np.sum(missed)), len(missed))
