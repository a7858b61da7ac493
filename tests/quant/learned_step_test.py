"""Learned steps: their gradients, where they start, and what is lowered."""

import jax
import jax.numpy as jnp
import layer_network as table
import numpy as np
import pytest
from backbone_checks import cosines
from defaults import layer_quant
from tiny_run import leaves

from faceqat.integer.evaluator import make_evaluator
from faceqat.quant import exact, learned_step, numerics
from faceqat.quant.learned_step import quantize_with_step
from faceqat.quant.prelu import PReLU
from faceqat.quant.quantizers import (
  RangesMissingError,
  fake_quant_kernel,
  initial_kernel_step,
  quantize_kernel,
)
from faceqat.quant.spec import (
  CALIBRATE,
  FAKE_QUANT,
  INITIALIZE_STEPS,
  Mode,
  QuantSpec,
)
from faceqat.quant.weightless import Flatten

initial_step = jax.jit(initial_kernel_step, static_argnums=1)

QAT = Mode(train=True, quantize=True, observe=True, freeze_bn=True)


def values(shape=(4, 5, 6), seed=0):
  return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def reference(x, step, lower, upper, scale, g):
  """The paper's equations 1 to 3 and 5, entry by entry, in float64."""
  y, g_x, g_step = np.zeros((3, *x.shape))
  for i in np.ndindex(x.shape):
    s = float(np.broadcast_to(step, x.shape)[i])
    v = float(x[i]) / s
    if v <= lower or v >= upper:
      limit = lower if v <= lower else upper
      y[i], g_step[i] = limit * s, g[i] * limit
    else:
      whole = np.floor(v + 0.5)
      y[i], g_x[i], g_step[i] = whole * s, g[i], g[i] * (whole - v)
  axes = tuple(range(x.ndim - np.ndim(step)))
  return y, g_x, g_step.sum(axes) * scale


@pytest.mark.parametrize(('lower', 'upper'), [(-7, 7), (0, 15), (-3, 12)])
@pytest.mark.parametrize('per_channel', [True, False])
def test_values_and_gradients_are_those_of_the_paper(per_channel, lower, upper):
  x, g = values(), values(seed=1)
  step = np.linspace(0.1, 0.3, 6, dtype=np.float32)
  step = step if per_channel else step[3]
  scale = learned_step.gradient_scale(20, lower, upper)
  assert scale == pytest.approx(1 / np.sqrt(20 * upper))

  def run(x, step):
    return quantize_with_step(
      x, step, lower=lower, upper=upper, gradient_scale=scale
    )

  y, pullback = jax.vjp(jax.jit(run), x, step)
  expected = reference(x, step, lower, upper, float(scale), g)
  # Sums of up to 120 float32 products of order 1.
  for got, wanted in zip((y, *pullback(g)), expected):
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
  inside = np.mean(expected[1] != 0)
  assert 0.3 < inside < 1


def test_bfloat16_keeps_its_type_and_the_step_its_own():
  def total(x, step):
    y = quantize_with_step(x, step, lower=-8, upper=7, gradient_scale=0.5)
    assert y.dtype == jnp.bfloat16
    return jnp.sum(y)

  gradients = jax.grad(total, (0, 1))(jnp.ones((3, 4), jnp.bfloat16), 0.3)
  assert [g.dtype for g in gradients] == [jnp.bfloat16, jnp.float32]


def test_a_step_below_the_least_is_the_least_and_can_return():
  step = jnp.float32([-1.0, 0.0, 1e-9, 2e-3, 1.0])
  value, slope = jax.jvp(
    lambda s: learned_step.at_least(s, 1e-3), (step,), (jnp.ones(5),)
  )
  np.testing.assert_array_equal(value, np.float32([1e-3] * 3 + [2e-3, 1]))
  np.testing.assert_array_equal(slope, 1)


KERNEL = values((3, 3, 20, 6)) * np.float32([1, 1e-2, 30, 1, 0, 1e-9])


@pytest.mark.parametrize('bits', [2, 4, 8])
@pytest.mark.parametrize('per_channel', [True, False])
def test_the_start_of_the_paper(per_channel, bits):
  layer = layer_quant(
    weight_bits=bits, per_channel=per_channel, step_initialization='lsq'
  )
  step = initial_step(jnp.asarray(KERNEL), layer)
  wanted = np.abs(KERNEL).mean((0, 1, 2) if per_channel else None)
  wanted = 2 * wanted / np.sqrt(2 ** (bits - 1) - 1)
  wanted = np.maximum(wanted, wanted.max() / 4096)
  assert step.shape == wanted.shape
  np.testing.assert_allclose(step, wanted, rtol=1e-5)


