"""An operator has all of its parts, or one of these tests fails.

A layer records it in `tests/quant/layers_integer_test.py`.
"""

import integer_oracle
import pytest
from cases import KINDS, cases
from small_programs import record_network

from faceqat.export import onnx_operators, tflite_operators
from faceqat.integer import kernels, operator_base
from faceqat.integer import operators as ops


def kinds_of(operators) -> set[type[ops.Operator]]:
  return {type(operator) for operator in operators}


PARTS = {
  'a kernel': lambda: kernels.KERNELS,
  'a writer for TFLite': lambda: tflite_operators.WRITERS,
  'writers for ONNX': lambda: onnx_operators.WRITERS,
  'a model in the tests': lambda: {
    kind
    for name, kind in ops.OPERATORS.items()
    if hasattr(integer_oracle, f'run_{name}')
  },
  'a case in the tests': lambda: set().union(
    *(kinds_of(next(cases(kind)).operators) for kind in KINDS)
  ),
  'a place in small_network': lambda: kinds_of(record_network().operators),
}


@pytest.mark.parametrize('part', PARTS)
def test_every_operator_has(part):
  wanted, got = set(ops.OPERATORS.values()), set(PARTS[part]())
  assert {kind.__name__ for kind in wanted ^ got} == set()


def test_the_operators_are_all_that_the_module_defines():
  public = {
    name
    for name, kind in vars(ops).items()
    if isinstance(kind, type)
    and issubclass(kind, ops.Operator)
    and kind.__module__ != operator_base.__name__
    and not name.startswith('_')
  }
  assert public == set(ops.OPERATORS)
