"""What a verification answers, and how often others reach a score."""

from typing import NamedTuple

from faceqat.evaluators.rate_table import MatchTable
from faceqat.report.results_tables import short_percent


class Rate(NamedTuple):
  """A share of the pairs of different people, as was measured.

  Attributes:
    value: at most so many, in [0, 1].
    low, high: where the share lies: a 95 % interval over people, and no
      narrower than the two measured thresholds next to the score.
    faces: on which set.
    beyond: of a score below or above all measured thresholds, what is known of
      the share, 'at most 0.001 %'; else ''.
  """

  value: float
  low: float
  high: float
  faces: str
  beyond: str = ''

  def describe(self) -> str:
    """A sentence for people, in per cent with two digits."""
    value, low, high = map(short_percent, self[:3])
    share = self.beyond or f'{value} % [{low}, {high}]'
    return (
      f'{share} of pairs of different people reach this score ({self.faces})'
    )


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
  if not reached:
    lowest = missed[0].false_matches
    return Rate(
      1.0,
      lowest.low,
      1.0,
      table.faces,
      f'more than {short_percent(lowest.value)} % (not measured below '
      f'{missed[0].threshold:.3f})',
    )
  most = reached[-1].false_matches
  if not missed:
    beyond = f'at most {short_percent(most.value)} %'
    return Rate(most.value, 0.0, most.high, table.faces, beyond)
  low = min(missed[0].false_matches.low, most.low)
  return Rate(most.value, low, most.high, table.faces)
