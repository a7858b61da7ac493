"""PReLU in its two forms."""

import functools

import integer_oracle as oracle
import jax
import jax.numpy as jnp
import layer_network as table
import numpy as np
from defaults import make_spec
from layer_network import random_variables
from prelu_network import IMAGE, PReLUNetwork

from faceqat.integer import operators as ops
from faceqat.integer.evaluator import make_evaluator
from faceqat.quant.prelu import prelu
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode

NAMES = ('stem_prelu', 'depthwise_prelu')
SLOPES = np.linspace(-1.5, 0.9, 8, dtype=np.float32)


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


@functools.cache
def lowered():
  """A calibrated network in the form 'sum'; its images and program."""
  network = PReLUNetwork()
  images = np.random.default_rng(3).integers(0, 256, (16, *IMAGE), np.uint8)
  variables = random_variables(network, IMAGE)
  for name in NAMES:
    variables['params'][name]['alpha'] = SLOPES
  variables = table.calibrate(network, variables, images)
  return network, variables, images, table.lower(network, variables, IMAGE)


def test_slopes_of_a_sum_are_not_rounded():
  program = lowered()[3]
  found = {operator.name: operator for operator in program.operators}
  for name in NAMES:
    operator = found[name]
    assert isinstance(operator, ops.SumPReLU)
    slopes = 1 + operator.weights * operator.weight_scale
    np.testing.assert_allclose(slopes, SLOPES, atol=1e-6)


def test_both_forms_are_one_function_in_float():
  _, variables, images, _ = lowered()
  run = jax.jit(
    lambda v: [
      PReLUNetwork(make_spec({'prelu': form})).apply(v, images, FLOAT)
      for form in ('sum', 'operator')
    ]
  )
  one, other = map(np.asarray, run(variables))
  # x + (alpha - 1) x rounds twice where alpha x rounds once; then sums of 512
  # float32 terms.
  np.testing.assert_allclose(one, other, atol=2.0**-14 * np.abs(other).max())


def test_integers_of_a_sum_are_those_of_fake_quantization():
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
    # A step where a sum or its rescaling lies next to a tie; a PReLU passes on
    # that of its input, up to 1.5 times, and adds that of its rise.
    assert difference.max() <= (1 if name == 'stem' else 3)
    assert np.mean(difference > 0) < 0.03
    assert len(np.unique(values[name])) > 100


def test_a_sum_learns_its_slopes():
  network, variables, images, _ = lowered()
  mode = Mode(train=True, quantize=True)

  def loss(params):
    y, _ = network.apply(
      {**variables, 'params': params}, images, mode, mutable=['batch_stats']
    )
    return jnp.sum(y**2)

  gradients = jax.jit(jax.grad(loss))(variables['params'])
  for name in NAMES:
    slopes = gradients[name]['alpha']
    assert np.isfinite(slopes).all()
    assert np.all(slopes != 0)
