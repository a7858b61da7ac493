"""What a difference between two readers means, in words."""

import dataclasses
import types
from unittest import mock

import integer_oracle as oracle
import numpy as np
from cases import Case, compute

from faceqat.evaluators import exactness
from faceqat.integer import kernels, xnnpack
from faceqat.integer import operators as ops


def _single(x, q31, shift):
  """One rounding of the whole product, halves up."""
  x, q31, shift = np.broadcast_arrays(np.int64(x), q31, shift)
  total = 31 - shift
  half = np.where(total > 0, np.int64(1) << np.maximum(total - 1, 0), 0)
  return (x * q31 + half) >> total


def _ties_up(x, q31, shift):
  """Two roundings, both with halves up."""
  raised = np.int64(x) << np.maximum(np.int64(shift), 0)
  right = np.maximum(-np.int64(shift), 0)
  half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
  return (oracle.srdhm(raised, q31) + half) >> right


def _float32(x, q31, shift):
  """A float32 product, rounded half to even."""
  factor = np.ldexp(np.float64(q31), np.int64(shift) - 31).astype(np.float32)
  product = np.rint(np.asarray(x).astype(np.float32) * factor)
  return np.clip(product, -(2.0**30), 2.0**30).astype(np.int64)


# Ways to multiply an int32 by q31 * 2^(shift - 31).
RULES = {
  'double rounding': oracle.rescale,
  'single rounding': _single,
  'two roundings, ties up': _ties_up,
  'float32, half to even': _float32,
}


def accepted(case):
  """The case without the operators that the contract `xnnpack` refuses."""
  operators = []
  for operator in case.operators:
    output = case.tensors[operator.output]
    try:
      xnnpack.check_operator(operator, case.tensors_of(operator), output)
    except ValueError:
      # Scales that differ this much belong to no other kind.
      assert isinstance(operator, ops.Requantize)
    else:
      operators.append(operator)
  return dataclasses.replace(
    case,
    operators=tuple(operators),
    outputs=tuple(operator.output for operator in operators),
  )


def check_no_output_differs(
  some_cases, run, runtime: str, kernel=kernels.compute
):
  """Fails where a runtime's outputs of any case are not ours.

  Args:
    some_cases: what to run.
    run: a function from a case to the runtime's int8 arrays by tensor name.
    runtime: its name and version.
    kernel: see `compute`.
  """
  values = set()
  for case in some_cases:
    got = run(case)
    check_equal(case, got, compute(case, kernel), runtime)
    values.update(*(np.unique(value).tolist() for value in got.values()))
  # Outputs that are all cut at the limits would prove nothing.
  assert len(values) > 150


def check_equal(case: Case, got: dict, wanted: dict, runtime: str):
  """Fails where a runtime's outputs are not ours.

  Args:
    case: what ran.
    got, wanted: int8 arrays by tensor name, of the runtime and of ours.
    runtime: its name and version.
  """
  failures = []
  for operator in case.operators:
    theirs, ours = got[operator.output], wanted[operator.output]
    assert theirs.shape == ours.shape, (case.label, operator.name)
    assert theirs.dtype == ours.dtype == np.int8, (case.label, operator.name)
    if not np.array_equal(theirs, ours):
      failures.append(_explain(case, operator, theirs, ours, runtime))
  assert not failures, '\n'.join(failures)


def _explain(case, operator, theirs, ours, runtime) -> str:
  program = types.SimpleNamespace(
    operators=[operator], inputs_of=case.tensors_of
  )
  inputs = dict(zip(case.inputs, case.arrays))
  difference = exactness.first_difference(
    program,
    {**inputs, operator.output: ours},
    {**inputs, operator.output: theirs},
  )
  lines = [f'{case.label}, in {runtime}: {difference}']
  for rule, count in fitting(case, operator, theirs).items():
    fits = 'fits' if count == theirs.size else f'fits {count} of {theirs.size}'
    lines.append(f'  {rule}: {fits}')
  return '\n'.join(lines)


def fitting(case: Case, operator, theirs: np.ndarray) -> dict[str, int]:
  """How many of a runtime's outputs each known rule explains."""
  values = [value.astype(np.int64) for value in case.values_of(operator)]
  output = case.tensors[operator.output]
  counts = {}
  for name, rule in RULES.items():
    with mock.patch.object(oracle, 'rescale', rule):
      result = oracle.run_operator(
        operator, values, case.tensors_of(operator), output
      )
    counts[name] = int((result == theirs).sum())
  return counts
