import pytest
from match_tables import make_table

from faceqat.api import decision


@pytest.mark.parametrize(
  ('score', 'expected'),
  [
    # Of the thresholds 0.25, 0.375 and 0.5: rates of 1e-2, 1e-4 and 1e-5, each
    # known within a factor of two.
    (0.1, (1.0, 5e-3, 1.0)),
    (0.25, (1e-2, 5e-3, 2e-2)),
    (0.3, (1e-2, 5e-5, 2e-2)),
    (0.5, (1e-5, 5e-6, 2e-5)),
    (0.9, (1e-5, 0.0, 2e-5)),
  ],
)
def test_a_rate_lies_between_those_of_the_measured_thresholds(score, expected):
  found = decision.rate_of_score(make_table(), score)
  assert found == (*expected, 'DRAWN')
