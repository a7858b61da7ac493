"""How far the figures of an evaluation would move with other people.

Pairs that share a person are not independent, so the variance of a figure is
counted over people: all products of the influences (influence.py) of two pairs
that share one. That is the jackknife that leaves out one person at a time, less
what it counts twice: the chance of a pair of two people, who are both left out
once.

A share gets Wilson's interval, with as many independent trials as would give
it this variance, at most all of them: near 100 % it is lopsided and stays
below, and where nothing is wrong it is that of independent trials. A difference
between two networks is one of influences on the same pairs, and gets a
symmetrical one.

All of it is over people alone: another training of the same network (its seed,
its processor) moves the figures as well, and no interval here says by how much.

Sources: Fafchamps and Gubert 2007, "The formation of risk sharing networks",
and Aronow, Samii and Assenova 2015, "Cluster-robust variance estimation for
dyadic data" (the variance); Cameron, Gelbach and Miller 2011, "Robust inference
with multiway clustering" (what is counted twice); Cameron and Miller 2014,
"Robust inference for dyadic data" (n / (n - 1), Student's t); Satterthwaite
1946 and Bell and McCaffrey 2002 (its degrees of freedom); Korn and Graubard
1998 and Franco et al. 2019 (an effective number of trials, in Wilson's
interval); Bonett and Price 2012 (two pairs more in a difference). How often the
intervals hold the true value: benchmarks/interval_coverage.py.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from faceqat.evaluators import influence, verification
from faceqat.evaluators.influence import Share

LEVEL = 0.95
# Beside each interval, where it is read.
MEANING = (
  'In brackets: 95 % intervals over people. What another training (seed, '
  'processor) would change is not in them.'
)


def variance(influences: np.ndarray, people: np.ndarray) -> tuple[float, float]:
  """The dyadic cluster-robust variance of a sum.

  Args:
    influences: float64 [P].
    people: integers [P, 2], the two people, or twice the one, whom each is
      owed to.

  Returns:
    The variance, which in small samples may be below 0, and its degrees of
    freedom: one less than there are people, or fewer where few of them have
    most of it.

  Raises:
    ValueError: there are fewer than two people.
  """
  names, ends = np.unique(people, return_inverse=True)
  if len(names) < 2:
    raise ValueError(
      f'An interval over people needs two of them, got {len(names)}'
    )
  count = len(names)
  first, second = np.sort(ends.reshape(people.shape), axis=1).T
  shared = np.flatnonzero(first != second)
  owed = np.bincount(first, influences, count)
  owed += np.bincount(second[shared], influences[shared], count)
  _, dyad = np.unique(
    first[shared] * count + second[shared], return_inverse=True
  )
  twice = np.bincount(dyad, influences[shared])
  return variance_of_people(owed, np.sum(twice**2))


def variance_of_people(owed: np.ndarray, twice: float) -> tuple[float, float]:
  """`variance`, of influences that are summed already.

  Args:
    owed: float64 [N], of each person, two at least.
    twice: the sum of the squares that are counted twice: of each two people
      who share pairs, of the sum of these.
  """
  count = len(owed)
  squares = (owed - owed.mean()) ** 2
  total = np.sum(squares)
  found = total * count / (count - 1) - twice
  # Satterthwaite's, of sums whose fourth power is thrice their variance's
  # square, as of normal ones.
  freedom = count - 1.0
  if total > 0:
    freedom = min(freedom, 3 * total**2 / np.sum(squares**2))
  return float(found), float(freedom)


def of_share(figure: Share) -> tuple[float, float]:
  """The interval of a share, in [0, 1]; the value lies in it or is a limit."""
  spread, freedom = variance(figure.influence, figure.people)
  return of_rate(
    figure.value, figure.trials, spread + figure.selection, freedom
  )


def of_rate(
  value: float, trials: float, spread: float, freedom: float
) -> tuple[float, float]:
  """Wilson's interval of a share, widened to its variance.

  Args:
    value: the share, in [0, 1].
    trials: how many it is a share of.
    spread: its variance; below that of independent trials it counts as theirs.
    freedom: degrees of freedom of the variance.
  """
  trials = float(trials)
  # Without an error, as if there were half a one.
  product = max(value * (1 - value), 0.5 / trials)
  if trials * spread > product:
    trials = product / spread
  quantile = _quantile(freedom)
  tail = quantile**2 / trials
  half = quantile * np.sqrt((value * (1 - value) + tail / 4) / trials)
  middle = (value + tail / 2) / (1 + tail)
  half /= 1 + tail
  # Rounding could part a share of 0 or 1 from its limit.
  low, high = min(middle - half, value), max(middle + half, value)
  return max(float(low), 0.0), min(float(high), 1.0)


def of_difference(one: Share, other: Share) -> tuple[float, float]:
  """The interval of `other.value - one.value`, on the same pairs, around it."""
  influences = other.influence - one.influence
  spread, freedom = variance(influences, one.people)
  # Never below independent pairs.
  spread = max(spread, np.sum(influences**2))
  # The thresholds of near networks are near, so that what their choice adds is
  # no more than the networks differ by.
  spread += min(one.selection + other.selection, spread)
  # Nor below two pairs that are decided differently, one in favour of each.
  spread = max(spread, 2 / one.trials**2)
  return around(other.value - one.value, spread, freedom)


def around(value: float, spread: float, freedom: float) -> tuple[float, float]:
  """A symmetrical interval of a variance and its degrees of freedom."""
  half = _quantile(freedom) * np.sqrt(spread)
  return float(value - half), float(value + half)


def limits(name: str, figure: Share) -> Iterator[tuple[str, float]]:
  """`of_share` as `low/name` and `high/name`."""
  low, high = of_share(figure)
  yield f'low/{name}', low
  yield f'high/{name}', high


def of_pairs(
  scores: np.ndarray,
  same: np.ndarray,
  fold: np.ndarray,
  people: np.ndarray,
  fars: Sequence[float],
) -> Iterator[tuple[str, float]]:
  """The intervals of what `verification.summarize` yields, in the same form.

  Yields:
    `limits` of `accuracy` (of two folds or more), `eer` and each `tar@far=X`
    of `fars`, over the two people of each pair, integers [P, 2].
  """
  if verification.has_folds(fold):
    accuracy = influence.accuracy(scores, same, fold, people)
    yield from limits('accuracy', accuracy)
  yield from limits('eer', influence.equal_error_rate(scores, same, people))
  for far in fars:
    figure = influence.true_accept_rate(scores, same, far, people)
    yield from limits(f'tar@far={far:g}', figure)


def _quantile(freedom: float) -> float:
  """Student's: the variance is itself uncertain."""
  # It takes half a second to import.
  from scipy import special

  return float(special.stdtrit(freedom, (1 + LEVEL) / 2))
