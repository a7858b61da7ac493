"""Each operator against an independent model in numpy: no output may differ."""

import integer_oracle
import numpy as np
import pytest
import rules
import xnnpack_oracle
from cases import KINDS, cases
from xnnpack_cases import TIE_KINDS, tie_cases

from faceqat.integer import kernels, xnnpack


def run(case, run_operator):
  return {
    operator.output: run_operator(
      operator,
      [value.astype(np.int64) for value in case.values_of(operator)],
      case.tensors_of(operator),
      case.tensors[operator.output],
    ).astype(np.int8)
    for operator in case.operators
  }


def some(kind):
  """Cases of a kind; those that move a window have every geometry."""
  windowed = 'Conv2D' in kind or 'Pool' in kind
  return cases(kind, outputs=300_000 if windowed else 100_000)


def check(some_cases, oracle, kernel):
  rules.check_no_output_differs(
    some_cases, lambda case: run(case, oracle.run_operator), 'numpy', kernel
  )


@pytest.mark.parametrize('kind', KINDS)
def test_no_output_of_tflite_ref_differs(kind):
  check(some(kind), integer_oracle, kernels.compute)


@pytest.mark.parametrize('kind', KINDS)
def test_no_output_of_xnnpack_differs(kind):
  check(map(rules.accepted, some(kind)), xnnpack_oracle, xnnpack.compute)


# The model has a logistic function of another form, which float64 may round to
# the other side of a tie; LiteRT is asked about those in `xnnpack_test`.
@pytest.mark.parametrize('kind', sorted({*TIE_KINDS} - {'Logistic'}))
def test_no_output_of_xnnpack_differs_where_the_last_bit_decides(kind):
  check(tie_cases(kind), xnnpack_oracle, xnnpack.compute)
