"""How much each pair, and each search, moves a figure.

An influence is what one pair adds to the error of a figure, to first order.
Influences sum to 0, and the variance of the figure is that of their sum over
the people who might have been drawn (intervals.py).

Thresholds are held where they are while influences are taken. Their choice adds
a term of its own where they maximise the accuracy, and goes through the slope
of the curve where they hold a false accept rate.

`scores`, `same` and `fold` of P pairs are those of verification.py; `people`
are [P, 2] integers, or None.

Sources: Hampel 1974, "The influence curve and its role in robust estimation";
Woodruff 1952, "Confidence intervals for medians and other position measures"
(the slope, taken over as much as the false accepts are uncertain).
"""

from typing import NamedTuple

import numpy as np

from faceqat.evaluators import verification

# The variance that choosing the thresholds of ten folds adds to the mean of
# their accuracies, in squared gaps between the accuracy at the one threshold
# that is best on all pairs and the cross-validated one. A threshold of highest
# accuracy has cube-root asymptotics (Kim and Pollard 1990), where a bootstrap
# is not consistent (Abrevaya and Huang 2005) and a jackknife that chooses anew
# gave two to four times the variance. In the limit, a Brownian motion less a
# parabola, the ratio does not depend on the scores; its value is simulated by
# benchmarks/interval_coverage.py.
SELECTION = 0.44


class Share(NamedTuple):
  """A share, and what moves it.

  Attributes:
    value: in [0, 1].
    influence: float64 [P].
    people: integers [P, 2], the two people, or twice the one, whom each
      influence is owed to; None where that is not known.
    trials: the number of pairs or probes that `value` is a share of.
    selection: the variance that the choice of thresholds adds.
  """

  value: float
  influence: np.ndarray
  people: np.ndarray | None
  trials: int
  selection: float = 0.0


def accuracy(
  scores: np.ndarray,
  same: np.ndarray,
  fold: np.ndarray,
  people: np.ndarray | None,
) -> Share:
  """The mean of `verification.fold_accuracies`, which raises its errors."""
  rates, thresholds = verification.fold_accuracies(scores, same, fold)
  _, place, counts = np.unique(fold, return_inverse=True, return_counts=True)
  weights = (1 / (len(counts) * counts))[place]
  right = (scores >= thresholds[place]) == same
  value = float(np.mean(rates))
  best = (scores >= verification.best_threshold(scores, same)) == same
  gap = max(float(np.sum(weights * best)) - value, 0.0)
  return Share(
    value,
    weights * _residuals(right, same, weights),
    people,
    len(same),
    SELECTION * gap**2,
  )


def true_accept_rate(
  scores: np.ndarray, same: np.ndarray, far: float, people: np.ndarray | None
) -> Share:
  """The highest true accept rate whose false accept rate does not exceed `far`.

  Raises:
    ValueError: all pairs are of one kind.
  """
  point = _operating_point(scores, same, far)
  accepted = scores > point.threshold
  influence = point.weights * _residuals(accepted, same)
  return Share(point.rate, influence, people, int(np.sum(same)))


def equal_error_rate(
  scores: np.ndarray, same: np.ndarray, people: np.ndarray | None
) -> Share:
  """The rate of `verification.equal_error_rate`."""
  fmr, fnmr = verification.det(scores, same)
  value = verification.equal_error_rate(fmr, 1 - fnmr)
  point = _operating_point(scores, same, value)
  accepted = scores > point.threshold
  # Where a curve of this slope is moved up by e, the errors are equal again
  # after both have fallen by e / (1 + slope).
  influence = point.weights * _residuals(accepted, same) / (-1 - point.slope)
  return Share(value, influence, people, len(same))


