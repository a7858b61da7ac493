"""Each rule of the contract `xnnpack`, and where float32 may appear."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xnnpack_oracle as oracle
from jaxpr_walk import all_equations
from kernel_checks import all_pairs, check_against_oracle
from small_programs import network_images, record_network

from faceqat.integer import operators as ops
from faceqat.integer import program, xnnpack
from faceqat.integer.evaluator import make_evaluator
from faceqat.integer.tensors import Tensor

# What may touch a float32: the rescaling of an integer sum.
RESCALING = {
  'convert_element_type',
  'broadcast_in_dim',
  'mul',
  'clamp',
  'round',
  'jit',
}


def check(operator, inputs, output, arrays):
  """The kernel gives the oracle's bits; returns them."""
  xnnpack.check_operator(operator, inputs, output)
  return check_against_oracle(
    operator, arrays, inputs, output, xnnpack.compute, oracle
  )


def dense(scale, bias, weights=None):
  scale = np.asarray(scale, np.float32)
  if weights is None:
    weights = np.ones((1, len(scale)), np.int8)
  return ops.Dense(
    name='out',
    inputs=('in',),
    weights=weights,
    weight_scale=scale,
    bias=np.asarray(bias, np.int32),
  )


def tie_layer(rng, channels=256):
  """A dense layer whose biases put sums next to ties, for any scale."""
  source = Tensor('in', (1,), 0.037, -3)
  output = Tensor('out', (channels,), 0.21, 11)
  scale = np.geomspace(1e-7, 0.1, channels).astype(np.float32)
  factors = source.scale * scale.astype(np.float64) / output.scale
  bias = (rng.integers(-139, 116, channels) + 0.5) / factors
  bias = np.clip(np.rint(bias), -(2**30), 2**30)
  return dense(scale, bias), source, output


def test_halves_go_to_even_and_the_zero_point_comes_after():
  source, output = Tensor('in', (1,), 1.0, 0), Tensor('out', (1,), 1.0, 3)
  x = np.array([[-5], [-3], [-1], [1], [3], [5]], np.int8)
  got = check(dense([0.5], [0]), [source], output, [x])
  assert (got[:, 0] - 3).tolist() == [-2, -2, 0, 0, 2, 2]


def test_scale_is_the_product_first_and_the_quotient_then():
  operator, source, output = tie_layer(np.random.default_rng(0))
  scales = xnnpack.weighted_scales(operator, source, output)
  assert scales.dtype == np.float32
  wanted = oracle.layer_scale(operator, source, output)
  np.testing.assert_array_equal(scales, wanted)
  in_float64 = source.scale * np.float64(operator.weight_scale) / output.scale
  other_order = np.float32(source.scale) / np.float32(output.scale)
  assert (scales != in_float64.astype(np.float32)).any()
  assert (scales != other_order * operator.weight_scale).any()


@pytest.mark.parametrize('sign', [1, -1])
def test_a_sum_beyond_every_output_is_cut_and_does_not_wrap(sign):
  source, output = Tensor('in', (1,), 1.0, 0), Tensor('out', (1,), 1.0, 7)
  x = np.array([[1]], np.int8)
  got = check(dense([200.0], [sign * (2**30)]), [source], output, [x])
  assert got.item() == (127 if sign > 0 else -128)


def test_halves_of_an_addition_go_up():
  tensors = [Tensor(name, (2,), 0.5, 0) for name in ('in', 'in2')]
  operator = ops.Add(name='out', inputs=('in', 'in2'))
  arrays = [np.array([[-3, 3]], np.int8), np.array([[0, 0]], np.int8)]
  got = check(operator, tensors, Tensor('out', (2,), 1.0, 0), arrays)
  assert got.tolist() == [[-1, 2]]


def refused(operator, inputs, output):
  with pytest.raises(ValueError, match=r"'out'.*contract xnnpack") as error:
    xnnpack.check_operator(operator, inputs, output)
  return str(error.value)


