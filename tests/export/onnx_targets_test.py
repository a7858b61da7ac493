"""The rules of TensorRT, RKNN-Toolkit2 and OpenVINO, on graphs."""

import dataclasses

import integer_oracle as oracle
import layer_network
import numpy as np
import onnx
import pytest
from defaults import make_spec
from layer_network import conv, dense, depthwise
from small_programs import (
  PROGRAM,
  network_images,
  record_network,
  small_program,
)

from faceqat.export import onnx_integer, onnx_qdq, onnx_runtime, targets
from faceqat.export.targets import openvino, rknn, roundtrip, tensorrt
from faceqat.quant.pooling import MeanPool
from faceqat.quant.prelu import PReLU
from faceqat.quant.weightless import Add


class Symmetric(layer_network.LayerTable):
  layers = {
    'stem': conv('image', activation='relu6'),
    'prelu': (PReLU, {}, ('stem',)),
    'depthwise': depthwise('prelu'),
    'add': (Add, {}, ('prelu', 'depthwise')),
    'mean': (MeanPool, {}, ('add',)),
    'embedding': dense('mean', 16),
  }


@pytest.fixture(scope='module')
def symmetric():
  """The program of a network that is calibrated with zero points of 0."""
  network = Symmetric(make_spec({'symmetric': True}))
  images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
  variables = layer_network.random_variables(network, (8, 8, 3))
  variables = layer_network.calibrate(network, variables, images)
  return layer_network.lower(network, variables, (8, 8, 3)), images


def test_tensorrt_takes_a_symmetric_network_and_its_graph_computes_it(
  symmetric,
):
  program, images = symmetric
  (content,) = targets.find('tensorrt').write(program, None).values()
  model = onnx.load_from_string(content)
  constants = {c.name: c for c in model.graph.initializer}
  linear = [n for n in model.graph.node if n.op_type.endswith('antizeLinear')]
  assert len(linear) > 10
  for node in linear:
    zero = onnx.numpy_helper.to_array(constants[node.input[2]])
    assert zero.dtype == np.int8
    assert not zero.any()
  pixels = (images.transpose(0, 3, 1, 2).astype(np.float32) - 128) / 128
  got = onnx_runtime.make_runner(content)(pixels)[program.output]
  assert got.dtype == np.float32
  embedding = program.tensors[program.output]
  wanted = oracle.run(program, images)[program.output] * embedding.scale
  cosines = (got * wanted).sum(1) / np.linalg.norm(got, axis=1)
  # 0.9967 was the least that was seen.
  assert (cosines / np.linalg.norm(wanted, axis=1)).min() > 0.99


def test_tensorrt_refuses_zero_points_and_names_the_layer():
  with pytest.raises(
    ValueError, match=r"'stem' .*-127.*default\.symmetric=True"
  ):
    targets.find('tensorrt').write(record_network(), None)


@pytest.mark.parametrize(
  ('form', 'rule'),
  [
    ({'pixels': 'uint8'}, 'takes float32 images'),
    ({'activations': 'uint8'}, 'int8 alone'),
    ({'bias': 'int32'}, 'bias: .* int8 alone'),
    ({'flatten': 'integers'}, 'no Flatten of INT8'),
  ],
)
def test_a_graph_that_breaks_a_rule_of_tensorrt_is_refused(form, rule):
  tensorrt.check_model(onnx_qdq.to_model(PROGRAM, tensorrt._FORM))
  form = dataclasses.replace(tensorrt._FORM, **form)
  with pytest.raises(ValueError, match=rule):
    tensorrt.check_model(onnx_qdq.to_model(PROGRAM, form))


def test_a_zero_point_in_a_graph_is_refused_for_tensorrt():
  model = onnx_qdq.to_model(small_program(), tensorrt._FORM)
  with pytest.raises(ValueError, match=r'embedding.* zero points of 0'):
    tensorrt.check_model(model)


@pytest.mark.parametrize(
  ('form', 'rule'),
  [
    ({'opset': 21}, 'opset 19, not 21'),
    ({'batch': 'batch'}, 'N fixed'),
    ({'pixels': 'uint8'}, r'float32 \[N, 3'),
  ],
)
def test_a_graph_that_breaks_a_rule_of_rknn_is_refused(form, rule):
  rknn.check_model(onnx_qdq.to_model(PROGRAM, rknn._FORM))
  form = dataclasses.replace(rknn._FORM, **form)
  with pytest.raises(ValueError, match=rule):
    rknn.check_model(onnx_qdq.to_model(PROGRAM, form))


def test_rknn_wants_every_zero_point_written_out():
  model = onnx_qdq.to_model(PROGRAM, rknn._FORM)
  del model.graph.node[-2].input[2]
  with pytest.raises(ValueError, match='wants a zero point'):
    rknn.check_model(model)


@pytest.mark.parametrize('limit', [2**17, 2**19, 2**30])
def test_sums_that_a_runtime_cannot_hold_are_cut_into_parts(limit):
  program = small_program(image=(4, 4, 3), channels=7)
  images = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), np.uint8)
  model = onnx_integer.to_model(program, widest_sum=limit)
  dense = program.operators[-1]
  reach = program.tensors['flat'].reach
  graph = {c.name: c for c in model.graph.initializer}
  sizes = [48]
  if limit < 2**30:
    sizes = onnx.numpy_helper.to_array(graph['embedding:split'])
    assert len(sizes) > 1
  assert sum(sizes) == 48
  for part in np.split(dense.weights.astype(int), np.cumsum(sizes)[:-1]):
    assert reach * np.abs(part).sum(0).max() <= limit
  got = onnx_runtime.make_runner(model.SerializeToString())(images)
  wanted = oracle.run(program, images)[program.output]
  np.testing.assert_array_equal(got[program.output], wanted)


def test_a_sum_that_no_part_keeps_small_is_refused():
  with pytest.raises(ValueError, match=r"'embedding' .*up to 1000"):
    onnx_integer.to_model(small_program(), widest_sum=1000)


def test_openvino_refuses_squares_that_float32_does_not_hold(monkeypatch):
  program = record_network()
  openvino._check_sums(program)
  monkeypatch.setattr(openvino, '_WIDEST_SUM', 10**5)
  with pytest.raises(ValueError, match=r"'normalized' .*leave --normalize out"):
    openvino._check_sums(program)


@pytest.mark.parametrize('name', ['onnxruntime-qdq', 'openvino-qdq'])
def test_a_qdq_file_says_how_far_it_is_and_keeps_no_contract(name, tmp_path):
  program = record_network()
  result = roundtrip.export({name: program}, None, tmp_path, network_images(4))[
    name
  ]
  if result.not_run:
    pytest.skip(result.not_run)
  assert result.contract is None
  assert not result.broken
  # Seen: 0.98 at least, for a network of random weights.
  assert 0.9 < result.nearness.least_cosine <= 1