@pytest.mark.parametrize('bits', [2, 3, 4, 6, 8])
@pytest.mark.parametrize('per_channel', [True, False])
def test_no_start_has_less_error_than_the_least_error_one(per_channel, bits):
  layer = layer_quant(weight_bits=bits, per_channel=per_channel)
  kernel = jnp.asarray(KERNEL)
  step = initial_step(kernel, layer)
  upper = 2 ** (bits - 1) - 1
  axes = (0, 1, 2) if per_channel else None
  widest = np.abs(KERNEL).max(axes) / upper

  @jax.jit
  def error(step):
    return jnp.square(fake_quant_kernel(kernel, layer, step) - KERNEL).sum(axes)

  alive = np.s_[:4] if per_channel else ()
  found = error(step)[alive]
  grid = [
    error(jnp.float32(widest * f))[alive] for f in np.linspace(0.1, 1, 60)
  ]
  # Of few weights the error jumps from one candidate to the next.
  assert np.all(found <= 1.05 * np.min(grid, 0))
  if bits <= 4:
    assert np.all(found < 0.9 * grid[-1])


@pytest.mark.parametrize('start', learned_step.INITIALIZATIONS)
def test_a_dead_channel_has_a_step_that_a_bias_fits(start):
  layer = layer_quant(step_initialization=start)
  step = initial_step(jnp.asarray(KERNEL), layer)
  np.testing.assert_allclose(step[4:], step.max() / 4096, rtol=1e-6)
  assert np.all(initial_step(jnp.zeros((3, 4)), layer) > 0)
  # Training may bring a step anywhere; the program's stays as large.
  for wrong in (0.0, -1.0):
    integers, scale = quantize_kernel(
      jnp.asarray(KERNEL), layer, step.at[0].set(wrong)
    )
    assert scale[0] == pytest.approx(scale.max() / 4096, rel=1e-6)
    assert np.abs(integers).max() == 127


class Small(table.LayerTable):
  """Every layer with weights, in a row."""

  layers = {
    'first': table.conv('image', **table.STRIDED),
    'prelu': (PReLU, {}, ('first',)),
    'depthwise': table.depthwise('prelu', activation='relu6'),
    'flatten': (Flatten, {}, ('depthwise',)),
    'embedding': table.dense('flatten', 12),
  }


SIZE = (8, 8, 3)
IMAGES = np.random.default_rng(3).integers(0, 256, (16, *SIZE), np.uint8)
LAYERS = ('first', 'prelu', 'depthwise', 'embedding')


def learned(default, **overrides):
  default = layer_quant(learned_steps=True, **default)
  return Small(QuantSpec(default, tuple(overrides.items())))


def apply(network, variables, mode, collection, images=IMAGES):
  run = jax.jit(lambda v, x: network.apply(v, x, mode, mutable=[collection]))
  y, updated = run(variables, images)
  return y, {**variables, **updated}


def started(network):
  variables = table.random_variables(network, SIZE, bias=0.0)
  _, variables = apply(network, variables, CALIBRATE, 'quant_stats')
  return apply(network, variables, INITIALIZE_STEPS, 'params')[1]


@pytest.fixture(scope='module')
def four_bits():
  network = learned({'weight_bits': 4, 'activation_bits': 6})
  return network, started(network)


def test_steps_are_parameters_only_where_they_are_learned(four_bits):
  plain = table.random_variables(Small(), SIZE)
  more = leaves(four_bits[1]['params']).keys() - leaves(plain['params'])
  weighted = set(LAYERS) - {'prelu'}
  assert more == {f'{name}/quantizer/step' for name in LAYERS} | {
    f'{name}/kernel_step' for name in weighted
  }
  assert not any('step' in name for name in leaves(plain))


def test_steps_start_at_the_scale_of_the_range_and_of_the_folded_kernel(
  four_bits,
):
  network, variables = four_bits
  for name in LAYERS:
    seen = variables['quant_stats'][name]['quantizer']['range']
    scale, _ = numerics.nudged_params(seen.minimum, seen.maximum, bits=6)
    params = variables['params'][name]
    # Compiled elsewhere.
    np.testing.assert_allclose(params['quantizer']['step'], scale, rtol=1e-6)
  norm = variables['params']['first']['bn']
  stats = variables['batch_stats']['first']['bn']
  folded = variables['params']['first']['kernel'] * (
    norm['scale'] / np.sqrt(stats['var'] + 1e-3)
  )
  wanted = initial_step(folded, network.quant.default)
  got = variables['params']['first']['kernel_step']
  np.testing.assert_allclose(got, wanted, rtol=1e-6)
  # One for all.
  shared = learned({'per_channel': False})
  shapes = table.random_variables(shared, SIZE)['params']
  assert shapes['first']['kernel_step'].shape == ()


