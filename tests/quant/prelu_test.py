"""PReLU in its two forms."""

import functools

import integer_oracle as oracle
import jax
import jax.numpy as jnp
import layer_network as table
import numpy as np
from layer_network import random_variables
from prelu_network import IMAGE, PReLUNetwork

from faceqat.integer import operators as ops
from faceqat.integer.evaluator import make_evaluator
from faceqat.quant.prelu import prelu
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode


def test_the_gradients_of_prelu_are_those_of_its_formula():
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (2, 5, 5, 4)).at[0, 0, 0].set(0.0)
  alpha = jax.random.uniform(keys[1], (4,), minval=-0.5, maxval=1.5)
  weights = jax.random.normal(keys[2], x.shape)

  def gradients(function):
    return jax.grad(lambda *a: jnp.sum(weights * function(*a)), (0, 1))(
      x, alpha
    )

  formula = gradients(lambda x, alpha: jnp.where(x >= 0, x, alpha * x))
  for ours, expected in zip(gradients(prelu), formula):
    # A sum of 50 float32 terms of size 1, in another order.
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


SLOPES = np.linspace(-1.5, 0.9, 8, dtype=np.float32)


@functools.cache
def lowered():
  """A calibrated network in the form 'maximum'; its images and program."""
  network = PReLUNetwork()
  images = np.random.default_rng(3).integers(0, 256, (16, *IMAGE), np.uint8)
  variables = random_variables(network, IMAGE)
  for name in ('stem_prelu', 'depthwise_prelu'):
    variables['params'][name]['alpha'] = SLOPES
  variables = table.calibrate(network, variables, images)
  return network, variables, images, table.lower(network, variables, IMAGE)


def test_the_maximum_shares_the_range_of_what_it_reads():
  _, variables, _, program = lowered()
  found = {operator.name: operator for operator in program.operators}
  for name in ('stem', 'depthwise'):
    operator = found[f'{name}_prelu']
    assert isinstance(operator, ops.MaximumPReLU)
    assert operator.inputs == (name,)
    assert (
      program.tensors[name].qparams == program.tensors[operator.name].qparams
    )
    assert name not in variables['quant_stats']
    np.testing.assert_allclose(
      operator.alpha * operator.alpha_scale, SLOPES, rtol=1e-6
    )


def test_the_range_holds_what_a_negative_slope_makes():
  network, variables, images, program = lowered()
  _, seen = network.apply(variables, images, FLOAT, mutable=['intermediates'])
  (highest,) = seen['intermediates']['stem_prelu']['output']
  tensor = program.tensors['stem_prelu']
  reach = tensor.scale * (tensor.qmax - tensor.zero_point)
  assert np.max(highest) <= reach + tensor.scale


def test_integers_of_the_maximum_are_those_of_fake_quantization():
  network, variables, images, program = lowered()
  _, seen = network.apply(
    variables, images, FAKE_QUANT, mutable=['intermediates']
  )
  values = oracle.run(program, images)
  got = make_evaluator(program, taps=True)(images)
  for name in program.tensors:
    np.testing.assert_array_equal(got[name], values[name], err_msg=name)
  for name in ('stem', 'stem_prelu', 'depthwise', 'depthwise_prelu'):
    tensor = program.tensors[name]
    (output,) = seen['intermediates'][name]['output']
    steps = np.rint(np.float64(output) / tensor.scale) + tensor.zero_point
    difference = np.abs(steps - values[name])
    # A step where a sum or its rescaling lies next to a tie; slopes of up to
    # 1.5 pass that on as up to two.
    assert difference.max() <= (1 if name == 'stem' else 2)
    assert np.mean(difference > 0) < 0.02
    assert len(np.unique(values[name])) > 100


def test_the_maximum_learns_its_slopes():
  network, variables, images, _ = lowered()
  mode = Mode(train=True, quantize=True)

  def loss(params):
    y, _ = network.apply(
      {**variables, 'params': params}, images, mode, mutable=['batch_stats']
    )
    return jnp.sum(y**2)

  gradients = jax.jit(jax.grad(loss))(variables['params'])
  for name in ('stem_prelu', 'depthwise_prelu'):
    slopes = gradients[name]['alpha']
    assert np.isfinite(slopes).all()
    assert np.all(slopes != 0)
