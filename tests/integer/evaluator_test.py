"""The whole evaluator against the oracle; no float on the way."""

import integer_oracle as oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxpr_walk import all_equations, forbidden_types
from small_programs import network_images, record_network

from faceqat.integer import operators as ops
from faceqat.integer.evaluator import make_evaluator


@pytest.fixture(scope='module')
def images():
  return network_images()


@pytest.mark.parametrize(('bits', 'weight_bits'), [(8, 8), (8, 4), (5, 3)])
def test_whole_network_equals_the_oracle_at_every_tensor(
  images, bits, weight_bits
):
  network = record_network(bits, weight_bits)
  kinds = {type(operator).__name__ for operator in network.operators}
  assert kinds == set(ops.OPERATORS)
  wanted = oracle.run(network, images)
  got = make_evaluator(network, taps=True)(images)
  assert got.keys() == wanted.keys() == network.tensors.keys()
  for name, value in wanted.items():
    assert got[name].dtype == jnp.int8
    np.testing.assert_array_equal(got[name], value, err_msg=name)
  # A network that answers the same to everything would prove nothing.
  assert len(np.unique(wanted['embedding'], axis=0)) > 2
  embedding = make_evaluator(network)(images)
  np.testing.assert_array_equal(embedding, wanted[network.output])


@pytest.mark.parametrize('x64', [False, True])
def test_evaluator_has_no_float_and_no_64_bit_type(images, x64):
  network = record_network()
  with jax.enable_x64(x64):
    evaluate = make_evaluator(network)
    assert forbidden_types(evaluate, images) == set()
    wanted = oracle.run(network, images)[network.output]
    np.testing.assert_array_equal(evaluate(images), wanted)


def _through_float(x):
  return (x.astype(jnp.float32) * 2).astype(x.dtype)


def _hidden_in_custom_jvp(x):
  square = jax.custom_jvp(_through_float)
  square.defjvp(lambda primals, tangents: (primals[0], tangents[0]))
  return square(x)


@pytest.mark.parametrize(
  'function',
  [
    lambda x: x * 0.5,
    _through_float,
    jax.jit(jax.jit(_through_float)),
    lambda x: jax.lax.scan(
      lambda c, _: (c + jnp.int32(jnp.sqrt(c)), None), x, None, 3
    ),
    lambda x: jax.lax.cond(x > 0, lambda v: v, lambda v: jnp.int32(v * 1.5), x),
    lambda x: jax.lax.while_loop(
      lambda v: v < 9, lambda v: jnp.int32(v + 1.0), x
    ),
    _hidden_in_custom_jvp,
    jax.checkpoint(_through_float),
  ],
)
def test_the_search_for_floats_finds_hidden_ones(function):
  assert forbidden_types(function, jnp.int32(3))


def test_the_search_finds_64_bit_integers():
  with jax.enable_x64(True):
    widened = jax.jit(lambda x: x.astype(jnp.int64).astype(jnp.int32))
    assert forbidden_types(widened, jnp.int32(3))


def test_products_take_8_bit_operands_and_sum_in_int32(images):
  network = record_network()
  closed = jax.make_jaxpr(make_evaluator(network))(images)
  found = set()
  for equation in all_equations(closed.jaxpr):
    if equation.primitive.name in ('dot_general', 'conv_general_dilated'):
      found.add(equation.primitive.name)
      for operand in equation.invars:
        assert operand.aval.dtype.name in ('int8', 'uint8')
      assert equation.outvars[0].aval.dtype == jnp.int32
  # A grouped convolution must not appear: depthwise is shifts and products.
  assert found == {'dot_general', 'conv_general_dilated'}


def test_integers_stand_for_the_reals_of_the_float_network(images):
  """Scales and zero points mean what they say, apart from any kernel."""
  network = record_network()
  values = make_evaluator(network, taps=True)(images)

  def real(name):
    tensor = network.tensors[name]
    return tensor.scale * (np.float64(values[name]) - tensor.zero_point)

  np.testing.assert_array_equal(real('image'), (images - 128.0) / 128)
  operators = {operator.name: operator for operator in network.operators}
  stem, dense = operators['stem'], operators['embedding']
  float_sum = (
    jax.lax.conv_general_dilated(
      real('image').astype(np.float32),
      (stem.weights * stem.weight_scale).astype(np.float32),
      (2, 2),
      ((1, 1), (1, 1)),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    + stem.bias * stem.weight_scale / 128
  )
  wanted = {
    'stem': np.clip(float_sum, 0, 255 * network.tensors['stem'].scale),
    'add': real('project') + real('stem'),
    'mean': real('relu').mean((1, 2)),
    'embedding': real('joined') @ (dense.weights * dense.weight_scale)
    + dense.bias * dense.weight_scale * network.tensors['joined'].scale,
  }
  for name, value in wanted.items():
    tensor = network.tensors[name]
    low = tensor.scale * (tensor.qmin - tensor.zero_point)
    high = tensor.scale * (tensor.qmax - tensor.zero_point)
    # Half a step, and a quarter for the first of two roundings, which is to
    # halves of a step at the coarsest (a factor of 1/4 to 1/2).
    np.testing.assert_allclose(
      real(name), np.clip(value, low, high), rtol=0, atol=0.75 * tensor.scale
    )


def test_images_of_another_kind_are_refused(images):
  network = record_network()
  evaluate = make_evaluator(network)
  with pytest.raises(ValueError, match=r'uint8 images \[B, 16, 16, 3\].*int8'):
    evaluate(images.astype(np.int8))
  with pytest.raises(ValueError, match=r'it got uint8\[8, 16, 15, 3\]'):
    evaluate(images[:, :, 1:])


def test_result_does_not_depend_on_the_batch(images):
  network = record_network()
  evaluate = make_evaluator(network)
  together = evaluate(images)
  apart = [evaluate(images[i : i + 1]) for i in range(len(images))]
  np.testing.assert_array_equal(together, np.concatenate(apart))
