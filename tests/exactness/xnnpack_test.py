"""Operators and whole networks against LiteRT as it runs by default."""

import dataclasses
import functools
import importlib.metadata

import jax
import numpy as np
import pytest
import rules
from cases import KINDS, cases, compute
from xnnpack_cases import TIE_KINDS, tie_cases

from benchmarks import training_task
from benchmarks.integer_evaluator import make_network
from faceqat.export import litert, tflite
from faceqat.integer import operators as ops
from faceqat.integer import xnnpack
from faceqat.integer.evaluator import make_evaluator
from faceqat.integer.tensors import Tensor
from faceqat.lower import lower

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


def accepted(case):
  """The case without the operators that the contract refuses."""
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


def check_no_output_differs(kind_cases):
  values = set()
  for case in map(accepted, kind_cases):
    got = run(case)
    ours = compute(case, xnnpack.compute, compiled=len(case.operators) < 10)
    rules.check_equal(case, got, ours, RUNTIME)
    values.update(*(np.unique(value).tolist() for value in got.values()))
  # Outputs that are all cut at the limits would prove nothing.
  assert len(values) > 150


@pytest.mark.usefixtures('quick_compilation')
@pytest.mark.parametrize('kind', KINDS)
def test_no_output_of_an_operator_differs(kind):
  # A quarter of the requantizations is refused.
  outputs = 150_000 if kind == 'Requantize' else 100_000
  check_no_output_differs(cases(kind, outputs=outputs))


@pytest.mark.usefixtures('quick_compilation')
@pytest.mark.parametrize('kind', TIE_KINDS)
def test_no_output_differs_where_the_last_bit_decides(kind):
  check_no_output_differs(tie_cases(kind))


@pytest.mark.usefixtures('quick_compilation')
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


@functools.cache
def network(name):
  """A program, images, and every tensor as we compute it."""
  program = lower(make_network(name), contract='xnnpack')
  images = np.asarray(training_task.make_batch(2)[0])
  values = make_evaluator(program, taps=True)(images)
  return program, images, jax.tree.map(np.asarray, values)


@pytest.mark.parametrize('name', ['mobilenet_v2', 'mobilefacenet'])
@pytest.mark.parametrize('threads', [1, 2])
def test_no_tensor_of_a_whole_network_differs(name, threads):
  program, images, values = network(name)
  content = tflite.to_bytes(program, taps=True)
  got = litert.make_runner(content, 'xnnpack', threads=threads)(images)
  assert got.keys() == program.tensors.keys()
  for tensor in program.tensors:
    np.testing.assert_array_equal(got[tensor], values[tensor], err_msg=tensor)
  # Without the taps XNNPACK sees other graphs, and may merge operators.
  content = tflite.to_bytes(program)
  runner = litert.make_runner(content, 'xnnpack', threads=threads)
  for batch in (images, images[:1]):
    (embedding,) = runner(batch).values()
    wanted = values[program.output][: len(batch)]
    np.testing.assert_array_equal(embedding, wanted)
  # A network that answers the same to everything would prove nothing.
  assert len(np.unique(wanted)) > 100


def test_whole_network_differs_between_the_contracts():
  """Otherwise the tests above could not tell one from the other."""
  program, images, values = network('mobilenet_v2')
  reference = dataclasses.replace(program, contract='tflite_ref')
  embedding = np.asarray(make_evaluator(reference)(images))
  assert (embedding != values[program.output]).any()


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
