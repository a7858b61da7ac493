"""Equalised channels have similar ranges, and the float network stays."""

import functools

import jax
import layer_network as table
import numpy as np
import pytest
from backbone_checks import cosines
from defaults import make_spec
from tiny_run import leaves

from faceqat.calibration.equalization import (
  Chain,
  channel_factors,
  equalize,
  find_chains,
  input_ranges,
)
from faceqat.evaluators.agreement import activations
from faceqat.integer.evaluator import make_evaluator
from faceqat.quant.prelu import PReLU
from faceqat.quant.spec import FAKE_QUANT, FLOAT
from faceqat.quant.weightless import Add, Flatten

IMAGE = (12, 12, 3)
POINT = {'kernel_size': (1, 1)}
# Of the first layer: one that is dead, one that lives on its bias alone.
DEAD, CONSTANT = 2, 5


class Network(table.LayerTable):
  """Every kind of pair: those that can be equalised, and those that cannot."""

  layers = {
    'stem': table.conv('image', **table.STRIDED),
    'stem_prelu': (PReLU, {}, ('stem',)),
    'depthwise': table.depthwise('stem_prelu'),
    'bare': table.conv('depthwise', **POINT, **table.BIAS, activation='relu'),
    'clipped': table.conv('bare', **POINT, activation='relu6'),
    'shared': table.conv('clipped', **POINT),
    'branch': table.conv('shared', **POINT),
    'add': (Add, {}, ('shared', 'branch')),
    'last': table.conv('add', features=6, **table.STRIDED),
    'last_prelu': (PReLU, {}, ('last',)),
    'flatten': (Flatten, {}, ('last_prelu',)),
    'embedding': table.dense('flatten', 16),
  }


CHAINS = [
  Chain('stem', 'depthwise', True, ('stem', 'stem_prelu')),
  Chain('depthwise', 'bare', False, ('depthwise',)),
  Chain('bare', 'clipped', False, ('bare',)),
  Chain('last', 'embedding', False, ('last', 'last_prelu')),
]


def uneven_variables():
  """Channels whose ranges differ by a factor of some hundreds."""
  variables = table.random_variables(Network(), IMAGE)
  params, rng = variables['params'], np.random.default_rng(1)
  for name in ('stem', 'depthwise', 'last'):
    norm = params[name]['bn']
    stretch = 10 ** rng.uniform(-1.3, 1.3, len(norm['scale']))
    norm['scale'] *= stretch
    norm['bias'] *= stretch
  params['stem']['bn']['scale'][[DEAD, CONSTANT]] = 0
  params['stem']['bn']['bias'][DEAD] = 0
  return variables


@functools.cache
def networks():
  """Images, the program, and the variables before and after, calibrated."""
  images = np.random.default_rng(0).integers(0, 256, (64, *IMAGE), np.uint8)
  model = Network()
  before = table.calibrate(model, uneven_variables(), images)
  program = table.lower(model, before, IMAGE)
  after = equalize(model, before, program, [images[:32], images[32:]])
  return images, program, before, after


def layers(model):
  return model.module_paths(
    jax.random.key(0), np.zeros((1, *IMAGE), np.uint8), FLOAT
  )


def spans(variables):
  """The greatest magnitude of each channel of each layer."""
  outputs = activations(Network(), variables, networks()[0], FLOAT)
  return {
    name: np.abs(y).max(tuple(range(y.ndim - 1))) for name, y in outputs.items()
  }


def test_chains_end_where_channels_are_shared_or_clipped():
  assert find_chains(networks()[1], layers(Network())) == CHAINS


def test_a_layer_with_one_weight_scale_is_left_out():
  quant = make_spec({}, {'bare': {'per_channel': False}})
  assert find_chains(networks()[1], layers(Network(quant=quant))) == [
    CHAINS[0],
    CHAINS[3],
  ]


def test_the_float_network_stays():
  _, _, before, after = networks()
  old, new = leaves(before['params']), leaves(after['params'])
  changed = {
    name for name in old if not np.allclose(old[name], new[name], 0.01)
  }
  assert changed == {
    *(f'stem/bn/{name}' for name in ('scale', 'bias')),
    *(f'depthwise/{name}' for name in ('kernel', 'bn/scale', 'bn/bias')),
    *(f'bare/{name}' for name in ('kernel', 'bias')),
    'clipped/kernel',
    *(f'last/bn/{name}' for name in ('scale', 'bias')),
    'embedding/kernel',
  }
  old, new = (
    activations(Network(), variables, networks()[0], FLOAT)
    for variables in (before, after)
  )
  for name in ('clipped', 'shared', 'branch', 'add', 'embedding'):
    # Each weight and activation is rounded to 24 bits anew, in eight layers of
    # up to 72 products: 1e-4. A channel that is off changes all of it.
    atol = 1e-4 * np.abs(old[name]).max()
    np.testing.assert_allclose(new[name], old[name], rtol=0, atol=atol)


