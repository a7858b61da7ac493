import pytest
from match_tables import make_table

from faceqat.api import decision
from faceqat.calibration import packaged_files
from faceqat.evaluators import rate_table

SFACE = rate_table.load(packaged_files.rates_path_of('sface_int8'))


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
  assert found[:4] == (*expected, 'DRAWN')


@pytest.mark.parametrize(
  ('score', 'share'),
  [
    (0.1, 'more than 10 % (not measured below 0.204)'),
    (0.2, 'more than 10 % (not measured below 0.204)'),
    # docs/sface.md has these digits.
    (SFACE.rows[0].threshold, '10 % [9.8, 10]'),
    (SFACE.rows[-1].threshold, '0.001 % [0.00086, 0.0012]'),
    (0.48, 'at most 0.001 %'),
    # docs/commands.md shows this score.
    (0.5244, 'at most 0.001 %'),
  ],
)
def test_a_rate_in_words_says_no_more_than_was_measured(score, share):
  found = decision.rate_of_score(SFACE, score).describe()
  assert found == f'{share} of pairs of different people reach this score (LFW)'
