"""Every operator against LiteRT as it runs by default, with XNNPACK."""

import dataclasses
import importlib.metadata

import numpy as np
import pytest
import rules
from cases import KINDS, cases
from xnnpack_cases import TIE_KINDS, tie_cases

from faceqat.export import litert, tflite
from faceqat.integer import operators as ops
from faceqat.integer import xnnpack
from faceqat.integer.tensors import Tensor

RUNTIME = f'LiteRT {importlib.metadata.version("ai-edge-litert")} by default'


def run(case, **options):
  content = tflite.operators_to_bytes(
    case.tensors,
    case.operators,
    case.inputs,
    case.outputs,
    contract='xnnpack',
    pack_int4=False,
  )
  return litert.make_runner(content, 'xnnpack', **options)(*case.arrays)


def check_no_output_differs(kind_cases):
  rules.check_no_output_differs(
    map(rules.accepted, kind_cases), run, RUNTIME, xnnpack.compute
  )


@pytest.mark.parametrize('kind', KINDS)
def test_no_output_of_an_operator_differs(kind):
  # A quarter of the requantizations is refused.
  outputs = 150_000 if kind == 'Requantize' else 100_000
  check_no_output_differs(cases(kind, outputs=outputs))


@pytest.mark.parametrize('kind', TIE_KINDS)
def test_no_output_differs_where_the_last_bit_decides(kind):
  check_no_output_differs(tie_cases(kind))


@pytest.mark.parametrize('kind', ['Conv2D', 'Conv2D depthwise', 'Mul', 'Mean'])
def test_litert_gives_the_same_whatever_threads_and_batch(kind):
  case = next(cases(kind))
  wanted = run(case)['out' if 'out' in case.outputs else 'out0']
  assert len(wanted) > 1 or kind == 'Mul'
  for threads in (1, 3):
    apart = []
    for index in range(len(wanted)):
      arrays = [array[index : index + 1] for array in case.arrays]
      part = dataclasses.replace(case, arrays=tuple(arrays))
      apart.append(next(iter(run(part, threads=threads).values())))
    np.testing.assert_array_equal(np.concatenate(apart), wanted)


def weighted(weight_scale):
  operator = ops.Dense(
    name='out',
    inputs=('in',),
    weights=np.ones((4, 2), np.int8),
    weight_scale=np.array([0.5, weight_scale], np.float32),
    bias=np.zeros(2, np.int32),
  )
  tensors = Tensor('in', (4,), 1.0, 0), Tensor('out', (2,), 1.0, 0)
  return operator, {tensor.name: tensor for tensor in tensors}


def test_litert_refuses_the_scale_that_the_contract_refuses():
  limit = xnnpack.SCALE_LIMITS[1]
  for scale, refused in (
    (np.nextafter(np.float32(limit), 0), False),
    (limit, True),
  ):
    operator, tensors = weighted(scale)
    x = np.array([[1, -2, 0, 1], [-3, 0, 0, 2]], np.int8)
    content = tflite.operators_to_bytes(
      tensors, [operator], ['in'], ['out'], contract='xnnpack'
    )
    runner = litert.make_runner(content, 'xnnpack')
    if refused:
      with pytest.raises(RuntimeError, match='XNNPACK'):
        runner(x)
    else:
      wanted = xnnpack.compute(operator, [x], [tensors['in']], tensors['out'])
      np.testing.assert_array_equal(runner(x)['out'], wanted)