def test_before_a_depthwise_layer_all_channels_span_the_same():
  _, _, before, after = networks()
  old, new = (
    np.maximum(measured['stem'], measured['stem_prelu'])
    for measured in (spans(before), spans(after))
  )
  alive = np.arange(8) != DEAD
  assert old[alive].max() / old[alive].min() > 20
  # Float32 rounding; and the widest channel stays as wide.
  np.testing.assert_allclose(new[alive], old.max(), rtol=1e-4)
  assert new[DEAD] == old[DEAD] == 0


@pytest.mark.parametrize('chain', CHAINS[1:], ids=lambda chain: chain.second)
def test_elsewhere_channels_and_weights_share_the_burden(chain):
  _, _, before, after = networks()
  old, new = spans(before), spans(after)
  ratios = []
  for measured, variables in ((old, before), (new, after)):
    kernel = np.float64(variables['params'][chain.second]['kernel'])
    span = np.max([measured[name] for name in chain.tensors], axis=0)
    kernel = kernel.reshape(-1, len(span), kernel.shape[-1])
    # Without what the next pair has made of the output channels, and in units
    # of what each channel's scale was.
    kernel *= old[chain.second] / measured[chain.second]
    kernel /= (
      np.abs(np.float64(before['params'][chain.second]['kernel']))
      .reshape(kernel.shape)
      .max((0, 1))
    )
    ratios.append(span / np.abs(kernel).max((0, 2)))
  assert ratios[0].max() / ratios[0].min() > 3
  np.testing.assert_allclose(ratios[1], ratios[1][0], rtol=1e-3)


def test_the_quantized_network_is_closer_to_the_float_one():
  images, _, before, after = networks()
  model = Network()
  # The old ranges would be wrong, and no program can be made with them.
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(after['quant_stats']))
  with pytest.raises(ValueError, match='has no activation range'):
    table.lower(model, after, IMAGE)
  after = table.calibrate(model, after, images)
  expected, old, new = (
    activations(model, variables, images, mode)['embedding']
    for variables, mode in (
      (before, FLOAT),
      (before, FAKE_QUANT),
      (after, FAKE_QUANT),
    )
  )
  error = np.mean(1 - cosines(expected, old))
  assert np.mean(1 - cosines(expected, new)) < 0.5 * error
  program = table.lower(model, after, IMAGE)
  integers = table.real(program, make_evaluator(program)(images))
  # The same program but for ties, which fall to the other side now and then.
  assert np.mean(1 - cosines(expected, integers)) < 0.6 * error


def test_factors_are_the_papers():
  span, weights = np.array([4.0, 1.0, 0.25]), np.array([1.0, 4.0, 4.0])
  # Ranges become equal to sqrt(span * weights), here up to a common factor.
  factors = channel_factors(span, weights)
  np.testing.assert_allclose(span * factors, [4.0, 4.0, 2.0])
  ratio = span * factors / (weights / factors)
  np.testing.assert_allclose(ratio, ratio[0])
  np.testing.assert_allclose(channel_factors(span) * span, 4.0)


def test_a_dead_channel_is_not_stretched_without_end():
  span, weights = np.array([1.0, 0.0]), np.array([0.0, 1.0])
  np.testing.assert_array_equal(channel_factors(span), [1, 2**12])
  # Dead among its readers, and dead itself: both count as 2^-12.
  np.testing.assert_array_equal(channel_factors(span, weights), [1, 2**12])
  np.testing.assert_array_equal(channel_factors(np.zeros(2), np.zeros(2)), 1)


def test_weights_are_measured_by_the_scale_of_their_output_channel():
  kernel = np.array(
    [[[1.0, -50.0, 0], [-2.0, 10.0, 0]], [[1, 5, 0], [0, 1, 0]]]
  )
  np.testing.assert_allclose(input_ranges(kernel), [1.0, 1.0])
  np.testing.assert_allclose(input_ranges(kernel[..., 1:]), [1.0, 0.2])


def test_what_cannot_be_equalised_is_said():
  _, program, before, _ = networks()
  with pytest.raises(ValueError, match='one batch of faces'):
    equalize(Network(), before, program, [])
  with pytest.raises(ValueError, match='no layer stem, which'):
    find_chains(program, {})
