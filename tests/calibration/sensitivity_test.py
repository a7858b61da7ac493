"""The cost of weight bits by layer, and the order in which layers lose them."""

import functools
import types

import layer_network as table
import numpy as np
import pytest
from backbone_checks import cosines
from defaults import batch_norm, make_spec
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from faceqat.calibration import sensitivity
from faceqat.calibration.lower import (
  lower,
  weighted_operators,
  with_weight_bits,
)
from faceqat.calibration.sensitivity import LayerCost
from faceqat.models.network import Network
from faceqat.quant.pooling import MeanPool
from faceqat.quant.spec import FLOAT

IMAGE = (8, 8, 3)
# Per layer: the epsilon of its batch norm, None where it has none.
EPSILONS = {'conv': 0.5, 'depthwise': 1e-3, 'dense': None, 'embedding': 1e-3}


class Model(table.LayerTable):
  """Batch norms of two epsilons, and a scaled layer without one."""

  layers = {
    'conv': table.conv(
      'image', norm=batch_norm(epsilon=0.5), activation='relu'
    ),
    'depthwise': table.depthwise('conv', **table.STRIDED),
    'pool': (MeanPool, {}, ('depthwise',)),
    'dense': table.dense('pool', 8, **table.BIAS, output_scale=0.5),
    'embedding': table.dense('dense', 16),
  }


@functools.cache
def calibrated():
  images = np.random.default_rng(0).integers(0, 256, (6, *IMAGE), np.uint8)
  model = Model(make_spec({}, {'depthwise': {'per_channel': False}}))
  variables = table.random_variables(model, IMAGE)
  # A channel that the batch norm switches off.
  variables['params']['conv']['bn']['scale'][2] = 0
  variables = table.calibrate(model, variables, images)
  config = ConfigDict({'data': {'image_size': 8}, 'model': {'name': 'test'}})
  return Network(model, variables, config, 0), images


def errors(bits, names):
  network, images = calibrated()
  low = lower(with_weight_bits(network, bits, EPSILONS))
  return sensitivity.weight_errors(
    network.model, network.variables, low, images, names
  )


@pytest.fixture(scope='module')
def four_bit_errors():
  return errors(4, EPSILONS)


def rounded_alone(name, bits):
  """The error of a layer by the formulas of folding and of rounding."""
  network, images = calibrated()
  variables = flatten_dict(network.variables, sep='/')
  kernel = np.asarray(variables[f'params/{name}/kernel'], np.float64)
  factor = np.ones(kernel.shape[-1])
  if EPSILONS[name] is not None:
    spread = variables[f'batch_stats/{name}/bn/var'] + EPSILONS[name]
    factor = np.float64(variables[f'params/{name}/bn/scale']) / np.sqrt(spread)
  folded = kernel * factor
  axes = None if name == 'depthwise' else tuple(range(kernel.ndim - 1))
  step = np.abs(folded).max(axes) / (2 ** (bits - 1) - 1)
  step = np.where(step > 0, step, 1)
  rounded = np.round(folded / step) * step / np.where(factor == 0, 1, factor)
  changed = {**variables, f'params/{name}/kernel': np.float32(rounded)}
  plain, other = (
    network.model.apply(unflatten_dict(v, sep='/'), images, FLOAT)
    for v in (variables, changed)
  )
  return np.mean(1 - cosines(plain, other))


def test_layers_come_in_the_order_they_run(four_bit_errors):
  assert list(four_bit_errors) == list(EPSILONS)
  operators = weighted_operators(lower(calibrated()[0]))
  assert [operator.name for operator in operators] == list(EPSILONS)


@pytest.mark.parametrize('name', EPSILONS)
def test_the_error_is_that_of_one_layers_rounding(four_bit_errors, name):
  # Cosines near 1 of float32 embeddings: some 1e-7 of the 1.
  np.testing.assert_allclose(
    four_bit_errors[name], rounded_alone(name, 4), rtol=1e-3, atol=1e-6
  )
  assert four_bit_errors[name] > 1e-4


def test_the_error_falls_with_the_square_of_the_step(four_bit_errors):
  finer = errors(6, ['depthwise', 'dense'])
  # Only what is asked for is measured.
  assert list(finer) == ['depthwise', 'dense']
  for name, error in finer.items():
    # (31 / 7)^2 = 20 for noise that is even; so few weights have little.
    assert 5 < four_bit_errors[name] / error < 80


def test_images_that_fill_no_batch_are_embedded_alike(monkeypatch):
  network, images = calibrated()
  whole = sensitivity.embed(network.model, network.variables, images, FLOAT)
  assert whole.shape == (6, 16)
  monkeypatch.setattr(sensitivity, '_BATCH_SIZE', 4)
  parts = sensitivity.embed(network.model, network.variables, images, FLOAT)
  # Sums of another batch size may run in another order.
  np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


COSTS = [
  LayerCost('dear', weights=200, saved=100, error=0.5),
  LayerCost('cheap', weights=200, saved=100, error=0.001),
  LayerCost('small', weights=20, saved=10, error=0.001),
  LayerCost('large', weights=2000, saved=1000, error=0.2),
]
SAVED = {cost.name: cost.saved for cost in COSTS}


def size(names):
  return 2000 - sum(SAVED[name] for name in names)


def test_layers_go_in_the_order_of_error_per_byte():
  order = [cost.name for cost in sensitivity.lowering_order(COSTS)]
  assert order == ['cheap', 'small', 'large', 'dear']


def test_of_two_without_error_the_larger_goes_first():
  costs = [types.SimpleNamespace(error=0.0, saved=saved) for saved in (1, 3, 2)]
  order = sensitivity.lowering_order(costs)
  assert [cost.saved for cost in order] == [3, 2, 1]


@pytest.mark.parametrize(
  ('budget', 'lowered'),
  [
    (2000, set()),
    (1999, {'cheap'}),
    (1900, {'cheap'}),
    (1899, {'cheap', 'small'}),
    # With `large` the others are no longer needed,
    (1000, {'large'}),
    # or one of them is.
    (990, {'large', 'small'}),
    (890, {'large', 'cheap', 'small'}),
    (889, {'large', 'cheap', 'dear'}),
    (790, {'large', 'cheap', 'small', 'dear'}),
    # What cannot be met.
    (0, {'large', 'cheap', 'small', 'dear'}),
  ],
)
def test_no_more_layers_are_lowered_than_the_budget_asks(budget, lowered):
  assert sensitivity.choose_layers(COSTS, size, budget) == lowered
