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
# So many times its value the upper limit of a rate may be: where ten
# independent pairs match it is 1.8 times.
_WIDEST = 2
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
    normalised: the score by z-norm that as many false matches reach
      (normalised_scores.py); None where nobody measured it.
  """

  threshold: float
  false_matches: Rate
  misses: Rate
  normalised: float | None = None


def measure(
  embeddings: np.ndarray,
  people: np.ndarray,
  genuine: np.ndarray,
  rates: Sequence[float],
  compared: np.ndarray | slice = slice(None),
) -> list[Row]:
  """The least threshold for each false-match rate.

  Args:
    embeddings: [N, D], of any type, not normalised.
    people: int [N].
    genuine: int [2, P], rows of the pairs of one person; impostors are all
      pairs of two among those compared.
    rates: that are not to be exceeded, in (0, 1).
    compared: rows of the images whose pairs are the impostors.

  Returns:
    A row for each rate that `verification.MIN_FALSE_ACCEPTS` pairs make, in
    that order: the data say nothing of a lower one.

  Raises:
    ValueError: there are fewer than three people.
  """
  ordered = _in_order(embeddings[compared], people[compared])
  # Of each step, the pairs at or above it.
  histogram = np.zeros(_STEPS + 2, np.int64)
  for scores, _ in _blocks(*ordered):
    histogram += np.bincount(np.ravel(scores) + 1, minlength=len(histogram))
  reached = np.cumsum(histogram[:0:-1])[::-1]
  pairs = int(reached[0])
  steps = []
  for rate in rates:
    step = int(np.argmax(reached <= rate * pairs))
    if verification.MIN_FALSE_ACCEPTS <= reached[step] <= rate * pairs:
      steps.append(step)
  return _rows(
    embeddings, people, genuine, ordered, steps, reached[steps] / pairs
  )


def moments(embeddings: np.ndarray, people: np.ndarray) -> tuple[float, float]:
  """Mean and standard deviation of the cosines of all pairs of two people.

  Args:
    embeddings: [N, D], of any type, not normalised.
    people: int [N], three people at least.
  """
  unit, numbers = _in_order(embeddings, people)
  total = unit.sum(axis=0)
  products = unit.T @ unit
  # Of all pairs from either side, and with oneself.
  first, second = total @ total, np.sum(products**2)
  for own in np.split(unit, _columns(numbers)[1:]):
    inside = own @ own.T
    first -= inside.sum()
    second -= np.sum(inside**2)
  count = len(unit) ** 2 - np.sum(np.bincount(numbers) ** 2)
  mean = first / count
  return float(mean), float(np.sqrt(max(second / count - mean**2, 0)))


def at_thresholds(
  embeddings: np.ndarray,
  people: np.ndarray,
  genuine: np.ndarray,
  thresholds: Sequence[float],
) -> list[Row]:
  """Both errors at thresholds that were chosen on other faces.

  Args:
    embeddings, people, genuine: as `measure` has them; without a genuine pair
      the misses are of no pairs.
    thresholds: cosines.

  Raises:
    ValueError: there are fewer than three people.
  """
  ordered = _in_order(embeddings, people)
  # The lowest step that reaches the threshold.
  steps = [int(np.ceil((x + 1) * (_STEPS // 2))) for x in thresholds]
  values = np.zeros(len(steps))
  for scores, _ in _blocks(*ordered):
    values += [np.sum(scores >= step) for step in steps]
  values /= _count_pairs(np.bincount(ordered[1]))
  return _rows(embeddings, people, genuine, ordered, steps, values)


def difference(
  one: np.ndarray,
  other: np.ndarray,
  people: np.ndarray,
  thresholds: tuple[float, float],
) -> tuple[float, float, float]:
  """How much more often the pairs of two people match by another network.

  Args:
    one, other: embeddings [N, D] of the same images by two networks.
    people: int [N].
    thresholds: a cosine for each network.

  Returns:
    The rate of the other less that of the one, and its interval over people.

  Raises:
    ValueError: there are fewer than three people.
  """
  ordered = _in_order(one, people), _in_order(other, people)
  numbers = ordered[0][1]
  columns, sizes = _columns(numbers), np.bincount(numbers)
  unlike = 0
  total = _count_pairs(sizes)
  steps = [int(np.ceil((x + 1) * (_STEPS // 2))) for x in thresholds]
  changes = np.zeros([len(sizes), len(sizes)], np.int32)
  for (before, rows), (after, _) in zip(*(_blocks(*x) for x in ordered)):
    change = np.int32(after >= steps[1]) - np.int32(before >= steps[0])
    unlike += np.count_nonzero(change)
    first, last = numbers[rows.start], numbers[rows.stop - 1] + 1
    sums = np.add.reduceat(change, columns[first:] - rows.start, axis=1)
    changes[first:last, first:] = np.add.reduceat(
      sums, columns[first:last] - rows.start, axis=0
    )
  changes += changes.T
  value = changes.sum() / 2 / total
  spread, freedom = _spread(
    changes.sum(axis=1),
    np.sum(changes.astype(float) ** 2),
    sizes @ changes @ sizes,
    value,
    sizes,
  )
  # Never below independent pairs, nor below two of them (`of_difference`).
  independent = (unlike / total - value**2) / total
  spread = max(spread, independent, 2 / total**2)
  low, high = intervals.around(value, spread, freedom)
  return float(value), low, high


def _in_order(
  embeddings: np.ndarray, people: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Unit vectors [N, D], and people 0, 0, ..., 1, ... [N]."""
  names, numbers = np.unique(people, return_inverse=True)
  if len(names) < 3:
    raise ValueError(f'{len(names)} people make no interval; give 3 at least')
  order = np.argsort(numbers, kind='stable')
  return unit_vectors(embeddings)[order], numbers[order]


