"""The QDQ graph: its form, and how far its outputs are from the program's."""

import layer_network
import numpy as np
import onnx
import pytest

from faceqat.export import onnx_qdq, onnx_runtime
from faceqat.integer import operators as ops
from faceqat.integer.tensors import Tensor

# The form of activations, and ONNX Runtime's options.
CONFIGS = {
  'uint8': ('uint8', {}),
  'int8 fused': ('int8', {'session.qdqisint8allowed': '1'}),
}


def run(model, *arrays, **options):
  return onnx_runtime.make_runner(model.SerializeToString(), **options)(*arrays)


@pytest.mark.parametrize(
  ('activations', 'config'), CONFIGS.values(), ids=CONFIGS
)
def test_a_network_stays_near_the_program(activations, config):
  _, _, images, program = layer_network.lowered()
  wanted = layer_network.integers()
  form = onnx_qdq.QdqForm(activations=activations)
  model = onnx_qdq.to_model(program, form, taps=True)
  got = run(model, images, session_config=config)
  assert set(got) == set(program.tensors)
  np.testing.assert_array_equal(got[program.input], wanted[program.input])
  for operator in program.operators:
    if operator.inputs == (program.input,):
      name = operator.name
      steps = np.abs(got[name].astype(np.int32) - wanted[name])
      # A tie that falls otherwise is one step; at most 0.9 % were seen.
      assert steps.max() <= 1, name
      assert (steps > 0).mean() < 0.02, name
  # Deeper in, steps add up; the embedding must still be the same face.
  zero_point = program.tensors[program.output].zero_point
  a, b = (
    np.float64(values[program.output]) - zero_point for values in (got, wanted)
  )
  norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
  # 0.993 was the least that was seen.
  assert ((a * b).sum(1) / norms).min() > 0.98


def test_every_float_operator_stands_between_integers():
  _, _, _, program = layer_network.lowered()
  graph = onnx_qdq.to_model(program).graph
  makers = {node.output[0]: node for node in graph.node}
  constants = {constant.name for constant in graph.initializer}
  readers = {}
  for node in graph.node:
    for name in node.input:
      readers.setdefault(name, []).append(node.op_type)
  # What may stand between an operator and its quantizer.
  between = {'Relu', 'Clip', 'Flatten', 'Transpose', 'Unsqueeze'}
  computed = 0
  for node in graph.node:
    if node.name.endswith(':shifted'):
      continue  # From uint8 to int8, at the end.
    if node.op_type in {'Conv', 'Gemm', 'Add', 'PRelu', 'GlobalAveragePool'}:
      computed += 1
      for name in node.input:
        assert makers[name].op_type == 'DequantizeLinear', node.name
      assert set(readers[node.output[0]]) <= {'QuantizeLinear', *between}
    if node.op_type == 'QuantizeLinear':
      assert {*node.input[1:]} <= constants
  assert computed > 5


def test_weights_and_biases_are_stored_as_integers():
  _, _, _, program = layer_network.lowered()
  graph = onnx_qdq.to_model(program).graph
  kinds = {c.name: c.data_type for c in graph.initializer}
  for operator in program.operators:
    if hasattr(operator, 'weights'):
      name = operator.name
      assert kinds[f'{name}:weights_quantized'] == onnx.TensorProto.INT8
      assert kinds[f'{name}:bias_quantized'] == onnx.TensorProto.INT32


def test_metadata_promises_no_bits():
  _, _, _, program = layer_network.lowered()
  model = onnx_qdq.to_model(program)
  properties = {entry.key: entry.value for entry in model.metadata_props}
  assert properties['contract'] == 'none'
  assert properties['rounding'] == onnx_qdq.ROUNDING
  assert 'half to even' in onnx_qdq.ROUNDING
  assert model.opset_import[0].version == 18


@pytest.mark.parametrize(
  ('activations', 'config'), CONFIGS.values(), ids=CONFIGS
)
def test_what_only_moves_values_is_exact_all_the_same(activations, config):
  qparams = {'scale': 0.0371, 'zero_point': 55}
  tensors = [
    Tensor('a', (4, 4, 16), **qparams),
    Tensor('joined', (4, 4, 32), **qparams),
    Tensor('pooled', (2, 2, 16), **qparams),
    Tensor('flat', (256,), **qparams),
  ]
  operators = [
    ops.Concat(name='joined', inputs=('a', 'a')),
    ops.MaxPool(name='pooled', inputs=('a',), window=(2, 2), strides=(2, 2)),
    ops.Reshape(name='flat', inputs=('a',)),
  ]
  model = onnx_qdq.QdqGraph(onnx_qdq.QdqForm(activations)).operators_model(
    {tensor.name: tensor for tensor in tensors},
    operators,
    ['a'],
    ['joined', 'pooled', 'flat'],
  )
  a = np.random.default_rng(0).permutation(256).reshape(1, 4, 4, 16) - 128
  a = a.astype(np.int8)
  got = run(model, a, session_config=config)
  np.testing.assert_array_equal(got['joined'], np.concatenate([a, a], -1))
  np.testing.assert_array_equal(got['flat'], a.reshape(1, -1))
  blocks = a.reshape(1, 2, 2, 2, 2, 16)
  np.testing.assert_array_equal(got['pooled'], blocks.max((2, 4)))


@pytest.mark.parametrize('activations', ['uint8', 'int8'])
def test_every_zero_point_is_written_out(activations):
  _, _, _, program = layer_network.lowered()
  form = onnx_qdq.QdqForm(activations=activations)
  model = onnx_qdq.to_model(program, form)
  constants = {c.name: c for c in model.graph.initializer}
  kinds = set()
  for node in model.graph.node:
    if node.op_type in ('QuantizeLinear', 'DequantizeLinear'):
      _, scale, zero = node.input
      assert constants[scale].dims == constants[zero].dims
      kinds.add(constants[zero].data_type)
  # Of activations, weights and biases; pixels are uint8 in any case.
  types = onnx.TensorProto
  assert kinds == {types.UINT8, types.INT8, types.INT32}
  names = [
    node.name for node in model.graph.node if node.output[0] == 'same:quantized'
  ]
  assert len(names) == 1