def test_scales_that_litert_does_not_take_are_refused():
  source, output = Tensor('in', (1,), 1.0, 0), Tensor('out', (2,), 1.0, 0)
  message = refused(dense([0.5, 256.0], [0, 0]), [source], output)
  assert 'channel 1: its scale is 256' in message
  small = Tensor('in', (1,), 1e-30, 0)
  message = refused(dense([0.5, 1e-20], [0, 0]), [small], output)
  assert 'channel 1' in message
  xnnpack.check_operator(dense([255.9, 1e-30], [0, 0]), [source], output)


@pytest.mark.parametrize(
  ('kind', 'scales', 'taken'),
  [
    (ops.Add, (2.0**-10, 255.9), True),
    (ops.Add, (1.0, 256.0), False),
    (ops.Mul, (1.0, 255.9), True),
    (ops.Mul, (16.0, 16.0), False),
    (ops.Requantize, (2.0**-8,), True),
    (ops.Requantize, (2.0**-8.01,), False),
    (ops.Requantize, (128.0,), True),
    (ops.Requantize, (128.1,), False),
    (ops.Logistic, (1e-5,), True),
    (ops.Logistic, (1e30,), True),
  ],
)
def test_limits_are_those_of_the_delegate(kind, scales, taken):
  arrays = all_pairs()[: len(scales)]
  shape = arrays[0].shape[1:]
  inputs = [Tensor(f'in{i}', shape, s, 0) for i, s in enumerate(scales)]
  operator = kind(name='out', inputs=tuple(t.name for t in inputs))
  output = Tensor('out', shape, 1 / 256, -128)
  if kind is not ops.Logistic:
    output = dataclasses.replace(output, scale=1.0, zero_point=0)
  if taken:
    check(operator, inputs, output, arrays)
  else:
    refused(operator, inputs, output)


def traced(contract='xnnpack'):
  network = record_network()
  return dataclasses.replace(network, contract=contract)


@pytest.fixture(scope='module')
def images():
  return network_images()


def test_whole_network_equals_the_oracle_at_every_tensor(images):
  network = traced()
  wanted = oracle.run(network, images)
  got = make_evaluator(network, taps=True)(images)
  assert got.keys() == wanted.keys()
  for name, value in wanted.items():
    np.testing.assert_array_equal(got[name], value, err_msg=name)
  # The other contract gives something else.
  reference = make_evaluator(traced('tflite_ref'))(images)
  assert (np.asarray(reference) != wanted[network.output]).any()


@pytest.mark.parametrize('x64', [False, True])
def test_float32_appears_in_the_rescaling_alone(images, x64):
  with jax.enable_x64(x64):
    closed = jax.make_jaxpr(make_evaluator(traced()))(images)
  with_float = set()
  for equation in all_equations(closed.jaxpr):
    name = equation.primitive.name
    types = [v.aval.dtype for v in (*equation.invars, *equation.outvars)]
    assert all(dtype.itemsize <= 4 for dtype in types), name
    if any(jnp.issubdtype(dtype, jnp.floating) for dtype in types):
      with_float.add(name)
    if name in ('dot_general', 'conv_general_dilated'):
      assert {dtype.name for dtype in types[:2]} <= {'int8', 'uint8'}
      assert types[2] == jnp.int32
  assert with_float <= RESCALING
  assert {'convert_element_type', 'mul', 'round'} <= with_float


def test_evaluator_names_the_operator_that_the_contract_refuses():
  image = Tensor('image', (1, 1, 3), 1 / 128, 0)
  output = Tensor('shrunk', (1, 1, 3), 4.0, 0)
  network = program.IntegerProgram(
    tensors={'image': image, 'shrunk': output},
    operators=(ops.Requantize(name='shrunk', inputs=('image',)),),
    input='image',
    output='shrunk',
  )
  make_evaluator(network)
  with pytest.raises(ValueError, match=r"Operator 'shrunk'.*xnnpack"):
    make_evaluator(dataclasses.replace(network, contract='xnnpack'))
