"""How far the figures of verification would move with other people.

Pairs that share a person are not independent, so it is people who are drawn
anew, with replacement, not pairs. In one resample a person counts as often as
they were drawn, a same pair as often as its person, and a different pair as
often as the product of its two people. Figures are computed with these weights
exactly as they would be if each pair stood in the list so many times.

Sources: Bolle, Ratha and Pankanti 2004, "Error analysis of pattern recognition
systems: the subsets bootstrap" (people, not pairs); Owen 2007, "The pigeonhole
bootstrap" (the product; the intervals come out rather too wide than too
narrow); Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter
13 (percentile intervals).

Two runs are compared on the same resamples: what is interesting is how their
difference spreads, which is much less than either does.
"""

from collections.abc import Iterator, Sequence

import numpy as np

# Every interval of the project is of the same resamples.
SEED = 0
# Resamples computed at a time: a few arrays of [_CHUNK, P] are held.
_CHUNK = 100


def draw_weights(
  people: np.ndarray, num_resamples: int, seed: int
) -> np.ndarray:
  """Resamples people and counts every pair.

  Args:
    people: [P, 2] integers, a number for each person shown; equal ones make a
      same pair.
    num_resamples: R.
    seed: of the draw.

  Returns:
    int32 [R, P], how often each pair counts.
  """
  names, ends = np.unique(people, return_inverse=True)
  first, second = ends.reshape(people.shape).T
  rng = np.random.default_rng(seed)
  drawn = rng.multinomial(
    len(names), np.full(len(names), 1 / len(names)), size=num_resamples
  ).astype(np.int32)
  others = np.where(first == second, 1, drawn[:, second])
  return drawn[:, first] * others


def draw_person_weights(people: np.ndarray, num_resamples: int) -> np.ndarray:
  """Resamples people and counts every image that shows one of them.

  Args:
    people: [N] integers, the person in each image.
    num_resamples: R.

  Returns:
    int32 [R, N], how often each image counts.
  """
  return draw_weights(np.stack([people, people], axis=1), num_resamples, SEED)


