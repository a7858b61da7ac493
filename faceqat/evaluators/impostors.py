"""From score to false-match rate, over all pairs of different people.

N images make about N^2 / 2 impostor pairs, far more than a list of pairs has;
but they are not so many independent ones. So the interval of a rate is a
jackknife over people (Efron and Stein 1981): each is left out with all pairs
that show them, and what that moves the rate says how far it can be trusted. It
is taken of the logarithm of the rate, which cannot fall below 0.
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
    histogram += np.bincount(steps, minlength=_STEPS + 1)
  pairs = int(histogram.sum()) // 2
  # Of each step, the pairs at or above it.
  reached = np.cumsum(histogram[::-1])[::-1] // 2
  found = []
  for rate in rates:
    step = int(np.argmax(reached <= rate * pairs))
    if LEAST_MATCHES <= reached[step] <= rate * pairs:
      found.append(step)
  return _with_intervals(unit, people, count, found, pairs)


def _blocks(unit: np.ndarray, people: np.ndarray):
  """Yields, for rows at a time, the steps and the rows of impostor pairs.

  Each pair comes twice, once from either side.
  """
  for start in range(0, len(unit), _BLOCK):
    rows = slice(start, start + _BLOCK)
    scores = unit[rows] @ unit.T
    steps = np.int32(np.floor((scores + 1) * (_STEPS / 2)))
    impostors = people[rows, None] != people
    at, _ = np.nonzero(impostors)
    yield np.clip(steps[impostors], 0, _STEPS), at + start


def _with_intervals(unit, people, count, steps, pairs) -> list[Rate]:
  matches = np.zeros([len(steps), count], np.int64)
  mine = np.zeros(count, np.int64)
  for scores, rows in _blocks(unit, people):
    mine += np.bincount(people[rows], minlength=count)
    for index, step in enumerate(steps):
      hits = people[rows[scores >= step]]
      matches[index] += np.bincount(hits, minlength=count)
  found = []
  for step, hits in zip(steps, matches):
    total = int(hits.sum()) // 2
    value = total / pairs
    without = np.log(np.maximum(total - hits, 0.5) / (pairs - mine))
    variance = (count - 1) / count * np.sum((without - without.mean()) ** 2)
    margin = float(np.exp(_Z * np.sqrt(variance)))
    found.append(
      Rate(
        step * 2 / _STEPS - 1,
        value,
        value / margin,
        min(1.0, value * margin),
        total,
        pairs,
      )
    )
  return found
