"""Networks in float as ONNX: the numbers of the model, and their ranges."""

import functools
import json

import jax
import layer_network
import ml_collections
import numpy as np
import onnx
import prelu_network
import pytest
from defaults import make_spec
from small_programs import PROGRAM

from faceqat.calibration.lower import lower
from faceqat.export import onnx_float, onnx_runtime, targets
from faceqat.export.targets import roundtrip
from faceqat.integer import tracing
from faceqat.models.network import Network
from faceqat.quant.spec import FAKE_QUANT, FLOAT

FORMS = ('operator', 'sum')


@functools.cache
def with_prelus(form):
  """A network with PReLUs of this form, its variables and images."""
  network = prelu_network.PReLUNetwork(make_spec({'prelu': form}))
  shape = prelu_network.IMAGE
  images = np.random.default_rng(3).integers(0, 256, (4, *shape), np.uint8)
  variables = layer_network.random_variables(network, shape)
  return network, layer_network.calibrate(network, variables, images), images


def pixels(images):
  """As the files take them."""
  return ((np.float32(images) - 128) / 128).transpose(0, 3, 1, 2)


@pytest.mark.parametrize('form', ['every layer', *FORMS])
def test_the_file_computes_what_the_network_computes_in_float(form):
  if form in FORMS:
    network, variables, images = with_prelus(form)
  else:
    network, variables, images, _ = layer_network.lowered()
  shape, images = images.shape[1:], images[:4]
  program, reals = tracing.trace_with_reals(
    lambda image: network.apply(variables, image, FAKE_QUANT),
    image_shape=shape,
  )
  wanted = jax.jit(lambda x: network.apply(variables, x, FLOAT))(images)
  model = onnx_float.to_model(program, reals)
  run = onnx_runtime.make_runner(model.SerializeToString())
  got = np.concatenate([run(x[None])['embedding'] for x in pixels(images)])
  # Sums of float32 in another order, and a norm that is a factor of each weight
  # in place of the sum: 2e-6 of the largest was the most that was seen.
  largest = np.abs(wanted).max()
  np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * largest)
  assert np.abs(got[1:] - got[:-1]).max() > 0.1 * largest
  kinds = {node.op_type for node in model.graph.node}
  assert not kinds & {'QuantizeLinear', 'DequantizeLinear', 'Cast'}
  image = model.graph.input[0].type.tensor_type
  assert image.elem_type == onnx.TensorProto.FLOAT
  sides = [side.dim_value for side in image.shape.dim]
  assert sides == [1, 3, *shape[:2]]


def test_ranges_are_those_of_the_program_under_its_names():
  *_, program = layer_network.lowered()
  ranges = json.loads(json.dumps(onnx_float.ranges(program)))
  assert list(ranges) == list(program.tensors)
  assert ranges['image'] == {
    'min': -1.0,
    'max': 127 / 128,
    'scale': 1 / 128,
    'zero_point': 0,
    'bits': 8,
  }
  for name, tensor in program.tensors.items():
    entry = ranges[name]
    steps = [entry[end] / entry['scale'] for end in ('min', 'max')]
    wanted = [tensor.qmin, tensor.qmax]
    assert [round(step) + entry['zero_point'] for step in steps] == wanted


def test_a_program_alone_has_no_float_network(tmp_path):
  with pytest.raises(ValueError, match='--target=ncnn: it is written from'):
    roundtrip.export({'ncnn': PROGRAM}, None, tmp_path, np.zeros((0,)))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['ncnn', 'mnn'])
def test_other_runtimes_give_the_embedding_of_the_float_network(name, tmp_path):
  network, variables, images = with_prelus('sum')
  config = ml_collections.ConfigDict(
    {'data': {'image_size': prelu_network.IMAGE[:2]}, 'model': {'name': 'x'}}
  )
  network = Network(network, variables, config, step=0)
  program = lower(network)
  result = roundtrip.export({name: program}, network, tmp_path, images)[name]
  assert set(result.files) == {'model.onnx', 'ranges.json'}
  if result.not_run:
    assert f'pip install faceqat[{name}]' in result.not_run
    pytest.skip(result.not_run)
  assert result.nearness.differing is None
  # Of eight bits, the float network being exact.
  assert result.nearness.least_cosine > 0.99
  wanted = network.model.apply(variables, images, FLOAT)
  got = targets.find(name).run(program, tmp_path / name)(images)
  # ncnn's fast convolutions lose a few bits: 1e-4 of the largest.
  assert np.abs(got - wanted).max() < 1e-3 * np.abs(wanted).max()