def unit_vectors(embeddings: np.ndarray) -> np.ndarray:
  """Embeddings [N, D] of any type as float64 of length 1, or of 0 as they are.

  A cosine is the product of two of them.
  """
  vectors = np.float64(embeddings)
  norms = np.linalg.norm(vectors, axis=1, keepdims=True)
  return vectors / np.where(norms > 0, norms, 1)


def _rows(embeddings, people, genuine, ordered, steps, values) -> list[Row]:
  """Rows at steps at which the false-match rates are known."""
  cosines = verification.cosine(*(embeddings[rows] for rows in genuine))
  owners = np.stack([people[genuine[0]]] * 2, axis=1)
  return [
    Row(threshold, found, misses(cosines, owners, threshold))
    for threshold, found in zip(
      (step * 2 / _STEPS - 1 for step in steps),
      _false_matches(*ordered, steps, values),
    )
  ]


def measure_pairs(
  embeddings: np.ndarray,
  impostors: np.ndarray,
  genuine: np.ndarray,
  rates: Sequence[float],
) -> list[Row]:
  """`measure`, of the pairs of a list that does not say who is shown.

  Intervals are those of independent pairs.

  Args:
    embeddings: [N, D], of any type, not normalised.
    impostors: int [2, P], rows of the pairs of two people.
    genuine: int [2, Q], rows of the pairs of one person.
    rates: that are not to be exceeded, in (0, 1).
  """
  others, own = (
    verification.cosine(*(embeddings[rows] for rows in pairs))
    for pairs in (impostors, genuine)
  )
  # On the same steps, so that integer scores are compared exactly.
  steps = np.floor((others + 1) * (_STEPS // 2)).astype(np.int64)
  found = []
  for rate in rates:
    allowed = verification.allowed_accepts(rate, len(steps))
    step = np.sort(steps)[::-1][allowed] + 1
    false_matches = _independent(int(np.sum(steps >= step)), len(steps))
    if false_matches.count >= verification.MIN_FALSE_ACCEPTS:
      threshold = step * 2 / _STEPS - 1
      missed = _independent(int(np.sum(own < threshold)), len(own))
      found.append(Row(float(threshold), false_matches, missed))
  return found


def misses(cosines: np.ndarray, owners: np.ndarray, threshold: float) -> Rate:
  """Of pairs of one person, those that do not match.

  Args:
    cosines: float64 [P].
    owners: int [P, 2], twice the person of each.
    threshold: a cosine.
  """
  if len(np.unique(owners)) < 2:
    # Of one person nothing says how others are.
    value = float(np.mean(cosines < threshold)) if len(cosines) else 0.0
    return Rate(value, 0.0, 1.0, int(np.sum(cosines < threshold)), len(cosines))
  missed = cosines < threshold
  value = float(np.mean(missed))
  share = Share(value, (missed - value) / len(missed), owners, len(missed))
  low, high = intervals.of_share(share)
  return Rate(value, low, high, int(np.sum(missed)), len(missed))


def is_known(row: Row) -> bool:
  """Whether the rate is known as well as ten independent pairs would tell."""
  rate = row.false_matches
  return rate.high <= _WIDEST * rate.value


def _independent(count: int, pairs: int) -> Rate:
  value = count / pairs
  limits = intervals.of_rate(value, pairs, 0.0, np.inf)
  return Rate(value, *limits, count, pairs)


def _blocks(
  unit: np.ndarray, people: np.ndarray
) -> Iterator[tuple[np.ndarray, slice]]:
  """Yields the steps int32 [n, M] of the scores of n rows; and which rows.

  The M columns are these rows and all after them, so that every pair is there
  once. `people` are 0, 0, ..., 1, ... in order, and the rows of one stay
  together. Where both images are of one person, or their pair was there before,
  the step is -1.
  """
  starts = _columns(people)
  first = 0
  while first < len(unit):
    later = starts[starts >= first + _BLOCK]
    end = int(later[0]) if len(later) else len(unit)
    scores = unit[first:end] @ unit[first:].T
    scores += 1
    scores *= _STEPS // 2
    # Cut off, not rounded; a cosine just below -1 becomes step 0.
    steps = scores.astype(np.int32)
    own = people[first:end]
    steps[:, : end - first][own[:, np.newaxis] >= own] = -1
    yield steps, slice(first, end)
    first = end


def _false_matches(
  unit: np.ndarray,
  people: np.ndarray,
  steps: Sequence[int],
  values: np.ndarray,
) -> list[Rate]:
  """The rates at S steps, whose values float64 [S] are known."""
  sizes = np.bincount(people)
  count = len(sizes)
  reached = np.zeros([len(steps), count], np.int64)
  squares, products = np.zeros([2, len(steps)], np.int64)
  for scores, rows in _blocks(unit, people) if steps else ():
    # Of most steps they are few: the pairs of images that reach the lowest.
    places = np.nonzero(scores >= min(steps))
    scores = scores[places]
    one, other = people[places[0] + rows.start], people[places[1] + rows.start]
    first, last = people[rows.start], people[rows.stop - 1] + 1
    dyads = (one - first) * (count - first) + other - first
    for place, step in enumerate(steps):
      hits = np.flatnonzero(scores >= step)
      reached[place] += np.bincount(one[hits], minlength=count)
      reached[place] += np.bincount(other[hits], minlength=count)
      # Of each two people.
      sums = np.bincount(
        dyads[hits], minlength=(last - first) * (count - first)
      )
      squares[place] += 2 * (sums @ sums)
      products[place] += 2 * np.sum(sizes[one[hits]] * sizes[other[hits]])
  total = _count_pairs(sizes)
  found = []
  for place, value in enumerate(values):
    spread = _spread(
      reached[place], squares[place], products[place], value, sizes
    )
    limits = intervals.of_rate(value, total, *spread)
    matches = int(reached[place].sum()) // 2
    found.append(Rate(float(value), *limits, matches, total))
  return found


def _count_pairs(sizes: np.ndarray) -> int:
  """Pairs of images of two people, who have int [P] images each."""
  return (int(sizes.sum()) ** 2 - int(np.sum(sizes**2))) // 2


def _spread(
  sums: np.ndarray,
  squares: float,
  products: float,
  value: float,
  sizes: np.ndarray,
) -> tuple[float, float]:
  """Variance and degrees of freedom of a mean over all pairs of two people.

  Args:
    sums: [P], of the values of each person's pairs.
    squares: the sum of the squares of the sums of each two people, from either
      side.
    products: the sum of these sums, each times the number of pairs.
    value: the mean.
    sizes: int [P], the images of each.
  """
  images, total = int(sizes.sum()), _count_pairs(sizes)
  # Of values less the mean, for each of the pairs of two people.
  owed = sums - value * sizes * (images - sizes)
  numbers = sizes.astype(float) ** 2
  pairs = np.sum(numbers) ** 2 - np.sum(numbers**2)
  twice = squares - 2 * value * products + value**2 * pairs
  return intervals.variance_of_people(owed / total, twice / 2 / total**2)


def _columns(people: np.ndarray) -> np.ndarray:
  """Where each person's rows begin."""
  return np.flatnonzero(np.diff(people, prepend=-1))
