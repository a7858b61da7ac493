"""The cost of weight bits by layer, and the order in which layers lose them."""

import functools
import itertools

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
  kernels = {
    operator.name: {bits: operator.weights * operator.weight_scale}
    for operator in weighted_operators(low)
    if operator.name in names
  }
  found = sensitivity.weight_errors(
    network.model, network.variables, kernels, images
  )
  return {name: by_bits[bits] for name, by_bits in found.items()}


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


def test_a_kernel_is_rounded_at_the_steps_of_least_error():
  kernel = np.random.default_rng(0).normal(size=(3, 3, 5, 4)).astype('f4')
  for bits in (2, 3, 4):
    upper = 2 ** (bits - 1) - 1
    got = sensitivity.round_kernel(kernel, bits, per_channel=True)
    widest = np.abs(kernel).max((0, 1, 2)) / upper
    least = np.inf
    for factor in np.linspace(0.1, 1, 1000):
      step = widest * factor
      rounded = np.clip(np.round(kernel / step), -upper, upper) * step
      least = np.minimum(least, ((rounded - kernel) ** 2).sum((0, 1, 2)))
    # Either grid may miss the best step by one of its own.
    error = ((got - kernel) ** 2).sum((0, 1, 2))
    np.testing.assert_allclose(error, least, rtol=0.03)
    steps = np.unique(np.round(np.abs(got[..., 0]), 6))
    assert len(steps) == upper + 1
  whole = sensitivity.round_kernel(kernel, 2, per_channel=False)
  assert len(np.unique(whole)) == 3


def drawn_costs(seed, layers):
  """Layers whose errors fall as their sizes rise, as far as they do."""
  rng = np.random.default_rng(seed)
  costs = []
  for number in range(layers):
    choices = sorted(rng.choice([2, 3, 4, 6, 8], rng.integers(1, 5), False))
    weights = int(rng.integers(1, 2000))
    errors = np.sort(10 ** rng.uniform(-6, 0, len(choices)))[::-1]
    costs.append(
      LayerCost(
        str(number),
        weights,
        {int(b): -(-weights * int(b) // 8) for b in choices},
        {int(b): float(e) for b, e in zip(choices, errors)},
      )
    )
  return costs


def total(costs, bits, of):
  return sum(getattr(cost, of)[bits[cost.name]] for cost in costs)


@pytest.mark.parametrize('seed', range(20))
def test_the_chosen_bits_are_those_of_an_exhaustive_search(seed):
  costs = drawn_costs(seed, 6)
  names = [cost.name for cost in costs]
  every = [
    dict(zip(names, bits))
    for bits in itertools.product(*(cost.sizes for cost in costs))
  ]
  sizes = [total(costs, bits, 'sizes') for bits in every]
  errors = np.array([total(costs, bits, 'errors') for bits in every])
  for limit in np.linspace(min(sizes), max(sizes) + 1, 9).astype(int):
    chosen = sensitivity.choose_bits(costs, int(limit))
    assert total(costs, chosen, 'sizes') <= limit
    best = errors[np.array(sizes) <= limit].min()
    # Sums of floats in another order.
    np.testing.assert_allclose(total(costs, chosen, 'errors'), best, rtol=1e-12)
  with pytest.raises(ValueError, match='no choice of bits has'):
    sensitivity.choose_bits(costs, min(sizes) - 1)


def test_sizes_that_are_rounded_up_never_exceed_the_limit(monkeypatch):
  costs = drawn_costs(1, 12)
  least = sum(cost.least for cost in costs)
  spare = (sum(max(cost.sizes.values()) for cost in costs) - least) * 2 // 3
  limit = least + spare
  exact = total(costs, sensitivity.choose_bits(costs, limit), 'errors')
  monkeypatch.setattr(sensitivity, '_MAX_STATES', 100)
  chosen = sensitivity.choose_bits(costs, limit)
  assert total(costs, chosen, 'sizes') <= limit
  # As for a limit that is lower by what rounding up may take of 12 layers.
  monkeypatch.undo()
  lower_limit = sensitivity.choose_bits(costs, limit - 13 * (spare // 100 + 1))
  error = total(costs, chosen, 'errors')
  assert exact <= error <= total(costs, lower_limit, 'errors')
