"""Padding and activations: the runtime's own where that is exactly equal."""

import dataclasses

import jax
import numpy as np
import pytest
from ai_edge_litert import interpreter
from ai_edge_litert import schema_py_generated as schema
from tflite_file import read, write

from faceqat.export import litert
from faceqat.integer import kernels, tracing
from faceqat.integer import operators as ops
from faceqat.integer.tensors import QParams, Tensor

CONTRACTS = ['tflite_ref', 'xnnpack']
EVERY_INT8 = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)


def identity(clamp=(-128, 127), **fields):
  """A convolution that hands on what it gets, within the clamp."""
  fields = {'weights': np.ones((1, 1, 1, 1), np.int8), **fields}
  return ops.Conv2D(
    name='out',
    inputs=('in',),
    weight_scale=np.ones(1, np.float32),
    bias=np.zeros(1, np.int32),
    clamp=clamp,
    **fields,
  )


@pytest.mark.parametrize('contract', CONTRACTS)
@pytest.mark.parametrize(
  ('activation_range', 'scale', 'zero_point', 'code'),
  [
    (None, 0.05, -20, 'NONE'),
    ((0, 6), 0.05, -128, 'RELU6'),
    ((0, 6), 0.05, -20, 'RELU6'),
    ((0, np.inf), 0.05, -20, 'RELU'),
    ((0, np.inf), 0.05, -128, 'NONE'),
    # Six lies past 127: nothing but zero is left to cut at.
    ((0, 6), 0.02, -20, 'RELU'),
    ((-1, 1), 0.05, -20, 'RELU_N1_TO_1'),
    # 6 / scale is a tie, 12.5, and 0 is not.
    ((0, 6), 0.48, -20, None),
    ((0, np.inf), 0.48, -20, 'RELU'),
    ((-1, 3), 0.05, -20, None),
  ],
)
def test_what_a_kernel_cuts_is_exactly_the_clamp(
  activation_range, scale, zero_point, code, contract
):
  qparams = QParams(scale, zero_point)
  clamp = tracing.activation_limits(activation_range, qparams)
  content = write(
    identity(clamp),
    Tensor('in', (16, 16, 1), scale, zero_point),
    qparams,
    contract=contract,
  )
  result = litert.make_runner(content, contract)(EVERY_INT8)['out']
  np.testing.assert_array_equal(result, np.clip(EVERY_INT8, *clamp))
  (_, _, operator), *rest = read(content)[0]
  fused = operator.builtinOptions.fusedActivationFunction
  if code is None:
    assert [name for name, _, _ in rest] == ['MAXIMUM', 'MINIMUM']
    assert fused == schema.ActivationFunctionType.NONE
  else:
    assert not rest
    assert fused == getattr(schema.ActivationFunctionType, code)


@pytest.mark.parametrize('contract', CONTRACTS)
def test_fused_activations_agree_at_any_scale(contract):
  rng = np.random.default_rng(2)
  fused = 0
  for _ in range(60):
    qparams = QParams(10 ** rng.uniform(-3, 1), int(rng.integers(-128, 128)))
    clamp = tracing.activation_limits((0, 6), qparams)
    source = Tensor('in', (16, 16, 1), qparams.scale, qparams.zero_point)
    content = write(identity(clamp), source, qparams, contract=contract)
    result = litert.make_runner(content, contract)(EVERY_INT8)['out']
    np.testing.assert_array_equal(result, np.clip(EVERY_INT8, *clamp))
    fused += len(read(content)[0]) == 1
  assert fused > 55


@pytest.mark.parametrize('contract', CONTRACTS)
def test_a_narrow_embedding_is_one_part_of_the_graph(contract):
  """-128 alone is cut, in XNNPACK's own graph."""
  scale = 0.0371
  operator = ops.Dense(
    name='out',
    inputs=('in',),
    weights=np.eye(256, dtype=np.int8),
    weight_scale=np.ones(256, np.float32),
    bias=np.zeros(256, np.int32),
    clamp=(-127, 127),
  )
  content = write(
    operator,
    Tensor('in', (256,), scale, 0),
    QParams(scale, 0, narrow=True),
    contract=contract,
  )
  every = EVERY_INT8.reshape(1, 256)
  result = litert.make_runner(content, contract)(every)['out']
  np.testing.assert_array_equal(result, np.maximum(every, -127))
  (_, *rest), _ = read(content)
  names = [name for name, _, _ in rest]
  negated = ['DEPTHWISE_CONV_2D'] * 2
  assert names == {'tflite_ref': ['MAXIMUM'], 'xnnpack': negated}[contract]
  if contract == 'xnnpack':
    loaded = interpreter.Interpreter(model_content=content)
    loaded.allocate_tensors()
    parts = [part['op_name'] for part in loaded._get_ops_details()]
    assert parts.count('DELEGATE') == 1


