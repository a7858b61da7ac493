"""Each operator against TFLM's kernels: they differ where the rules say so."""

import numpy as np
import pytest
import rules
from case_drafts import Draft
from cases import KINDS, cases, compute

from faceqat.export import tflite, tflm, tflm_rules
from faceqat.integer import operators as ops
from faceqat.integer.tensors import QParams

pytest.importorskip('tflite_micro', reason='TFLM has no wheel for this system')
# Kernels whose multipliers, or whose whole rule, are others in TFLM.
DIFFERENT = ('Mul', 'PReLU', 'Logistic')


def run(case):
  content = tflite.operators_to_bytes(
    case.tensors, case.operators, case.inputs, case.outputs
  )
  return tflm.make_runner(content)(*case.arrays)


def refused(case, operator) -> bool:
  output = case.tensors[operator.output]
  try:
    tflm_rules.check_operator(operator, case.tensors_of(operator), output)
  except ValueError:
    return True
  return False


@pytest.mark.parametrize('kind', [x for x in KINDS if x not in DIFFERENT])
def test_no_output_differs(kind):
  # Its kernels are those of `litert_reference_test`, which has more cases.
  some = list(cases(kind, seed=3, outputs=30_000))
  rules.check_no_output_differs(some, run, 'TFLM')
  for case in some:
    assert not any(refused(case, operator) for operator in case.operators)


def test_what_is_refused_of_products_is_what_differs():
  """The cases have all inputs there are, so either side can be wrong."""
  found = set()
  for case in cases('Mul', seed=6, outputs=390_000):
    theirs, ours = run(case), compute(case)
    for operator in case.operators:
      name = operator.output
      differs = bool((theirs[name] != ours[name]).any())
      assert refused(case, operator) == differs, (case.label, name)
      found.add(differs)
  assert found == {True, False}


# Scales and zero points of input and output, scale of alpha, and how many of
# the results differ: a draw of 400 had six that do.
PRELUS = [
  ((0.010256356, 5), (0.040905967, 17), 0.009804391, 4),
  ((0.049248926, 87), (0.01597216, 46), 0.0030792714, 2),
  ((0.02, 5), (0.03, 17), 0.005, 0),
]


@pytest.mark.parametrize(('source', 'out', 'alpha_scale', 'count'), PRELUS)
def test_what_is_refused_of_prelus_is_what_differs(
  source, out, alpha_scale, count
):
  draft = Draft()
  x = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1)
  scales = [QParams(float(np.float32(s)), zero) for s, zero in (source, out)]
  draft.input('in', np.tile(x, 256), scales[0])
  operator = ops.PReLU(
    name='out',
    inputs=('in',),
    alpha=x.ravel(),
    alpha_scale=float(np.float32(alpha_scale)),
  )
  draft.operator(operator, scales[1])
  case = draft.finish('a PReLU')
  theirs, ours = run(case)['out'], compute(case)['out']
  assert np.count_nonzero(theirs != ours) == count
  assert refused(case, operator) == bool(count)


def test_a_logistic_function_differs_and_is_refused():
  case = next(cases('Logistic'))
  theirs, ours = run(case), compute(case)
  assert any((theirs[name] != ours[name]).any() for name in ours)
  assert all(refused(case, operator) for operator in case.operators)