def test_every_step_has_a_gradient_and_no_range_moves_in_training(four_bits):
  network, variables = four_bits

  @jax.jit
  def loss(params):
    y, updated = network.apply(
      {**variables, 'params': params}, IMAGES, QAT, mutable=['quant_stats']
    )
    return jnp.sum(jnp.square(y)), updated

  gradients, updated = jax.grad(loss, has_aux=True)(variables['params'])
  same = np.testing.assert_array_equal
  jax.tree.map(same, updated['quant_stats'], variables['quant_stats'])
  for name in LAYERS:
    assert gradients[name]['quantizer']['step'] != 0
  for name in ('first', 'depthwise', 'embedding'):
    assert np.all(gradients[name]['kernel_step'] != 0)


def test_the_gradient_of_an_output_s_step_counts_features_not_examples():
  network = learned({})
  variables = started(network)

  @jax.jit
  def gradient(images):
    def loss(params):
      y = network.apply({**variables, 'params': params}, images, FAKE_QUANT)
      return jnp.mean(y)

    return jax.grad(loss)(variables['params'])['first']['quantizer']['step']

  twice = np.concatenate([IMAGES, IMAGES])
  # Means over examples. Sums in another order, where a value at a tie moves
  # the gradient by a whole rounding error; counted, it would be 0.71 times.
  assert gradient(twice) == pytest.approx(float(gradient(IMAGES)), rel=0.05)


@pytest.mark.parametrize(
  ('weight_bits', 'activation_bits', 'per_channel'),
  [(8, 8, True), (4, 6, False)],
)
def test_the_program_has_the_steps_and_integers_of_fake_quantization(
  weight_bits, activation_bits, per_channel
):
  default = {
    'weight_bits': weight_bits,
    'activation_bits': activation_bits,
    'per_channel': per_channel,
  }
  symmetric = layer_quant(**default, learned_steps=True, symmetric=True)
  network = learned(default, embedding=symmetric)
  variables = started(network)
  # As training leaves them: no longer those of the ranges.
  rng = np.random.default_rng(5)
  params = jax.tree_util.tree_map_with_path(
    lambda path, leaf: (
      leaf * np.float32(rng.uniform(0.6, 0.9, leaf.shape))
      if 'step' in str(path[-1])
      else leaf
    ),
    variables['params'],
  )
  variables = {**variables, 'params': params}
  program = table.lower(network, variables, SIZE)
  integers = make_evaluator(program, taps=True)(IMAGES)
  operators = {op.name: op for op in program.operators}
  for name in LAYERS:
    tensor = program.tensors[name]
    assert tensor.scale == params[name]['quantizer']['step']
    assert (tensor.bits, tensor.narrow) == (
      activation_bits,
      name == 'embedding',
    )
  for name in ('first', 'depthwise', 'embedding'):
    op, own = operators[name], params[name]
    np.testing.assert_array_equal(
      op.weight_scale,
      np.broadcast_to(own['kernel_step'], op.weight_scale.shape),
    )
    norm, stats = own['bn'], variables['batch_stats'][name]['bn']
    factor = norm['scale'] * exact.inverse_root(stats['var'] + 1e-3)
    layer = network.quant.layer(name)
    fake = fake_quant_kernel(own['kernel'] * factor, layer, own['kernel_step'])
    np.testing.assert_array_equal(
      np.reshape(op.weights * op.weight_scale, fake.shape), fake
    )
  fake, seen = apply(network, variables, FAKE_QUANT, 'intermediates')
  # The first layer's input is exact, so only its own rounding can differ.
  (first,) = seen['intermediates']['first']['output']
  tensor = program.tensors['first']
  steps = np.rint(np.asarray(first, np.float64) / tensor.scale)
  difference = np.abs(steps + tensor.zero_point - integers['first'])
  # Both round to the nearest step, and part near a tie alone.
  assert difference.max() <= 1
  assert np.mean(difference > 0) < 0.02
  # The limits are met: what lies beyond a learned step's reach is clipped.
  assert np.max(integers['first']) == tensor.qmax
  # Steps apart here and there, in three layers.
  real = table.real(program, integers[program.output])
  assert cosines(fake, real).min() > 0.99


def test_steps_that_were_never_set_are_an_error_that_says_so():
  network = learned({})
  variables = table.random_variables(network, SIZE)
  _, variables = apply(network, variables, CALIBRATE, 'quant_stats')
  with pytest.raises(RangesMissingError, match='layer first has learned_step'):
    table.lower(network, variables, SIZE)
