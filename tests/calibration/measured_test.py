"""What calibration measured: written, read, and put on the weights again."""

import jax
import numpy as np
import pytest

from faceqat.calibration import measured
from faceqat.calibration.equalization import Chain
from faceqat.quant.observers import Range

CHAINS = (
  Chain('first', 'depthwise', True, ('first', 'first_prelu')),
  Chain('depthwise', 'last', False, ('depthwise',)),
)
# In float32 a power of two is an exact factor.
FACTORS = {
  'first': np.float32([1, 2, 0.5, 4]),
  'depthwise': np.float32([0.25, 1, 8, 2]),
}


def layer(rng, shape):
  bn = {'scale': rng.normal(size=shape[-1:]), 'bias': np.zeros(shape[-1:])}
  layer = {'kernel': rng.normal(size=shape), 'bn': bn}
  return jax.tree.map(np.float32, layer)


def make_variables():
  """A network's variables as its weights are."""
  rng = np.random.default_rng(0)
  # The dense layer reads 3 positions of 4 channels.
  params = {
    'first': layer(rng, (3, 3, 3, 4)),
    'depthwise': layer(rng, (3, 3, 1, 4)),
    'last': layer(rng, (12, 5)),
  }
  zero = np.float32(0)
  ranges = {
    name: {'quantizer': {'range': Range(zero, zero, np.int32(0))}}
    for name in params
  }
  return {'params': params, 'batch_stats': {}, 'quant_stats': ranges}


def calibrated(variables):
  """The same, equalised, corrected and observed, by hand."""
  after = jax.tree.map(np.copy, variables)
  params = after['params']
  first, depthwise = FACTORS.values()
  params['first']['bn']['scale'] *= first
  params['depthwise']['kernel'] /= first
  params['depthwise']['bn']['scale'] *= depthwise
  params['last']['kernel'] /= np.tile(depthwise, 3)[:, None]
  for index, layer in enumerate(params.values()):
    layer['bn']['bias'] += np.float32(index + 0.1)
  for index, name in enumerate(params):
    range_ = Range(np.float32(-index), np.float32(index + 0.3), np.int32(8))
    after['quant_stats'][name]['quantizer']['range'] = range_
  return after


@pytest.fixture
def stored(tmp_path):
  path = tmp_path / 'numbers.safetensors'
  before = make_variables()
  numbers = measured.between(before, calibrated(before), CHAINS, {'a': [1]})
  measured.save(numbers, path)
  return path


def test_the_numbers_make_the_calibrated_network_again(stored):
  found = measured.load(stored)
  assert found.header == {'a': [1]}
  assert found.chains == CHAINS
  before = make_variables()
  made, wanted = measured.apply(before, found), calibrated(before)
  for collection in ('params', 'quant_stats'):
    paths = jax.tree_util.tree_leaves_with_path(wanted[collection])
    for (path, leaf), got in zip(paths, jax.tree.leaves(made[collection])):
      if jax.tree_util.keystr(path).endswith('.count'):
        assert got == 1
      else:
        assert got.dtype == leaf.dtype
        np.testing.assert_array_equal(got, leaf, str(path))
  # What was given stays as it is.
  assert before['quant_stats']['last']['quantizer']['range'].count == 0
  assert (before['params']['last']['bn']['bias'] == 0).all()


def test_a_channel_of_scale_0_keeps_it():
  before = make_variables()
  before['params']['first']['bn']['scale'][1] = 0
  numbers = measured.between(before, calibrated(before), CHAINS, {})
  np.testing.assert_array_equal(numbers.factors['first'], [1, 1, 0.5, 4])


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (lambda v: v['params'].pop('last'), "biases .* have besides .*'last/bn"),
    (lambda v: v['quant_stats'].pop('first'), 'ranges are of another network'),
    (
      lambda v: v['params']['last']['bn'].update(bias=np.zeros(6, np.float32)),
      r'last/bn/bias has the shape \[6\], and \[5\] was measured',
    ),
  ],
)
def test_another_network_is_refused(damage, message, stored):
  variables = make_variables()
  damage(variables)
  with pytest.raises(ValueError, match=message):
    measured.apply(variables, measured.load(stored))


@pytest.mark.parametrize('content', [b'', b'{}', bytes(64)])
def test_another_file_is_refused_by_name(content, tmp_path):
  path = tmp_path / 'other.safetensors'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=r'other\.safetensors does not hold'):
    measured.load(path)
