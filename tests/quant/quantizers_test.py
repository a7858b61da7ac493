"""Ranges of outputs and the integers of kernels, as layers hold them."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from defaults import layer_quant
from ulps import beside

from faceqat.quant import numerics
from faceqat.quant.quantizers import (
  OutputQuantizer,
  RangesMissingError,
  fake_quant_kernel,
  quantize_kernel,
)
from faceqat.quant.spec import (
  CALIBRATE,
  CONTRACT_MODES,
  FAKE_QUANT,
  FLOAT,
  LayerQuant,
  Mode,
)

OBSERVE_AND_QUANTIZE = Mode(train=True, quantize=True, observe=True)


class Conv(nn.Module):
  """A layer in name only: a quantizer under its path."""

  layer: LayerQuant

  @nn.compact
  def __call__(self, y, mode):
    quantizer = OutputQuantizer(self.layer, name='quantizer')
    return quantizer.qparams() if mode is None else quantizer(y, mode)


class Network(nn.Module):
  layer: LayerQuant = layer_quant()

  @nn.compact
  def __call__(self, y, mode):
    return Conv(self.layer, name='block_3')(y, mode)


def new_state(network):
  return network.init(jax.random.key(0), jnp.ones((2, 3)), CALIBRATE)


def observed(network, state, y, mode):
  y, updated = network.apply(state, y, mode, mutable=['quant_stats'])
  return y, {**state, **updated}


def calibrated(y, **fields):
  """A network with these fields of its layer, after one batch."""
  network = Network(layer_quant(**fields))
  return network, observed(network, new_state(network), y, CALIBRATE)[1]


def the_range(state):
  return state['quant_stats']['block_3']['quantizer']['range']


def values(low, high, seed=0):
  """Outputs whose extremes are exactly low and high."""
  y = np.random.default_rng(seed).uniform(low, high, (16, 12))
  y[0, :2] = low, high
  return jnp.asarray(y, jnp.float32)


def test_initialisation_observes_nothing():
  assert the_range(new_state(Network())) == (0, 0, 0)


@pytest.mark.parametrize(
  ('fields', 'expected'),
  [
    ({'observer': 'ema', 'decay': 0.75}, (-1.25, 2.5, 2)),
    ({'observer': 'minmax'}, (-2, 3, 2)),
  ],
)
def test_the_first_batch_sets_the_range_and_later_ones_move_it(
  fields, expected
):
  network, state = calibrated(values(-1, 3), **fields)
  assert the_range(state) == (-1, 3, 1)
  _, state = observed(network, state, values(-2, 1), CALIBRATE)
  assert the_range(state) == expected


@pytest.mark.parametrize(
  'mode', [FLOAT, FAKE_QUANT, Mode(train=True), Mode(train=True, quantize=True)]
)
def test_without_observe_the_range_stays(mode):
  network, state = calibrated(values(-1, 3))
  _, later = observed(network, state, values(-9, 9), mode)
  assert the_range(later) == the_range(state)
  # Nor does it need to be writable.
  network.apply(state, values(-9, 9), mode)


@pytest.mark.parametrize(
  ('observer', 'symmetric'), [('mse', True), ('percentile', False)]
)
def test_a_range_from_a_histogram_is_frozen_as_the_others_are(
  observer, symmetric
):
  y = jnp.append(values(-1, 3), 5.0)
  network, state = calibrated(
    y,
    observer=observer,
    percentile=90.0,
    activation_bits=3,
    symmetric=symmetric,
  )
  with pytest.raises(RangesMissingError):
    network.apply(new_state(network), None, None)
  _, later = observed(network, state, values(-90, 90), FAKE_QUANT)
  jax.tree.map(np.testing.assert_array_equal, later, state)
  output = network.apply(state, None, None)
  # The outlier is clipped.
  assert output.scale < 0.95 * (5 / 3 if symmetric else 6 / 7)
  fake = network.apply(state, y, FAKE_QUANT)
  steps = np.asarray(fake, np.float64) / output.scale + output.zero_point
  np.testing.assert_allclose(steps, np.rint(steps), rtol=0, atol=1e-4)
  assert np.rint(steps).max() == output.qmax
  # Training, which has the others go on, leaves it too.
  _, later = observed(network, state, values(-90, 90), OBSERVE_AND_QUANTIZE)
  jax.tree.map(np.testing.assert_array_equal, later, state)
  _, later = observed(network, state, values(-90, 90), CALIBRATE)
  assert the_range(later).count == 2


@pytest.mark.parametrize('mode', [FLOAT, CALIBRATE, Mode(train=True)])
def test_without_quantize_the_output_stays(mode):
  network, state = calibrated(values(-1, 3))
  y, _ = observed(network, state, values(-5, 5), mode)
  np.testing.assert_array_equal(y, values(-5, 5))


def test_a_batch_is_quantized_with_the_range_that_it_has_just_set():
  network = Network()
  y, _ = observed(
    network, new_state(network), values(-1, 3), OBSERVE_AND_QUANTIZE
  )
  # Half a step of 4 / 255; at the ends, half a step of nudging more.
  assert np.abs(y - values(-1, 3)).max() < 1.01 * 4 / 255


def test_halves_go_where_the_contract_sends_them():
  # A range whose step is 1/4.
  network, state = calibrated(jnp.array([[127 / 4]]), symmetric=True)
  y = jnp.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]) / 4
  expected = {
    'tflite_ref': [-3, -2, -1, 1, 2, 3],
    'xnnpack': [-2, -2, 0, 0, 2, 2],
  }
  assert expected.keys() == CONTRACT_MODES.keys()
  for contract, steps in expected.items():
    fake = network.apply(state, y, CONTRACT_MODES[contract])
    np.testing.assert_array_equal(4 * fake, steps)
  # Training rounds as TensorFlow does.
  trained = network.apply(state, y, Mode(quantize=True))
  np.testing.assert_array_equal(4 * trained, [-2, -1, 0, 1, 2, 3])


@pytest.mark.parametrize('symmetric', [False, True])
@pytest.mark.parametrize('bits', [8, 5, 2])
def test_outputs_are_steps_of_the_scale_that_the_program_gets(bits, symmetric):
  network, state = calibrated(
    values(-1, 3), activation_bits=bits, symmetric=symmetric
  )
  y = values(-4, 4, seed=1)
  fake = network.apply(state, y, FAKE_QUANT)
  output = network.apply(state, y, None)
  assert (output.bits, output.narrow) == (bits, symmetric)
  steps = np.asarray(fake, np.float64) / output.scale + output.zero_point
  # One float32 rounding of scale * steps.
  np.testing.assert_allclose(steps, np.rint(steps), rtol=0, atol=1e-4)
  steps = np.rint(steps)
  assert steps.min() == output.qmin
  assert steps.max() == output.qmax
  real = np.float64(y) / output.scale + output.zero_point
  # Nearest, where it is not beside a tie.
  clear = np.abs(real % 1 - 0.5) > 1e-4
  nearest = np.clip(np.rint(real), output.qmin, output.qmax)
  np.testing.assert_array_equal(steps[clear], nearest[clear])


def test_symmetric_ranges_have_zero_point_zero_and_the_wider_side():
  network, state = calibrated(values(-3, 1), symmetric=True)
  output = network.apply(state, None, None)
  assert output.zero_point == 0
  assert output.scale == pytest.approx(3 / 127)
  assert (output.qmin, output.qmax) == (-127, 127)


def test_an_unseen_range_is_an_error_that_names_the_layer():
  network = Network()
  state = new_state(network)
  with pytest.raises(RangesMissingError, match=r'layer block_3 has no .*range'):
    network.apply(state, None, None)
  assert issubclass(RangesMissingError, ValueError)


def test_gradient_passes_inside_the_range_only_and_leaves_the_range_alone():
  network, state = calibrated(values(-1, 1))
  y = jnp.array([[-5.0, -0.5, 0.2, 0.9, 7.0]])

  def total(y, mode):
    output, updated = network.apply(state, y, mode, mutable=['quant_stats'])
    leaves = jax.tree.leaves(updated['quant_stats'])
    return jnp.sum(output) + sum(leaf.astype(jnp.float32) for leaf in leaves)

  gradient = jax.grad(total)(y, Mode(train=True, quantize=True))
  np.testing.assert_array_equal(gradient, [[0, 1, 1, 1, 0]])
  # With the ranges in the sum: the observer itself carries no gradient.
  gradient = jax.grad(total)(y, CALIBRATE)
  np.testing.assert_array_equal(gradient, np.ones((1, 5)))


def test_bfloat16_outputs_stay_bfloat16_and_ranges_float32():
  network = Network()
  y = values(-1, 3).astype(jnp.bfloat16)
  y, state = observed(network, new_state(network), y, OBSERVE_AND_QUANTIZE)
  assert y.dtype == jnp.bfloat16
  assert the_range(state) == (-1, 3, 1)
  assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} == {
    'float32',
    'int32',
  }


def kernel(shape=(3, 3, 4, 6), seed=0):
  rng = np.random.default_rng(seed)
  spread = rng.uniform(0.01, 2, shape[-1])
  return jnp.asarray(rng.normal(0, spread, shape), jnp.float32)


@pytest.mark.parametrize('bits', [8, 4, 2])
@pytest.mark.parametrize(
  ('shape', 'per_channel'),
  [
    ((3, 3, 4, 6), True),
    ((3, 3, 4, 6), False),
    ((3, 3, 1, 6), True),
    ((20, 6), True),
    # The slopes of a PReLU.
    ((6,), False),
  ],
)
def test_integers_times_scale_are_the_fake_quantized_kernel(
  shape, bits, per_channel
):
  layer = layer_quant(weight_bits=bits, per_channel=per_channel)
  weights = kernel(shape)
  fake = np.asarray(fake_quant_kernel(weights, layer))
  integers, scale = quantize_kernel(weights, layer)
  assert integers.dtype == np.int8
  assert (scale.dtype, scale.shape) == (np.float32, (6,))
  np.testing.assert_array_equal(integers * scale, fake)
  assert np.abs(integers).max() == 2 ** (bits - 1) - 1
  widest = np.abs(weights).reshape(-1, 6).max(0)
  if not per_channel:
    widest = np.full(6, widest.max())
  np.testing.assert_allclose(scale, widest / (2 ** (bits - 1) - 1), rtol=1e-6)
  # Rounded to the nearest step, and nothing clipped.
  assert np.all(np.abs(fake - weights) <= scale * (0.5 + 1e-4))


def kernel_of_ties(bits, channels=64, seed=0):
  """[25, C]: halves of steps, an ulp up or down, and what sets the scale."""
  rng = np.random.default_rng(seed)
  upper = 2 ** (bits - 1) - 1
  # No channel is so narrow that it is given another scale.
  scale = np.float32(10 ** rng.uniform(-2, 1, channels) / upper)
  steps = rng.integers(-upper, upper, (24, channels)) + 0.5
  weights = beside(rng, np.float32(steps * scale))
  return np.concatenate([weights, np.float32(upper * scale)[None]])


@pytest.mark.parametrize('learned', [False, True])
@pytest.mark.parametrize('per_channel', [True, False])
@pytest.mark.parametrize('bits', range(2, 9))
def test_ties_ship_as_they_are_trained(bits, per_channel, learned):
  weights = kernel_of_ties(bits)
  if not per_channel:
    # One scale for all.
    weights = np.concatenate([weights[:, 9], weights[-1:, 9]])[:, None]
    weights = weights * np.ones(4, np.float32)
  layer = layer_quant(
    weight_bits=bits, per_channel=per_channel, learned_steps=learned
  )
  step = None
  if learned:
    step = np.abs(weights[-1]) / (2 ** (bits - 1) - 1)
    step = step if per_channel else step[0]

  def compiled(kernel, twice, identity):
    return (
      fake_quant_kernel(kernel, layer, step),
      # Constants, folded by the compiler.
      fake_quant_kernel(weights, layer, step),
      # Fused with what makes it and what reads it; the identity adds zeros.
      identity @ fake_quant_kernel(twice * 0.5, layer, step),
    )

  integers, scale = quantize_kernel(weights, layer, step)
  wanted = integers * scale
  identity = np.eye(len(weights), dtype=np.float32)
  for kernel in (
    fake_quant_kernel(weights, layer, step),
    *jax.jit(compiled)(weights, 2 * weights, identity),
  ):
    np.testing.assert_array_equal(kernel, wanted)
  assert np.abs(integers).max() == 2 ** (bits - 1) - 1


@pytest.mark.parametrize('bits', range(2, 9))
def test_only_ties_are_rounded_otherwise_than_by_tensorflow(bits):
  tf = pytest.importorskip('tensorflow')
  ties = np.tile(kernel_of_ties(bits, seed=bits), (16, 1))
  weights = np.concatenate([kernel((400, 64), seed=bits), ties], axis=1)
  widest = np.asarray(numerics.widest_weight(weights, per_channel=True))
  layer = layer_quant(weight_bits=bits)
  wanted = tf.quantization.fake_quant_with_min_max_vars_per_channel(
    weights, -widest, widest, num_bits=bits, narrow_range=True
  ).numpy()
  got = np.asarray(fake_quant_kernel(weights, layer))
  _, scale = quantize_kernel(weights, layer)
  steps = np.abs(np.float64(weights) / scale)
  # It multiplies with an inverse: some roundings of 2^-24 of so many steps.
  tie = np.abs(steps % 1 - 0.5) <= 2.0**-20 * 2**bits
  np.testing.assert_array_equal(got[~tie], wanted[~tie])
  assert np.all(np.abs(got - wanted) <= scale * 1.001)
  # Half of the channels were made of ties.
  assert 0.4 < np.mean(tie) < 0.6


def test_gradient_reaches_every_weight_the_largest_too():
  gradient = jax.grad(lambda k: jnp.sum(fake_quant_kernel(k, layer_quant())))(
    kernel()
  )
  np.testing.assert_array_equal(gradient, np.ones((3, 3, 4, 6)))


def test_a_dead_channel_keeps_a_scale_that_a_bias_fits():
  weights = kernel().at[..., 2].set(0).at[..., 4].multiply(1e-9)
  integers, scale = quantize_kernel(weights, layer_quant())
  for channel in (2, 4):
    np.testing.assert_array_equal(integers[..., channel], 0)
    assert scale[channel] == pytest.approx(scale.max() / 4096, rel=1e-5)
  # What a bias of ten times the layer's largest weight is, in such steps.
  assert 10 * np.abs(weights).max() / (scale[2] / 128) < 2**31


@pytest.mark.parametrize('learned', [False, True])
@pytest.mark.parametrize('per_channel', [True, False])
def test_before_a_norm_a_channel_that_is_off_keeps_its_weights(
  per_channel, learned
):
  layer = layer_quant(per_channel=per_channel, learned_steps=learned)
  alive = kernel()
  weights = alive.at[..., 1].multiply(1e-9).at[..., 2].set(0)
  step = None
  if learned:
    step = jnp.full((6,) if per_channel else (), 0.01)
  shipped = fake_quant_kernel(weights, layer, step)
  np.testing.assert_array_equal(shipped[..., 1], 0)
  run = functools.partial(
    fake_quant_kernel, layer=layer, step=step, normalized=True
  )
  got, pullback = jax.vjp(run, weights)
  np.testing.assert_array_equal(got[..., 1], weights[..., 1])
  others = np.arange(6) != 1
  np.testing.assert_array_equal(got[..., others], shipped[..., others])
  # The others' may be beyond the reach of learned steps.
  reaches = pullback(jnp.ones_like(got))[0]
  np.testing.assert_array_equal(reaches[..., 1:3], 1)
  # All of them off, as behind a batch norm that starts with gamma 0.
  np.testing.assert_array_equal(run(alive * 1e-10), alive * 1e-10)


def test_a_kernel_of_zeros_has_a_positive_scale():
  integers, scale = quantize_kernel(jnp.zeros((3, 4)), layer_quant())
  np.testing.assert_array_equal(integers, 0)
  assert np.all(scale > 0)
