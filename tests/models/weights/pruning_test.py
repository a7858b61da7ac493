"""What a cut network still computes, and which channels it loses."""

import flax.traverse_util
import jax
import numpy as np
import pytest
from defaults import make_network

from faceqat.models.network import variable_shapes
from faceqat.models.weights import pruning
from faceqat.models.weights.assign import EPSILON, assign
from faceqat.quant.spec import FLOAT

FIELDS = {'embedding_size': 16, 'depth_multiplier': 0.1}
WHOLE = make_network('mobilefacenet', **FIELDS)
HALF = make_network('mobilefacenet', inner_width=0.5, **FIELDS)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)


def random_values(model):
  """Arrays by path, with batch norms that do something."""
  rng = np.random.default_rng(1)
  values = {}
  for name in ('params', 'batch_stats'):
    tree = variable_shapes(model, 32)[name]
    values |= flax.traverse_util.flatten_dict(tree, sep='/')
  kinds = {
    'kernel': lambda shape: rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape),
    'alpha': lambda shape: rng.uniform(-0.5, 1.5, shape),
    'scale': lambda shape: rng.uniform(0.5, 2, shape),
    'var': lambda shape: rng.uniform(0.5, 2, shape),
    'bias': lambda shape: rng.normal(size=shape),
    'mean': lambda shape: rng.normal(size=shape),
  }
  return {
    path: np.float32(kinds[path.rpartition('/')[2]](leaf.shape))
    for path, leaf in values.items()
  }


def embed(model, values):
  variables = assign(jax.tree.map(_zeros, variable_shapes(model, 32)), values)
  return np.asarray(model.apply(variables, IMAGES, FLOAT))


def _zeros(leaf):
  return np.zeros(leaf.shape, leaf.dtype)


def chains(values):
  names = [path.removesuffix('/depthwise/kernel') for path in values]
  blocks = [name for name in names if name.startswith('block_')]
  found = [
    (f'{name}/expand', f'{name}/depthwise', f'{name}/project')
    for name in blocks
    if f'{name}/depthwise/kernel' in values
  ]
  assert len(found) == 5
  return [*found, ('last', 'global_depthwise', 'embedding')]


def test_channels_that_nothing_reads_are_cut_without_a_trace():
  values = random_values(WHOLE)
  rng = np.random.default_rng(2)
  for *_, after in chains(values):
    kernel = values[f'{after}/kernel']
    channels = kernel.shape[-2]
    unread = rng.permutation(channels)[: channels // 2]
    kernel[..., unread, :] = 0
  cut = pruning.prune(values, variable_shapes(HALF, 32))
  assert cut['block_0/expand/kernel'].shape == (1, 1, 64, 64)
  # The same terms of float32 sums, in another order.
  np.testing.assert_allclose(
    embed(HALF, cut), embed(WHOLE, values), rtol=1e-4, atol=1e-5
  )


def test_what_a_constant_channel_adds_moves_into_the_batch_norm():
  values = random_values(WHOLE)
  rng = np.random.default_rng(3)
  for _, depthwise, _ in chains(values):
    scale = values[f'{depthwise}/bn/scale']
    scale[rng.permutation(len(scale))[: len(scale) // 2]] = 0
  cut = pruning.prune(values, variable_shapes(HALF, 32))
  # As above, and means that are rounded to float32.
  np.testing.assert_allclose(
    embed(HALF, cut), embed(WHOLE, values), rtol=1e-3, atol=1e-4
  )


@pytest.mark.parametrize('alpha', [None, -0.5, 0.0, 0.25, 1.0, 1.5])
def test_moments_are_those_of_a_normal_variable(alpha):
  rng = np.random.default_rng(4)
  gamma, beta, var = (
    rng.uniform(0.5, 2, 5),
    rng.normal(size=5),
    rng.uniform(0.5, 2, 5),
  )
  values = {'x/bn/scale': gamma, 'x/bn/bias': beta, 'x/bn/var': var}
  if alpha is not None:
    values['x_prelu/alpha'] = np.full(5, alpha)
  mean, variance = pruning._moments(values, 'x')
  deviation = np.sqrt(var / (var + EPSILON))
  x = beta + gamma * deviation * rng.normal(size=(200_000, 5))
  y = x if alpha is None else np.where(x >= 0, x, alpha * x)
  # Six deviations of a mean of 200,000 draws of up to 2.5 each.
  np.testing.assert_allclose(mean, y.mean(0), atol=0.035)
  np.testing.assert_allclose(variance, y.var(0), rtol=0.05, atol=1e-3)


def test_a_network_of_the_same_width_stays():
  values = random_values(WHOLE)
  same = pruning.prune(values, variable_shapes(WHOLE, 32))
  assert same.keys() == values.keys()
  assert all(same[path] is values[path] for path in values)
