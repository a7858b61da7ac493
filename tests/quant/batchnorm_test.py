"""Folded batch norm and renorm against `nn.BatchNorm` and their definitions."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from backbone_checks import cosines
from defaults import layer_quant

from faceqat.quant.batchnorm import FoldedBatchNorm
from faceqat.quant.norm import BatchNorm, BatchRenorm
from faceqat.quant.quantizers import fake_quant_kernel
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode

BATCH, INPUTS, CHANNELS = 64, 9, 6
MOMENTUM, EPSILON = 0.8, 1e-3
TRAIN = Mode(train=True)
QAT = Mode(train=True, quantize=True)
FROZEN = Mode(train=True, quantize=True, freeze_bn=True)
WEIGHTS = layer_quant()
NORM = FoldedBatchNorm(CHANNELS, BatchNorm(MOMENTUM, EPSILON))
# Half way to its limits, which some channels of the tests exceed.
LIMITS = {'r_max': 1.64, 'd_max': 0.4, 'start': 10, 'r_end': 30, 'd_end': 30}
RENORM = FoldedBatchNorm(CHANNELS, BatchRenorm(MOMENTUM, EPSILON, **LIMITS))
COUNT, R_MAX, D_MAX = 20, 1.32, 0.2


def normal(seed, mean, deviation, *shape):
  rng = np.random.default_rng(seed)
  return rng.normal(mean, deviation, shape).astype(np.float32)


X = normal(0, 0.3, 1, BATCH, INPUTS)
KERNEL = normal(1, 0, 0.4, INPUTS, CHANNELS)
PRODUCT = np.float64(X) @ np.float64(KERNEL)


@pytest.fixture
def variables():
  rng = np.random.default_rng(2)
  scale = np.array([1, -0.7, 0.2, 1.8, -1.1, 0.6], np.float32)
  bias = rng.normal(0, 1, CHANNELS).astype(np.float32)
  mean = rng.normal(0, 0.5, CHANNELS).astype(np.float32)
  var = rng.uniform(0.5, 3, CHANNELS).astype(np.float32)
  return {
    'params': {'scale': scale, 'bias': bias},
    'batch_stats': {'mean': mean, 'var': var},
  }


@pytest.fixture
def counted(variables):
  """Variables of batch renorm."""
  stats = {**variables['batch_stats'], 'count': np.float32(COUNT)}
  return {**variables, 'batch_stats': stats}


def normalise(variables, kernel, x, mode, norm, weights):
  """The output of a dense layer with folded batch norm, and the statistics."""

  def product(factor):
    folded = kernel if factor is None else kernel * factor
    if mode.quantize and weights:
      batch = mode.batch_statistics
      folded = fake_quant_kernel(folded, weights, normalized=batch)
    return x @ folded

  y, updated = norm.apply(variables, product, mode, mutable=['batch_stats'])
  return y, updated['batch_stats']


compiled = jax.jit(normalise, static_argnames=('mode', 'norm', 'weights'))


def run(variables, mode, norm=NORM, weights=WEIGHTS, kernel=KERNEL, x=X):
  return compiled(variables, kernel, x, mode, norm, weights)


def flax_norm(variables, y, train):
  norm = nn.BatchNorm(
    use_running_average=not train, momentum=MOMENTUM, epsilon=EPSILON
  )
  return norm.apply(variables, y, mutable=['batch_stats'])


def folded_kernel(variables):
  """The fake-quantized folded kernel, and its factor, in float64."""
  var = variables['batch_stats']['var']
  factor = variables['params']['scale'] / np.sqrt(var + np.float32(EPSILON))
  quantized = fake_quant_kernel(jnp.asarray(KERNEL * factor), WEIGHTS)
  return np.float64(quantized), np.float64(factor)


def unscaled_product(variables):
  """Of that kernel without its factor, in float64."""
  quantized, factor = folded_kernel(variables)
  return np.float64(X) @ (quantized / factor)


def assert_moved(stats, variables, mean, var):
  """The moving statistics have moved towards those of the batch."""
  for name, batch in (('mean', mean), ('var', var)):
    moved = MOMENTUM * variables['batch_stats'][name] + (1 - MOMENTUM) * batch
    # Sums of 64 float32 numbers, against float64.
    np.testing.assert_allclose(stats[name], moved, rtol=2e-5, atol=1e-5)


def test_variables_have_the_names_and_shapes_of_flax():
  own = NORM.init(jax.random.key(0), lambda f: jnp.ones((2, CHANNELS)), FLOAT)
  flax = nn.BatchNorm(use_running_average=False).init(
    jax.random.key(0), jnp.ones((2, CHANNELS))
  )
  assert jax.tree.structure(own) == jax.tree.structure(flax)
  for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(flax)):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('mode', [TRAIN, FLOAT])
def test_without_quantization_it_is_flax_batch_norm(variables, mode):
  y, stats = run(variables, mode)
  wanted, updated = flax_norm(variables, X @ KERNEL, mode.train)
  # Sums of 64 float32 in another order, and in inference another product.
  np.testing.assert_allclose(y, wanted, rtol=0, atol=2e-5)
  for name, value in updated['batch_stats'].items():
    np.testing.assert_allclose(stats[name], value, rtol=2e-5, atol=1e-5)
  moved = not np.array_equal(stats['mean'], variables['batch_stats']['mean'])
  assert moved == mode.train


def test_quantized_training_normalises_the_unscaled_product(variables):
  y, stats = run(variables, QAT)
  product = unscaled_product(variables)
  mean, var = product.mean(0), product.var(0)
  params = variables['params']
  wanted = (product - mean) / np.sqrt(var + EPSILON)
  wanted = wanted * params['scale'] + params['bias']
  # Float32 against float64.
  np.testing.assert_allclose(y, wanted, rtol=0, atol=2e-5)
  assert_moved(stats, variables, mean, var)
  # The quantization is there: an 8-bit kernel is a little off.
  plain, _ = run(variables, TRAIN)
  assert 1e-3 < np.abs(y - plain).max() < 0.1


@pytest.mark.parametrize('mode', [FAKE_QUANT, FROZEN])
def test_moving_statistics_are_folded_into_the_quantized_kernel(
  variables, mode
):
  y, stats = run(variables, mode)
  params, moving = variables['params'], variables['batch_stats']
  folded, factor = folded_kernel(variables)
  bias = params['bias'] - moving['mean'] * factor
  # A weight within float rounding of a tie would be off by 0.01; none is.
  np.testing.assert_allclose(
    y, np.float64(X) @ folded + bias, rtol=0, atol=2e-5
  )
  for name in moving:
    np.testing.assert_array_equal(stats[name], moving[name])


def test_training_meets_inference_at_the_statistics_of_the_batch(variables):
  product = unscaled_product(variables)
  variables['batch_stats'] = {
    'mean': product.mean(0).astype(np.float32),
    'var': product.var(0).astype(np.float32),
  }
  trained, stats = run(variables, QAT)
  served, _ = run(variables, FAKE_QUANT)
  # Per channel, the quantized kernel does not depend on the factor, so the
  # statistics above are a fixed point; float32 sums of 64 remain.
  np.testing.assert_allclose(trained, served, rtol=0, atol=2e-5)
  for name, value in variables['batch_stats'].items():
    np.testing.assert_allclose(stats[name], value, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize('mode', [FLOAT, FAKE_QUANT, TRAIN, QAT])
def test_the_layer_before_is_computed_once(variables, mode):
  factors = []

  def product(factor):
    factors.append(factor)
    return X @ KERNEL

  NORM.apply(variables, product, mode, mutable=['batch_stats'])
  assert len(factors) == 1


TARGET = np.random.default_rng(5).normal(0, 1, (BATCH, CHANNELS))


@functools.partial(jax.jit, static_argnums=0)
def projected_gradients(layer, variables, kernel, x):
  """Of a fixed random projection of the output; x, kernel, scale and bias."""

  def project(x, kernel, params):
    y, _ = layer({**variables, 'params': params}, kernel, x)
    return jnp.sum(jnp.tanh(y) * TARGET)

  dx, dkernel, dparams = jax.grad(project, (0, 1, 2))(
    x, kernel, variables['params']
  )
  return {'x': dx, 'kernel': dkernel, **dparams}


@functools.cache
def layer(mode, norm, weights):
  """`normalise` as one function, which compiles once."""
  return functools.partial(normalise, mode=mode, norm=norm, weights=weights)


def gradients(variables, mode, norm=NORM, weights=WEIGHTS, kernel=KERNEL, x=X):
  return projected_gradients(layer(mode, norm, weights), variables, kernel, x)


@pytest.mark.parametrize('norm', [NORM, RENORM], ids=['norm', 'renorm'])
@pytest.mark.parametrize('freeze_bn', [False, True])
def test_quantized_gradients_are_close_to_the_float_ones(
  counted, freeze_bn, norm
):
  quantized = Mode(train=True, quantize=True, freeze_bn=freeze_bn)
  plain = Mode(train=True, freeze_bn=freeze_bn)
  got = gradients(counted, quantized, norm)
  wanted = gradients(counted, plain, norm)
  for name, value in wanted.items():
    # 8-bit weights are within 0.4 % of the largest.
    assert cosines(np.ravel(got[name]), np.ravel(value)) > 0.999, name
    ratio = np.linalg.norm(got[name]) / np.linalg.norm(value)
    assert ratio == pytest.approx(1, abs=0.02), name


@pytest.mark.parametrize('offset', [0, 3])
def test_unquantized_gradients_are_those_of_flax(variables, offset):
  x = X + np.float32(offset)
  got = gradients(variables, TRAIN, x=x)
  wanted = projected_gradients(
    lambda variables, kernel, x: flax_norm(variables, x @ kernel, True),
    variables,
    KERNEL,
    x,
  )
  for name, value in wanted.items():
    # Sums of some hundred float32 terms in another order; with the offset the
    # terms are up to ten times what remains of them.
    np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize('scale', [0.0, 1e-12, -1e-20, 1e-30])
@pytest.mark.parametrize(
  ('mode', 'norm'), [(TRAIN, NORM), (QAT, NORM), (FROZEN, NORM), (QAT, RENORM)]
)
def test_a_dead_scale_harms_no_gradient(counted, scale, mode, norm):
  variables = counted
  alive = gradients(variables, mode, norm)
  variables['params']['scale'][2] = scale
  got = gradients(variables, mode, norm)
  for name, value in got.items():
    assert np.isfinite(value).all(), name
  others = np.arange(CHANNELS) != 2
  for name in ('kernel', 'scale', 'bias'):
    # Other channels do not notice; compiled sums may differ in the last bits.
    np.testing.assert_allclose(
      got[name][..., others], alive[name][..., others], rtol=1e-5, atol=1e-6
    )
  y, stats = run(variables, mode, norm=norm)
  for value in stats.values():
    assert np.isfinite(value).all()
  serving = Mode(quantize=mode.quantize)
  served, _ = run(variables, serving, norm=norm)
  for output in (y, served):
    np.testing.assert_allclose(
      output[:, 2], variables['params']['bias'][2], rtol=1e-5
    )


def test_a_constant_channel_gives_its_bias_and_finite_gradients(variables):
  kernel = KERNEL * (np.arange(CHANNELS) != 3)
  y, stats = run(variables, QAT, kernel=kernel)
  np.testing.assert_array_equal(y[:, 3], variables['params']['bias'][3])
  old = variables['batch_stats']['var'][3]
  assert stats['var'][3] == pytest.approx(MOMENTUM * old)
  for value in gradients(variables, QAT, kernel=kernel).values():
    assert np.isfinite(value).all()


@pytest.mark.parametrize('norm', [NORM, RENORM], ids=['norm', 'renorm'])
def test_initialisation_leaves_the_statistics_alone(norm):
  created = norm.init(jax.random.key(0), lambda factor: X @ KERNEL, TRAIN)
  stats = created['batch_stats']
  np.testing.assert_array_equal(stats.pop('mean'), np.zeros(CHANNELS))
  np.testing.assert_array_equal(stats.pop('var'), np.ones(CHANNELS))
  # The count of batch renorm is a statistic, which checkpoints hold.
  assert stats == ({'count': 0} if norm is RENORM else {})


def test_a_bfloat16_product_is_normalised_in_float32(variables):
  y, stats = NORM.apply(
    variables,
    lambda factor: (X @ KERNEL).astype(jnp.bfloat16),
    TRAIN,
    mutable=['batch_stats'],
  )
  assert y.dtype == jnp.float32
  assert stats['batch_stats']['var'].dtype == jnp.float32


def corrections(variables, product):
  """r and d [C] of Ioffe 2017, section 3, and the statistics of the batch."""
  moving = variables['batch_stats']
  mean, var = product.mean(0), product.var(0)
  spread = np.sqrt(moving['var'] + EPSILON)
  r = np.clip(np.sqrt(var + EPSILON) / spread, 1 / R_MAX, R_MAX)
  d = np.clip((mean - moving['mean']) / spread, -D_MAX, D_MAX)
  return r, d, mean, var


def renormalise(params, product, r, d):
  """Algorithm 1 of Ioffe 2017, with r and d given."""
  spread = np.sqrt(product.var(0) + EPSILON)
  normalised = (product - product.mean(0)) / spread * r + d
  return normalised * params['scale'] + params['bias']


@pytest.mark.parametrize('mode', [TRAIN, QAT])
def test_renorm_is_that_of_the_paper(counted, mode):
  y, stats = run(counted, mode, norm=RENORM)
  product = unscaled_product(counted) if mode.quantize else PRODUCT
  r, d, mean, var = corrections(counted, product)
  # Both limits are met, from both sides, and both are not.
  for values, least, most in ((r, 1 / R_MAX, R_MAX), (d, -D_MAX, D_MAX)):
    assert (min(values), max(values)) == (least, most)
    assert np.any((values > least) & (values < most))
  # Float32 against float64.
  np.testing.assert_allclose(
    y, renormalise(counted['params'], product, r, d), rtol=0, atol=2e-5
  )
  assert_moved(stats, counted, mean, var)
  assert stats['count'] == COUNT + 1


def test_renorm_gradients_are_those_with_r_and_d_held(counted):
  r, d, _, _ = corrections(counted, PRODUCT)
  arguments = {'x': X[:4], 'kernel': KERNEL, **counted['params']}
  arguments = {name: np.float64(value) for name, value in arguments.items()}

  def project(values):
    product = np.concatenate([values['x'], X[4:]]) @ values['kernel']
    return np.sum(np.tanh(renormalise(values, product, r, d)) * TARGET)

  got = gradients(counted, TRAIN, RENORM)
  for name, value in arguments.items():
    wanted = np.zeros_like(value)
    for index in np.ndindex(value.shape):
      ends = []
      for step in (1e-5, -1e-5):
        moved = value.copy()
        moved[index] += step
        ends.append(project({**arguments, name: moved}))
      wanted[index] = (ends[0] - ends[1]) / 2e-5
    # Float32 sums of 64 terms, as against float64.
    np.testing.assert_allclose(
      got[name][: len(wanted)], wanted, rtol=1e-4, atol=2e-4, err_msg=name
    )


def test_before_its_start_renorm_is_batch_norm(counted):
  counted['batch_stats']['count'] = np.float32(RENORM.norm.start)
  y, stats = run(counted, QAT, norm=RENORM)
  assert stats.pop('count') == RENORM.norm.start + 1
  wanted, wanted_stats = run(counted, QAT)
  wanted_stats.pop('count')
  got = y, stats, gradients(counted, QAT, RENORM)
  wanted = wanted, wanted_stats, gradients(counted, QAT)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
    # Multiplied by one and shifted by zero, compiled otherwise: as above.
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4)


def test_without_quantizers_folded_renorm_is_the_unfolded_one(counted):
  for function in (run, gradients):
    folded = function(counted, QAT, norm=RENORM, weights=None)
    plain = function(counted, TRAIN, norm=RENORM)
    for a, b in zip(jax.tree.leaves(folded), jax.tree.leaves(plain)):
      # Float32, with the factor multiplied in and divided out.
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize('mode', [FLOAT, FAKE_QUANT, FROZEN])
def test_renorm_infers_and_freezes_as_batch_norm(counted, mode):
  y, stats = run(counted, mode, norm=RENORM)
  wanted, _ = run(counted, mode, norm=NORM)
  # Sums of nine float32 products below 5, compiled twice.
  np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-5)
  for name, value in counted['batch_stats'].items():
    np.testing.assert_array_equal(stats[name], value)
