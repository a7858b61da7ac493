"""A small table of false-match rates, for tests."""

from faceqat.evaluators.match_rates import Rate, Row
from faceqat.evaluators.rate_table import MatchTable


def make_row(threshold, value):
  """A row whose rate is known within a factor of two."""
  return Row(
    threshold,
    Rate(value, value / 2, value * 2, int(value * 1e6), 1_000_000),
    Rate(0.02, 0.01, 0.03, 6, 300),
  )


def make_table(network='ab' * 32, thresholds=(0.25, 0.375, 0.5)):
  """False-match rates of 1e-2, 1e-4 and 1e-5."""
  return MatchTable(
    network=network,
    program='cd' * 32,
    faces='DRAWN',
    provenance='drawn',
    images=1500,
    people=1000,
    rows=tuple(map(make_row, thresholds, (1e-2, 1e-4, 1e-5))),
  )
