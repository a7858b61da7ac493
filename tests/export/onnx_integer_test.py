"""The integer graph: whole networks, hostile rescaling, the file itself."""

import integer_oracle as oracle
import layer_network
import numpy as np
import onnx
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


def test_no_value_is_a_float():
  _, _, _, program = layer_network.lowered()
  model = onnx.shape_inference.infer_shapes(
    onnx_integer.to_model(program, taps=True), strict_mode=True
  )
  graph = model.graph
  kinds = {value.type.tensor_type.elem_type for value in graph.value_info}
  kinds |= {constant.data_type for constant in graph.initializer}
  named = {onnx.TensorProto.DataType.Name(kind) for kind in kinds}
  assert named == {'UINT8', 'INT32', 'INT64', 'UINT64', 'BOOL'}


# One channel for each: factors far below one, about one, and above.
_SHIFTS = np.array([-31, -31, -30, -20, -9, -1, 0, 0, 1, 7, 0])
_Q31 = np.array(
  [
    *(2**30, 2**31 - 1, 2**30 + 1, 1518500250, 2**30, 2**30),
    *(2**30, 2**31 - 1, 2**31 - 1, 2**30 + 12345, 0),
  ]
)


@pytest.mark.parametrize('bias', [0, 5, -(2**30), 2**30 - 1])
def test_rescaling_equals_the_oracle_up_to_the_ends_of_int32(bias):
  # The zero point, too, must fit an int32 with the result.
  limit = (2**31 - 1 - 128) >> np.maximum(_SHIFTS, 0)
  near = np.arange(-9, 10)[:, None]
  step = (1 << np.maximum(-_SHIFTS, 0)) >> 1
  wide = np.random.default_rng(1).integers(-limit, limit, (2000, len(limit)))
  x = np.concatenate(
    [near + k * step for k in (-3, -1, 0, 1, 3)]
    + [limit - near - 9, -limit + near + 9, wide]
  )
  x = np.clip(x, -limit, limit)
  # `x` is what is rescaled; the graph gets it without its bias, in int32.
  raw = np.clip(x - bias, -(2**31) + 1, 2**31 - 1)
  x = raw + bias
  graph = OnnxGraph()
  tensor = Tensor('x', _SHIFTS.shape, 1.0, 0)
  result = rescale(
    graph,
    'x',
    Rescaling(_Q31, _SHIFTS, limit),
    tensor,
    'x:',
    bias=bias,
    zero_point=-100,
  )
  # Cut to what int8 needs: the rest is cut by every operator anyway.
  graph.cast(
    graph.node(
      'Clip', [result, *(graph.constant(v, np.int32) for v in (-128, 127))], 'c'
    ),
    np.int8,
    'y',
  )
  model = graph.model({'x': (_SHIFTS.shape, 'int32')}, {'y': _SHIFTS.shape}, {})
  got = run(model, raw.astype(np.int32))['y']
  scaled = oracle.rescale(x, _Q31, _SHIFTS) - 100
  np.testing.assert_array_equal(got, np.clip(scaled, -128, 127))


def test_int4_weights_are_packed_and_give_the_same_bits():
  pixels = np.random.default_rng(2).integers(0, 256, (64, 2, 2, 3), np.uint8)
  program = small_program(weight_bits=4)
  model = onnx_integer.to_model(program)
  packed = {c.name: c for c in model.graph.initializer}[
    'embedding:weights_uint4'
  ]
  assert packed.data_type == onnx.TensorProto.UINT4
  assert len(packed.raw_data) == 12 * 5 // 2
  (got,) = run(model, pixels).values()
  np.testing.assert_array_equal(got, oracle.run(program, pixels)['embedding'])
  assert len(np.unique(got)) > 50


def test_the_opset_is_old_unless_int4_needs_a_newer_one():
  opsets = {
    bits: onnx_integer.to_model(small_program(bits)).opset_import[0].version
    for bits in (4, 5, 8)
  }
  assert opsets == {4: 21, 5: 17, 8: 17}


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
