"""Each operator against LiteRT's reference kernels: no output may differ."""

import importlib.metadata
from unittest import mock

import integer_oracle as oracle
import numpy as np
import pytest
import rules
from cases import KINDS, cases, compute

from faceqat.export import litert, tflite

RUNTIME = f'LiteRT {importlib.metadata.version("ai-edge-litert")} BUILTIN_REF'


def run(case, *, pack_int4=True):
  content = tflite.operators_to_bytes(
    case.tensors,
    case.operators,
    case.inputs,
    case.outputs,
    pack_int4=pack_int4,
  )
  return litert.make_runner(content, 'tflite_ref')(*case.arrays)


@pytest.mark.parametrize('kind', KINDS)
def test_no_output_differs(kind):
  rules.check_no_output_differs(cases(kind), run, RUNTIME)


@pytest.mark.parametrize('kind', [kind for kind in KINDS if 'few bits' in kind])
def test_int4_weights_give_the_same_as_in_int8(kind):
  for case in cases(kind, seed=1, outputs=10_000):
    got, unpacked = run(case), run(case, pack_int4=False)
    np.testing.assert_array_equal(got['out'], unpacked['out'])


@pytest.mark.parametrize('rule', sorted(set(rules.RULES) - {'double rounding'}))
def test_a_changed_rule_is_named(rule):
  case = next(case for case in cases('Conv2D') if 'ties' in case.label)
  ours = compute(case)
  with mock.patch.object(oracle, 'rescale', rules.RULES[rule]):
    theirs = oracle.run_Conv2D(
      case.operators[0],
      [case.arrays[0].astype(np.int64)],
      [case.tensors['in']],
      case.tensors['out'],
    ).astype(np.int8)
  with pytest.raises(AssertionError) as error:
    rules.check_equal(case, {'out': theirs}, ours, 'A runtime 1.0')
  message = str(error.value)
  count = int((theirs != ours['out']).sum())
  assert f'{case.label}, in A runtime 1.0' in message
  assert f'layer out (Conv2D), {count} of {theirs.size} outputs' in message
  assert f'{rule}: fits\n' in f'{message}\n'
  assert 'double rounding: fits\n' not in message
