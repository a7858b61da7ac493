"""What a verification answers, and how often others reach a score."""

from typing import NamedTuple

from faceqat.evaluators import match_rates
from faceqat.evaluators.rate_table import MatchTable


class Rate(NamedTuple):
  """A share of the pairs of different people, as was measured.

  Attributes:
    value: at most so many, in [0, 1].
    low, high: where the share lies: a 95 % interval over people, and no
      narrower than the two measured thresholds next to the score.
    faces: on which set.
  """

  value: float
  low: float
  high: float
  faces: str


class Decision(NamedTuple):
  """Whether two photographs show the same person.

  Attributes:
    same: None where that cannot be said.
    score: the cosine, in [-1, 1]; None where a face is missing.
    threshold: the cosine that makes them one person; None where none is known.
    false_match_rate: how often different people reach the score; None where
      nobody has measured it.
    why_not: why `same` is None; else ''.
  """

  same: bool | None
  score: float | None
  threshold: float | None
  false_match_rate: Rate | None
  why_not: str


def rate_of_score(table: MatchTable, score: float) -> Rate:
  """How often different people reach a score, by the rows of a table.

  Between two of its thresholds the rate lies between theirs; below the lowest
  it may be anything above that one's, and beyond the highest anything below.
  """
  reached = [row for row in table.rows if row.threshold <= score]
  missed = [row for row in table.rows if row.threshold >= score]
  everybody = match_rates.Rate(1.0, 1.0, 1.0, 0, 0)
  nobody = match_rates.Rate(0.0, 0.0, 0.0, 0, 0)
  most = reached[-1].false_matches if reached else everybody
  least = missed[0].false_matches if missed else nobody
  return Rate(most.value, min(least.low, most.low), most.high, table.faces)
