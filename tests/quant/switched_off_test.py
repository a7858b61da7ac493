"""Channels that a batch norm has switched off can come back in training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from defaults import batch_norm, batch_renorm, make_spec

from faceqat.quant.layers import QuantConv, QuantDense
from faceqat.quant.prelu import PReLU
from faceqat.quant.spec import CALIBRATE, FAKE_QUANT, FLOAT, Mode

CHANNELS = 6
FLOAT_TRAINING = Mode(train=True, observe=True)
QAT = Mode(train=True, quantize=True, observe=True)
FROZEN = Mode(train=True, quantize=True, observe=True, freeze_bn=True)
LAYERS = {
  'conv': functools.partial(QuantConv, features=CHANNELS),
  'depthwise': functools.partial(QuantConv, depthwise=True),
  'dense': functools.partial(QuantDense, features=CHANNELS),
}
SPECS = {
  'per_channel': {},
  'per_tensor': {'per_channel': False},
  'four_bits': {'weight_bits': 4},
  'learned': {'learned_steps': True},
}
SHAPE = (8, 5, 5, CHANNELS)
TARGET = np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32)


def problem(name, spec, off, norm):
  """A layer, its variables with these gammas at 0, and its input."""
  layer = LAYERS[name](norm=norm, quant=make_spec(SPECS[spec], {}))
  x = np.random.default_rng(0).normal(0.2, 1, SHAPE).astype(np.float32)
  x = x[:, 0, 0] if name == 'dense' else x
  variables = initial(layer, x)
  params = jax.tree.map(np.array, variables['params'])
  params['bn']['scale'][off] = 0
  if spec == 'learned':
    params['kernel_step'] += 0.01
    params['quantizer']['step'] += 0.05
  return layer, {**variables, 'params': params}, x


@functools.partial(jax.jit, static_argnums=0)
def calibrated(layer, variables, x):
  """With the ranges of these outputs alone."""
  empty = jax.tree.map(jnp.zeros_like, variables['quant_stats'])
  _, observed = layer.apply(
    {**variables, 'quant_stats': empty}, x, CALIBRATE, mutable=['quant_stats']
  )
  return {**variables, **observed}


@functools.partial(jax.jit, static_argnums=0)
def initial(layer, x):
  variables = layer.init(jax.random.key(0), x, FLOAT)
  return calibrated(layer, variables, x)


@functools.partial(jax.jit, static_argnames=('layer', 'mode'))
def gradients(layer, variables, x, mode):
  """Of a projection of the output, by parameter; and the moving statistics."""

  def project(params):
    y, updated = layer.apply(
      {**variables, 'params': params},
      x,
      mode,
      mutable=['batch_stats', 'quant_stats'],
    )
    target = TARGET if y.ndim == 4 else TARGET[:, 0, 0]
    return jnp.sum(y * target), updated

  found, updated = jax.grad(project, has_aux=True)(variables['params'])
  return found, updated


@pytest.mark.parametrize('mode', [QAT, FROZEN], ids=['batch', 'frozen'])
@pytest.mark.parametrize('spec', SPECS)
@pytest.mark.parametrize('name', LAYERS)
def test_a_gamma_of_zero_has_the_gradient_of_the_float_network(
  name, spec, mode
):
  norm = batch_norm(momentum=0.5)
  got, updated = gradients(*problem(name, spec, [2], norm), mode)
  plain = Mode(train=True, observe=True, freeze_bn=mode.freeze_bn)
  # In float all are one: compiled once.
  network = problem(name, 'per_channel', [2], norm)
  wanted, plain_updated = gradients(*network, plain)
  got, wanted = got['bn']['scale'][2], wanted['bn']['scale'][2]
  assert abs(wanted) > 0.1
  # No rounded weight is in it; float32 sums of up to 200 terms.
  np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
  if mode == QAT:
    for statistic in ('mean', 'var'):
      np.testing.assert_allclose(
        updated['batch_stats']['bn'][statistic][2],
        plain_updated['batch_stats']['bn'][statistic][2],
        rtol=1e-5,
        atol=1e-6,
      )


@pytest.mark.parametrize(
  'norm', [batch_norm(momentum=0.5), batch_renorm(momentum=0.5)], ids=str
)
@pytest.mark.parametrize('off', [[2], [*range(CHANNELS)]], ids=['one', 'all'])
def test_it_comes_back_in_a_few_steps(off, norm):
  layer, variables, x = problem('conv', 'per_channel', off, norm)
  for _ in range(3):
    found, updated = gradients(layer, variables, x, QAT)
    params = jax.tree.map(
      lambda value, slope: value - 0.01 * slope, variables['params'], found
    )
    variables = {**variables, **updated, 'params': params}
  variables = calibrated(layer, variables, x)
  y = jax.jit(layer.apply, static_argnums=2)(variables, x, FAKE_QUANT)
  spread = np.std(np.asarray(y), (0, 1, 2))[np.array(off)]
  # Three steps of the float gradient, which is some ten.
  assert np.all(spread > 0.01)


@pytest.mark.parametrize('spec', SPECS)
def test_weights_that_are_all_zero_have_the_gradient_of_float(spec):
  def gradient(spec, mode):
    layer, variables, x = problem('conv', spec, [], batch_norm(momentum=0.5))
    variables['params']['kernel'][..., 2] = 0
    return gradients(layer, variables, x, mode)[0]['kernel'][..., 2]

  got = gradient(spec, QAT)
  wanted = gradient('per_channel', FLOAT_TRAINING)
  assert np.abs(wanted).max() > 1
  # The output's quantizer stops what lies outside its range, half a step.
  np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('others', [0.25, 0.0])
def test_a_slope_of_zero_has_its_gradient(others):
  layer = PReLU(quant=make_spec())
  x = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
  variables = initial(layer, x)
  alpha = np.full(CHANNELS, others, np.float32)
  alpha[2] = 0
  variables = calibrated(layer, {**variables, 'params': {'alpha': alpha}}, x)

  def project(alpha, mode):
    y = layer.apply({**variables, 'params': {'alpha': alpha}}, x, mode)
    return jnp.sum(y * TARGET)

  gradient = jax.jit(jax.grad(project), static_argnums=1)
  wanted = gradient(alpha, FLOAT)[2]
  assert abs(wanted) > 0.1
  # Below 0 the output is 0, and its quantizer stops nothing there.
  got = gradient(alpha, FAKE_QUANT)[2]
  np.testing.assert_allclose(got, wanted, rtol=1e-5)
