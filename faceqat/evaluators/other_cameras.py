"""How far a false-match rate may be from the one of another camera.

Faces of one camera, country or website resemble each other, so the rate at one
threshold differs between sets by far more than the interval of each over people
says. Where several sets were measured, one more is expected in the prediction
interval of a further draw (Geisser 1993, "Predictive Inference"), of the
logits of their rates: mean and deviation, Student's t of one degree of freedom
fewer than there are sets, and the root of 1 + 1 / sets for the mean's own
error. That the sets are like the one to come is an assumption;
benchmarks/cameras.py leaves out each in turn, and counts.
"""

from collections.abc import Sequence

import numpy as np

from faceqat.evaluators import intervals, verification
from faceqat.evaluators.match_rates import Rate, Row

# Two make a deviation, but Student's t of one degree of freedom is 12.7.
LEAST_SETS = 3


def limits_of(rates: Sequence[Rate]) -> tuple[float, float]:
  """Between which the rate of a further set is expected, at 95 %.

  >>> rates = [Rate(x, 0, 1, int(x * 1e6), 10**6) for x in (0.01, 0.02, 0.04)]
  >>> [round(limit, 4) for limit in limits_of(rates)]
  [0.0006, 0.3971]

  Args:
    rates: at one threshold in `LEAST_SETS` sets or more.

  Raises:
    ValueError: there are fewer.
  """
  if len(rates) < LEAST_SETS:
    raise ValueError(f'{len(rates)} sets; wanted {LEAST_SETS} at least')
  # Half a match more of either kind, so that a set without any has a logit.
  hits = np.array([rate.count + 0.5 for rate in rates])
  logits = np.log(hits / (np.array([rate.pairs + 1 for rate in rates]) - hits))
  spread = np.var(logits, ddof=1) * (1 + 1 / len(logits))
  low, high = 1 / (
    1
    + np.exp(
      -np.array(intervals.around(logits.mean(), spread, len(logits) - 1))
    )
  )
  return float(low), float(high)


def with_limits(row: Row, rates: Sequence[Rate]) -> Row:
  """A row with the limits of another camera, where the sets support its rate.

  Args:
    row: of the set that states the rate.
    rates: at its threshold in each set, that one included if it counts.
  """
  stated = row.false_matches.value
  if all(verification.is_supported(stated, rate.pairs) for rate in rates):
    return row._replace(elsewhere=limits_of(rates))
  return row
