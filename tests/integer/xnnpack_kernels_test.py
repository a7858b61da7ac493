"""Each rule of the contract `xnnpack`, and where float32 may appear."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xnnpack_oracle as oracle
from jaxpr_walk import all_equations
from kernel_checks import all_pairs, int8
from small_programs import small_network

from faceqat.integer import operators as ops
from faceqat.integer import program, record, xnnpack
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


def all_values(shape=(1, 16, 16, 1)):
  return np.arange(-128, 128, dtype=np.int8).reshape(shape)


def check(operator, inputs, output, arrays):
  """Compiled and step by step it is what the oracle says; returns it."""
  operator.check(inputs, output)
  xnnpack.check_operator(operator, inputs, output)

  def kernel(*values):
    return xnnpack.compute(operator, list(values), inputs, output)

  values = [array.astype(np.int64) for array in arrays]
  wanted = oracle.run_operator(operator, values, inputs, output)
  for function in (jax.jit(kernel), kernel):
    got = function(*map(jnp.asarray, arrays))
    assert got.dtype == jnp.int8
    np.testing.assert_array_equal(got, wanted)
  return np.asarray(got)


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


def test_dense_layer_on_ties_equals_the_oracle():
  operator, source, output = tie_layer(np.random.default_rng(0))
  got = check(operator, [source], output, [all_values((256, 1))])
  assert len(np.unique(got)) > 200


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


@pytest.mark.parametrize('depthwise', [False, True])
def test_convolution_equals_the_oracle(depthwise):
  rng = np.random.default_rng(1)
  operator = ops.Conv2D(
    name='out',
    inputs=('in',),
    weights=int8(rng, 3, 2, 1 if depthwise else 6, 6, low=-127),
    weight_scale=np.geomspace(1e-6, 0.3, 6).astype(np.float32),
    bias=rng.integers(-9000, 9000, 6).astype(np.int32),
    strides=(1, 2),
    padding=((1, 0), (1, 1)),
    depthwise=depthwise,
    clamp=(-100, 90),
  )
  source = Tensor('in', (7, 8, 6), 0.05, 100)
  output = Tensor('out', operator.output_shape([source]), 0.3, -5)
  check(operator, [source], output, [int8(rng, 3, 7, 8, 6)])


@pytest.mark.parametrize('sign', [1, -1])
def test_a_sum_beyond_every_output_is_cut_and_does_not_wrap(sign):
  source, output = Tensor('in', (1,), 1.0, 0), Tensor('out', (1,), 1.0, 7)
  x = np.array([[1]], np.int8)
  got = check(dense([200.0], [sign * (2**30)]), [source], output, [x])
  assert got.item() == (127 if sign > 0 else -128)


# The third has an input below what the delegate takes.
@pytest.mark.parametrize(
  'scales', [(0.5, 0.25, 1.0), (0.37, 80.0, 0.61), (2**-12, 1.1, 1.0)]
)
def test_add_equals_the_oracle(scales):
  first = Tensor('in', (256, 1, 256), scales[0], -128)
  second = Tensor('in2', (256, 1, 256), scales[1], 100)
  output = Tensor('out', (256, 1, 256), scales[2], 9)
  operator = ops.Add(name='out', inputs=('in', 'in2'))
  check(operator, [first, second], output, all_pairs())


def test_halves_of_an_addition_go_up():
  tensors = [Tensor(name, (2,), 0.5, 0) for name in ('in', 'in2')]
  operator = ops.Add(name='out', inputs=('in', 'in2'))
  arrays = [np.array([[-3, 3]], np.int8), np.array([[0, 0]], np.int8)]
  got = check(operator, tensors, Tensor('out', (2,), 1.0, 0), arrays)
  assert got.tolist() == [[-1, 2]]


@pytest.mark.parametrize('scale', [2.0**-4, 0.0123, 2.0**-18])
@pytest.mark.parametrize('per_channel', [False, True])
def test_mul_equals_the_oracle(scale, per_channel):
  arrays = all_pairs()[::-1]
  if per_channel:
    arrays[1] = all_values((1, 256))
  first = Tensor('in', (256, 1, 256), 0.5, -100)
  second = Tensor('in2', arrays[1].shape[1:], 0.031, 3)
  output = Tensor('out', (256, 1, 256), 0.5 * 0.031 / scale, 5)
  operator = ops.Mul(name='out', inputs=('in', 'in2'))
  check(operator, [first, second], output, arrays)


@pytest.mark.parametrize('ratio', [2**-8, 2**-1, 3 / 512, 0.77, 5 / 512, 2**7])
@pytest.mark.parametrize('zero_point', [-128, 17, 127])
def test_requantize_equals_the_oracle(ratio, zero_point):
  source = Tensor('in', (16, 16, 1), ratio, zero_point)
  output = Tensor('out', (16, 16, 1), 1.0, -17)
  operator = ops.Requantize(name='out', inputs=('in',))
  check(operator, [source], output, [all_values()])


@pytest.mark.parametrize('size', [(1, 1), (7, 7), (3, 5)])
@pytest.mark.parametrize('steps', [1, 6, 34])
@pytest.mark.parametrize('zero_point', [-128, 5, 127])
def test_mean_equals_the_oracle(size, steps, zero_point):
  rng = np.random.default_rng(steps)
  count = size[0] * size[1]
  source = Tensor('in', (*size, 512), 0.0173, zero_point)
  output = Tensor('out', (512,), 0.0173 * 2 * steps / count, -6)
  x = np.clip(
    rng.integers(-128, 128, (4, 1, 1, 512))
    + rng.integers(-9, 10, (4, *size, 512)),
    -128,
    127,
  ).astype(np.int8)
  x[0], x[1] = -128, 127
  operator = ops.Mean(name='out', inputs=('in',))
  check(operator, [source], output, [x])


@pytest.mark.parametrize('scale', [1e-5, 0.021, 0.4, 3.0, 1e30])
@pytest.mark.parametrize('zero_point', [-128, 7, 127])
def test_logistic_equals_the_oracle(scale, zero_point):
  source = Tensor('in', (16, 16, 1), scale, zero_point)
  output = Tensor('out', (16, 16, 1), 1 / 256, -128)
  operator = ops.Logistic(name='out', inputs=('in',))
  check(operator, [source], output, [all_values()])


def test_square_roots_are_those_of_the_reference_rules():
  source = Tensor('in', (16, 16, 1), 0.021, -128)
  output = Tensor('out', (16, 16, 1), 0.01, -128)
  operator = ops.SquareRoot(name='out', inputs=('in',))
  check(operator, [source], output, [all_values()])


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
  ],
)
def test_limits_are_those_of_the_delegate(kind, scales, taken):
  inputs = [Tensor(f'in{i}', (2,), s, 0) for i, s in enumerate(scales)]
  operator = kind(name='out', inputs=tuple(t.name for t in inputs))
  output = Tensor('out', (2,), 1.0, 0)
  if taken:
    xnnpack.check_operator(operator, inputs, output)
  else:
    refused(operator, inputs, output)


def traced(contract='xnnpack'):
  network = record.trace(small_network(), image_shape=(16, 16, 3))
  return dataclasses.replace(network, contract=contract)


@pytest.fixture(scope='module')
def images():
  rng = np.random.default_rng(9)
  images = rng.uniform(0, 256, (8, 16, 16, 3))
  return (images * rng.uniform(0, 1, (8, 1, 1, 3))).astype(np.uint8)


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
