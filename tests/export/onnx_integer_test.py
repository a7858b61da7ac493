"""The integer graph: whole networks, hostile rescaling, the file itself."""

import integer_oracle as oracle
import layer_network
import numpy as np
import onnx
import onnx.reference
import pytest
from small_programs import small_program

from faceqat.export import digests, onnx_integer, onnx_runtime
from faceqat.export.onnx_fixed_point import rescale
from faceqat.export.onnx_graph import OnnxGraph
from faceqat.integer.multipliers import Rescaling
from faceqat.integer.tensors import Tensor


def run(model, *arrays):
  return onnx_runtime.make_runner(model.SerializeToString())(*arrays)


def test_every_layer_of_a_network_has_the_evaluators_bits():
  _, _, images, program = layer_network.lowered()
  wanted = layer_network.integers()
  got = run(onnx_integer.to_model(program, taps=True), images)
  assert set(got) == set(program.tensors)
  for name, value in wanted.items():
    np.testing.assert_array_equal(got[name], value, err_msg=name)
    assert got[name].dtype == np.int8


def test_the_model_gives_the_embedding_alone_for_any_batch():
  _, _, images, program = layer_network.lowered()
  model = onnx_integer.to_model(program)
  execute = onnx_runtime.make_runner(model.SerializeToString())
  wanted = layer_network.integers()[program.output]
  for batch in (1, 3):
    got = execute(images[:batch])
    assert list(got) == [program.output]
    np.testing.assert_array_equal(got[program.output], wanted[:batch])


def test_no_value_is_a_float_or_has_64_bits():
  _, _, _, program = layer_network.lowered()
  model = onnx.shape_inference.infer_shapes(
    onnx_integer.to_model(program, taps=True), strict_mode=True
  )

  def named(kinds):
    return {onnx.TensorProto.DataType.Name(kind) for kind in kinds}

  values = model.graph.value_info
  kinds = named(value.type.tensor_type.elem_type for value in values)
  assert kinds == {'UINT8', 'INT32', 'BOOL'}
  constants = model.graph.initializer
  assert named(c.data_type for c in constants) == {'UINT8', 'INT32', 'INT64'}
  # ONNX wants axes in 64 bits.
  wide = [c for c in constants if c.data_type == onnx.TensorProto.INT64]
  assert all(c.name.endswith(':axes') for c in wide)


# One channel for each: factors far below one, about one, and above.
_SHIFTS = np.array([-31, -31, -30, -20, -9, -1, 0, 0, 1, 7, 0])
_Q31 = np.array(
  [
    *(2**30, 2**31 - 1, 2**30 + 1, 1518500250, 2**30, 2**30),
    *(2**30, 2**31 - 1, 2**31 - 1, 2**30 + 12345, 0),
  ]
)
# What the cut to int8 leaves of them.
_LIMITS = (-128, 127)


def rescaling_case(reach, channels, zero_point):
  """A graph that rescales, and inputs at ties, at its limits and between."""
  q31, shifts = _Q31[channels], _SHIFTS[channels]
  # The zero point, too, must fit an int32 with the result.
  limit = np.minimum(reach, (2**31 - 1 - 128) >> np.maximum(shifts, 0))
  near = np.arange(-9, 10)[:, None]
  step = (1 << np.maximum(-shifts, 0)) >> 1
  wide = np.random.default_rng(1).integers(-limit, limit, (2000, len(limit)))
  x = np.concatenate(
    [near + k * step for k in (-3, -1, 0, 1, 3)]
    + [limit - near - 9, -limit + near + 9, wide]
  )
  x = np.clip(x, -limit, limit)
  graph = OnnxGraph()
  tensor = Tensor('x', shifts.shape, 1.0, 0)
  result = rescale(
    graph,
    'x',
    Rescaling(q31, shifts, limit),
    tensor,
    'x:',
    limits=_LIMITS,
    zero_point=zero_point,
  )
  limits = [graph.constant(v, np.int32) for v in _LIMITS]
  graph.cast(graph.node('Clip', [result, *limits], 'x:cut'), np.int8, 'y')
  wanted = np.clip(oracle.rescale(x, q31, shifts) + zero_point, *_LIMITS)
  return graph.model(
    {'x': (x.shape[1:], 'int32')}, {'y': (x.shape[1:], 'int8')}, {}
  ), (
    x,
    wanted,
  )