@pytest.mark.parametrize(
  ('size', 'window', 'strides', 'padding', 'wanted'),
  [
    ((8, 8), (3, 3), (1, 1), ((0, 0), (0, 0)), 'VALID'),
    ((8, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), 'SAME'),
    ((8, 7), (3, 3), (2, 2), ((0, 1), (1, 1)), 'SAME'),
    # The last row of padding is never reached: that is SAME, and VALID.
    ((7, 7), (3, 3), (2, 2), ((1, 2), (1, 1)), 'SAME'),
    ((8, 8), (3, 3), (2, 2), ((0, 0), (0, 0)), 'VALID'),
    # As PyTorch pads an even side at stride 2.
    ((8, 8), (3, 3), (2, 2), ((1, 1), (1, 1)), 'PAD'),
    # Each side alone would do.
    ((8, 8), (3, 3), (1, 1), ((1, 1), (0, 0)), 'PAD'),
    ((8, 8), (3, 3), (1, 1), ((0, 2), (1, 1)), 'PAD'),
  ],
)
def test_padding_is_the_runtime_s_own_where_that_is_equal(
  size, window, strides, padding, wanted
):
  geometry = {'strides': strides, 'padding': padding}
  source = Tensor('in', (*size, 1), 0.05, 100)
  conv = identity(weights=np.ones((*window, 1, 1), np.int8), **geometry)
  pool = ops.MaxPool(name='out', inputs=('in',), window=window, **geometry)
  for operator in (conv, pool):
    operators, _ = read(write(operator, source, QParams(0.05, 100)))
    names = [name for name, _, _ in operators]
    said = operators[-1][2].builtinOptions.padding
    if wanted == 'PAD':
      assert names[0] == ('PADV2' if operator is pool else 'PAD')
      assert said == schema.Padding.VALID
    else:
      assert len(names) == 1
      assert said == getattr(schema.Padding, wanted)


@pytest.mark.parametrize('contract', CONTRACTS)
@pytest.mark.parametrize(
  ('size', 'window', 'strides', 'padding'),
  [
    ((8, 8), (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((8, 7), (3, 3), (1, 1), ((1, 1), (0, 0))),
    ((7, 8), (3, 3), (1, 1), ((0, 0), (2, 1))),
    # Every window is cut short in its own way.
    ((3, 2), (5, 4), (1, 1), ((4, 4), (3, 2))),
    # Of the padding before, one window sees less than all.
    ((9, 9), (5, 5), (3, 2), ((3, 0), (4, 3))),
    ((6, 6), (5, 5), (3, 3), ((4, 0), (4, 0))),
  ],
)
def test_an_average_leaves_any_padding_out(
  size, window, strides, padding, contract
):
  operator = ops.AveragePool(
    name='out', inputs=('in',), window=window, strides=strides, padding=padding
  )
  source, qparams = Tensor('in', (*size, 5), 0.05, 100), QParams(0.05, 100)
  content = write(operator, source, qparams, contract=contract)
  operators, _ = read(content)
  assert 'SLICE' in [name for name, _, _ in operators]
  x = np.random.default_rng(0).integers(-128, 128, (4, *size, 5))
  x = x.astype(np.int8)
  output = Tensor('out', operator.output_shape([source]), 0.05, 100)
  run = jax.jit(lambda x: kernels.compute(operator, [x], [source], output))
  wanted = run(x)
  result = litert.make_runner(content, contract)(x)['out']
  np.testing.assert_array_equal(result, wanted)


def test_names_that_the_file_needs_itself_are_refused():
  source = Tensor('out:weights', (16, 16, 1), 0.05, 0)
  operator = dataclasses.replace(identity(), inputs=('out:weights',))
  with pytest.raises(ValueError, match="are named 'out:weights'"):
    write(operator, source, QParams(0.05, 0))
