"""Each cause of a loss has a remedy."""

import re

import pytest

from faceqat.report.advice import advice

LAYER = {
  'name': 'stem',
  'bits': 8,
  'range': [-1.0, 3.0],
  'float_range': [-1.0, 2.9],
  'clipped': 0.0,
  'float_to_integer': 20.0,
}


@pytest.mark.parametrize(
  ('change', 'part'),
  [
    ({'float_to_integer': 36.0}, 'nothing to do'),
    ({'float_to_integer': None}, 'nothing to do'),
    ({'bits': 4}, "have 4 bits.*{'stem': {'activation_bits': 8}}"),
    ({'clipped': 0.004}, '0.4 % of its outputs are clipped.*=minmax'),
    ({'float_range': [0.0, 1.0]}, '4.0 times what .*=percentile'),
    ({'float_range': [0.0, 0.0]}, 'equalize=True'),
    ({}, 'equalize=True'),
  ],
)
def test_the_sentence_names_the_cause_and_what_to_try(change, part):
  sentence = advice({**LAYER, **change})
  assert re.search(part, sentence)