def first_answers(
  ranks: np.ndarray, people: np.ndarray, rivals: np.ndarray
) -> Share:
  """The share of the probes whose first answer is their person.

  A probe is owed to its person. Where one other person stands before that one,
  it is owed to the other too, without whom the answer would be right. So these
  are the influences of leaving out a person, as probe and from the gallery.

  Args:
    ranks: [N] integers, at which place of the answers the probe's person is.
    people: [N] integers.
    rivals: [N] integers of the same numbering, the first answer that is not the
      probe's person.
  """
  found = ranks == 1
  weights = np.full(len(ranks), 1 / len(ranks))
  influence = weights * (found - np.mean(found))
  change = weights * (ranks == 2)
  return _owed_to_rivals(
    Share(float(np.mean(found)), influence, people, len(ranks)), change, rivals
  )


def true_identification_rate(
  identified: np.ndarray,
  without_rival: np.ndarray,
  mated: np.ndarray,
  fpir: float,
  people: np.ndarray,
  rivals: np.ndarray,
) -> Share:
  """The highest TPIR whose FPIR does not exceed `fpir`.

  Args:
    identified: float64 [N], the scores of first answers; -inf where that is not
      the person of a probe with a mate.
    without_rival: float64 [N], the same if the gallery lacked the rival.
    mated: bool [N], whether the probe's person is in the gallery.
    fpir: in [0, 1].
    people: [N] integers.
    rivals: [N] integers of the same numbering.

  Raises:
    ValueError: all probes are of one kind.
  """
  point = _operating_point(identified, mated, fpir)
  accepted = identified > point.threshold
  influence = point.weights * _residuals(accepted, mated)
  lacking = without_rival > point.threshold
  change = point.weights * (lacking.astype(int) - accepted)
  return _owed_to_rivals(
    Share(point.rate, influence, people, int(np.sum(mated))), change, rivals
  )


class _OperatingPoint(NamedTuple):
  """A point of the curve of true over false accepts.

  `rate` is the true accept rate of all scores above `threshold`, `slope` that
  of the curve there, and `weights` [P] what an accepted pair adds to the true
  accept rate at a given false accept rate.
  """

  rate: float
  threshold: float
  slope: float
  weights: np.ndarray


def _operating_point(
  scores: np.ndarray, same: np.ndarray, far: float
) -> _OperatingPoint:
  verification.check_kinds(same)
  positive, negative = (np.sort(scores[kind])[::-1] for kind in (same, ~same))
  count = len(negative)

  def threshold(allowed):
    return negative[allowed] if allowed < count else -np.inf

  def rate(allowed):
    return float(np.mean(positive > threshold(allowed)))

  allowed = verification.allowed_accepts(far, count)
  # Two standard deviations of a count, and one at least.
  reach = 2 * np.sqrt(max(allowed * (1 - allowed / count), 1))
  low = max(round(allowed - reach), 0)
  high = min(round(allowed + reach), count)
  slope = (rate(high) - rate(low)) * count / (high - low)
  weights = np.where(same, 1 / len(positive), -slope / count)
  return _OperatingPoint(rate(allowed), threshold(allowed), slope, weights)


def _residuals(
  values: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
  """Values [P] less the mean of their kind.

  How many pairs are of either kind is fixed by the protocol, not by chance.
  """
  weights = np.ones(len(same)) if weights is None else weights
  kinds = same.astype(int)
  totals = np.bincount(kinds, weights, 2)
  means = np.bincount(kinds, weights * values, 2) / np.where(totals, totals, 1)
  return values - means[kinds]


def _owed_to_rivals(
  figure: Share, change: np.ndarray, rivals: np.ndarray
) -> Share:
  """Shares influences [N] between people [N] and their rivals [N].

  Args:
    figure: whose influences are owed to one person each.
    change: float64 [N], how much larger an influence is without the rival.
    rivals: [N] integers.
  """
  people, moved = figure.people, np.flatnonzero(change)
  # Whoever is in both adds up to the influence; the rival has what they cost.
  alone = figure.influence + change
  return figure._replace(
    influence=np.concatenate([alone, -change[moved]]),
    people=np.concatenate(
      [
        np.stack([people, people], axis=1),
        np.stack([people[moved], rivals[moved]], axis=1),
      ]
    ),
  )