def shares(hits: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """The share of hits of each resample.

  Args:
    hits: [N] bool.
    weights: integers [R, N].

  Returns:
    float64 [R] in [0, 1]; NaN where a resample has no weight.
  """
  return _ratio(weights @ hits.astype(weights.dtype), weights.sum(axis=1))


def accuracies(
  scores: np.ndarray, same: np.ndarray, fold: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """`verification.fold_accuracies`, averaged over the folds, of each resample.

  The threshold of a fold is chosen on the other folds with the same weights.

  Args:
    scores: [P] float, higher for the same person.
    same: [P] bool.
    fold: [P] integers.
    weights: integers [R, P].

  Returns:
    float64 [R] in [0, 1]. Folds without any weight are left out of the mean;
    NaN where no fold has any.
  """
  return np.concatenate(
    [_accuracies(scores, same, fold, chunk) for chunk in _chunks(weights)]
  )


def tars(
  scores: np.ndarray, same: np.ndarray, weights: np.ndarray, far: float
) -> np.ndarray:
  """The highest true accept rate whose false accept rate does not exceed one.

  Args:
    scores: [P] float, higher for the same person.
    same: [P] bool.
    weights: integers [R, P].
    far: the false accept rate in [0, 1].

  Returns:
    float64 [R] in [0, 1]; NaN where a resample lacks either kind of pairs.
  """
  return np.concatenate(
    [_tars(scores, same, chunk, far) for chunk in _chunks(weights)]
  )


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
  """The middle `level` of a figure's values in the resamples, [R]."""
  tail = 50 * (1 - level)
  low, high = np.nanpercentile(values, [tail, 100 - tail])
  return float(low), float(high)


def limits(name: str, values: np.ndarray) -> Iterator[tuple[str, float]]:
  """The `interval` of a figure's values, [R], as `low/name` and `high/name`.

  Nothing where no resample has a value.
  """
  if not np.isnan(values).all():
    low, high = interval(values)
    yield f'low/{name}', low
    yield f'high/{name}', high


def of_pairs(
  scores: np.ndarray,
  same: np.ndarray,
  fold: np.ndarray,
  people: np.ndarray,
  *,
  fars: Sequence[float],
  num_resamples: int,
) -> Iterator[tuple[str, float]]:
  """The intervals of what `verification.summarize` yields.

  Args:
    scores: [P], higher for the same person.
    same: [P] bool.
    fold: [P] integers.
    people: [P, 2] integers, as in `draw_weights`.
    fars: of the TARs.
    num_resamples: R.

  Yields:
    `limits` of `accuracy` and of `tar@far=X`.
  """
  weights = draw_weights(people, num_resamples, SEED)
  yield from limits('accuracy', accuracies(scores, same, fold, weights))
  for far in fars:
    yield from limits(f'tar@far={far:g}', tars(scores, same, weights, far))


def best_thresholds(
  scores: np.ndarray, same: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """`verification.best_threshold` of each resample: the same rule for ties.

  Args:
    scores: [P] float, higher for the same person.
    same: [P] bool.
    weights: integers [R, P].

  Returns:
    float64 [R]; a pair of weight 0 plays no part in it.
  """
  order, starts = _groups(scores)
  values, weights = scores[order][starts], weights[:, order]
  gains = _sums(np.where(same[order], weights, -weights), starts)
  # Right decisions, but for a constant, when 0, 1, ... groups are accepted.
  right = np.cumsum(np.pad(gains, [(0, 0), (1, 0)]), axis=1)
  accepted = np.argmax(right, axis=1)
  # The first to be rejected is the next that occurs in the resample at all.
  position = np.arange(len(values))
  rejected = (_sums(weights, starts) > 0) & (position >= accepted[:, None])
  highest_out = values[np.argmax(rejected, axis=1)]
  lowest_in = values[np.maximum(accepted, 1) - 1]
  middle = (lowest_in + highest_out) / 2
  middle = np.where(middle > highest_out, middle, lowest_in)
  above_all = np.nextafter(highest_out, np.inf)
  return np.select(
    [accepted == 0, rejected.any(axis=1)], [above_all, middle], lowest_in
  )


def _accuracies(scores, same, fold, weights) -> np.ndarray:
  folds = np.unique(fold)
  rates = np.empty([len(weights), len(folds)])
  for column, number in enumerate(folds):
    here, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
    thresholds = best_thresholds(scores[rest], same[rest], weights[:, rest])
    right = (scores[here] >= thresholds[:, None]) == same[here]
    mine = weights[:, here]
    rates[:, column] = _ratio(np.sum(mine * right, axis=1), mine.sum(axis=1))
  counted = ~np.isnan(rates)
  return _ratio(np.sum(rates, axis=1, where=counted), counted.sum(axis=1))


def _tars(scores, same, weights, far) -> np.ndarray:
  order, starts = _groups(scores)
  same, weights = same[order], weights[:, order]
  accepts = [
    np.cumsum(np.pad(_sums(weights * kind, starts), [(0, 0), (1, 0)]), axis=1)
    for kind in (same, ~same)
  ]
  tar, rate = (_ratio(count, count[:, -1:]) for count in accepts)
  last = np.maximum(np.sum(rate <= far, axis=1), 1) - 1
  found = np.take_along_axis(tar, last[:, None], axis=1)[:, 0]
  return np.where(np.isnan(rate[:, 0]), np.nan, found)


def _groups(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The order of falling scores, and where in it each distinct one starts."""
  order = np.argsort(-scores, kind='stable')
  return order, np.flatnonzero(np.diff(scores[order], prepend=np.inf))


def _sums(weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
  """Adds up the columns of each group of equal scores."""
  return np.add.reduceat(weights, starts, axis=1)


def _chunks(weights: np.ndarray):
  for start in range(0, len(weights), _CHUNK):
    yield weights[start : start + _CHUNK]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
  """NaN where there is nothing to divide by."""
  whole = np.broadcast_to(whole, part.shape)
  nothing = np.full(part.shape, np.nan)
  return np.divide(part, whole, out=nothing, where=whole > 0)