_REACHES = [2**31 - 1, 2**30, 2**24 + 5, 2**20 - 1, 2**15, 255]
# All factors in one layer, and those of an ordinary one.
_CHANNELS = {'all': np.arange(11), 'below one': np.array([3, 4, 4, 10])}


@pytest.mark.parametrize('zero_point', [-128, -100, 127])
@pytest.mark.parametrize('channels', _CHANNELS.values(), ids=_CHANNELS)
@pytest.mark.parametrize('reach', _REACHES)
def test_rescaling_equals_the_oracle(reach, channels, zero_point):
  model, (x, wanted) = rescaling_case(reach, channels, zero_point)
  got = run(model, x.astype(np.int32))['y']
  np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize('channels', _CHANNELS.values(), ids=_CHANNELS)
@pytest.mark.parametrize('reach', _REACHES)
def test_no_step_of_a_rescaling_needs_more_than_32_bits(reach, channels):
  """The same graph in 64 bits, where nothing can wrap around."""
  model, (x, wanted) = rescaling_case(reach, channels, 5)
  for constant in model.graph.initializer:
    value = onnx.numpy_helper.to_array(constant).astype(np.int64)
    constant.CopyFrom(onnx.numpy_helper.from_array(value, constant.name))
  names = [node.output[0] for node in model.graph.node]
  model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
  del model.graph.output[:]
  model.graph.output.extend(
    onnx.helper.make_empty_tensor_value_info(n) for n in names
  )
  values = onnx.reference.ReferenceEvaluator(model).run(None, {'x': x})
  for name, value in zip(names, values):
    assert -(2**31) <= value.min() <= value.max() < 2**31, name
  np.testing.assert_array_equal(values[-1], wanted)


# Bits of weights, least bits of the runtime: type, opset.
PACKED = {
  (2, 2): ('UINT2', 25),
  (2, 4): ('UINT4', 21),
  (3, 2): ('UINT4', 21),
  (4, 2): ('UINT4', 21),
  (4, 8): ('UINT8', 18),
  (5, 2): ('UINT8', 18),
}


@pytest.mark.parametrize(('bits', 'least'), PACKED)
def test_weights_are_packed_and_give_the_same_bits(bits, least):
  kind, opset = PACKED[bits, least]
  pixels = np.random.default_rng(2).integers(0, 256, (64, 2, 2, 3), np.uint8)
  program = small_program(weight_bits=bits)
  model = onnx_integer.to_model(program, least_bits=least)
  (weights,) = [
    c for c in model.graph.initializer if c.name.startswith('embedding:weights')
  ]
  assert weights.data_type == getattr(onnx.TensorProto, kind)
  assert len(weights.raw_data) == 12 * 5 * int(kind.removeprefix('UINT')) // 8
  assert model.opset_import[0].version == opset
  (got,) = run(model, pixels).values()
  np.testing.assert_array_equal(got, oracle.run(program, pixels)['embedding'])
  assert len(np.unique(got)) > 20


def test_metadata_says_what_a_reader_must_know():
  program = small_program(metadata={'checkpoint': 'a/3'})
  model = onnx_integer.to_model(program)
  properties = {entry.key: entry.value for entry in model.metadata_props}
  assert properties == {
    **digests.of_program(program),
    'contract': 'tflite_ref',
    'input': 'uint8 pixels [B, H, W, 3]',
    'checkpoint': 'a/3',
  }
  (image,) = model.graph.input
  shape = image.type.tensor_type.shape.dim
  assert [d.dim_param or d.dim_value for d in shape] == ['batch', 2, 2, 3]


def test_names_in_the_graph_begin_with_the_tensors_name():
  model = onnx_integer.to_model(small_program(), taps=True)
  owners = {node.name.split(':')[0] for node in model.graph.node}
  assert owners == {'image', 'flat', 'embedding'}


def test_another_contract_is_refused_with_the_reason():
  program = small_program(contract='xnnpack')
  with pytest.raises(ValueError, match="'xnnpack', which rescales in float32"):
    onnx_integer.to_model(program)
