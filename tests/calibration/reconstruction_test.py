"""Weights learn to be rounded so that parts of a network keep their output."""

import functools
import itertools

import jax
import layer_network as table
import numpy as np
import pytest
from backbone_checks import cosines
from defaults import make_network, make_spec
from tiny_run import leaves, make_config, make_start

from configs.models import MODELS
from faceqat.calibration.calibrate import calibrate
from faceqat.calibration.lower import lower, real_weights
from faceqat.calibration.reconstruction import find_parts, reconstruct
from faceqat.evaluators.predict import make_integer_predict, make_predict
from faceqat.models.network import Network, variable_shapes
from faceqat.quant.layers import input_image
from faceqat.quant.spec import FLOAT, QuantSpec
from faceqat.quant.weightless import Add, Flatten
from faceqat.training.train_state import named_leaves

INPUTS, OUTPUTS = 12, 2


class Linear(table.LayerTable):
  """Twelve pixels to two numbers, each with 2^12 ways to round its weights."""

  quant: QuantSpec = make_spec({'weight_bits': 3, 'observer': 'minmax'})

  layers = {
    'flatten': (Flatten, {}, ('image',)),
    'embedding': table.dense('flatten', OUTPUTS),
  }


def linear():
  """The calibrated network, its batches, and all images as [N, 12] pixels."""
  rng = np.random.default_rng(1)
  # Neighbours are alike, as in photographs, so errors of one sign add up.
  images = rng.integers(0, 256, (64, 1, 1, 1)) + rng.integers(
    -40, 41, (64, 2, 2, 3)
  )
  images = np.clip(images, 0, 255).astype(np.uint8)
  model = Linear()
  variables = table.random_variables(model, images.shape[1:])
  variables = table.calibrate(model, variables, images)
  config = make_config()
  config.data.image_size = images.shape[1:3]
  network = Network(model, variables, config, step=0)
  pixels = np.asarray(input_image(images)).reshape(-1, INPUTS)
  return network, [images[:32], images[32:]], pixels


def test_the_best_of_all_ways_to_round_a_layer_is_nearly_reached():
  network, batches, pixels = linear()
  learnt = network._replace(variables=reconstruct(network, batches, steps=50))
  real = np.asarray(real_weights(network)['embedding']['kernel'])
  (_, nearest), (_, rounded) = (
    lower(network).operators,
    lower(learnt).operators,
  )
  ways = np.array(list(itertools.product((0, 1), repeat=INPUTS)))
  for o in range(OUTPUTS):
    scale = nearest.weight_scale[o]
    all_ways = np.floor(real[:, o] / scale) + ways

    def error(steps):
      kernel = np.clip(steps, -3, 3) * scale  # noqa: B023
      return np.mean(np.square((kernel - real[:, o]) @ pixels.T), axis=-1)  # noqa: B023

    best = error(all_ways).min()
    assert error(nearest.weights[:, o]) > 2 * best
    # Gradients are no search; the second best ways are often as good.
    assert error(rounded.weights[:, o]) < 1.25 * best


@functools.cache
def tiny(*, learned_steps):
  config = make_config()
  config.quant.default.update(weight_bits=3, learned_steps=learned_steps)
  config.model.activation = 'prelu'
  model, state, _ = make_start(config)
  return Network(model, state.variables, config, step=0)


def faces(seed, count):
  """Smooth images: on noise, a mean over all positions hides every error."""
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (count, 4, 4, 3)).astype(np.float32)
  return np.uint8(jax.image.resize(small, (count, 32, 32, 3), 'linear'))


@pytest.mark.parametrize('learned_steps', [False, True])
def test_integers_are_nearer_to_float_on_unseen_images(learned_steps):
  network, unseen = tiny(learned_steps=learned_steps), faces(1, 32)
  batches = list(faces(0, 32).reshape(4, 8, 32, 32, 3))
  floats = np.asarray(
    make_predict(network.model, network.variables, FLOAT)(unseen)
  )
  lost, variables = {}, {}
  for name, settings in {
    'nearest': {},
    'biases': {'correct_biases': True},
    'reconstructed': {'reconstruction_steps': 60},
  }.items():
    config = network.config.copy_and_resolve_references()
    config.quant.update(settings)
    variables[name] = calibrate(network._replace(config=config), batches)
    program = lower(network._replace(variables=variables[name]))
    integers = np.asarray(make_integer_predict(program)(unseen), np.float32)
    lost[name] = np.mean(1 - cosines(integers, floats))
  assert lost['reconstructed'] < 0.5 * lost['nearest']
  assert lost['reconstructed'] < lost['biases']
  before, after = (leaves(variables[x]) for x in ('nearest', 'reconstructed'))
  changed = {x for x in after if not np.array_equal(before[x], after[x])}
  assert {name.rsplit('/', 1)[1] for name in changed} == {
    'kernel',
    'bias',
    *(['step'] if learned_steps else []),
  }


@pytest.mark.parametrize('name', MODELS)
def test_every_backbone_is_a_chain_of_parts(name):
  model = make_network(name, depth_multiplier=0.25)
  size = 80
  variables = variable_shapes(model, size)
  images = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
  parts = find_parts(model, variables, images)
  names = [name for part in parts for name in part.names]
  assert len(set(names)) == len(names)
  assert set(variables['params']) <= set(names)
  assert names[-1] == 'embedding'
  weighted = {
    name.split('/')[0]
    for name in named_leaves(variables['params'])
    if name.endswith('/kernel')
  }
  assert all(len(weighted & set(part.names)) == 1 for part in parts)


def test_parts_one_after_another_are_the_network():
  network, images = tiny(learned_steps=False), faces(0, 4)
  parts = find_parts(network.model, network.variables, images)
  assert [part.names for part in parts] == [
    ('stem', 'stem_prelu'),
    ('block', 'pool'),
    ('embedding',),
  ]

  @jax.jit
  def run(variables, images):
    x = input_image(images)
    for part in parts:
      x = part.apply(variables, x, FLOAT)
    return x

  expected = make_predict(network.model, network.variables, FLOAT)(images)
  # The same operations; XLA may contract products and sums in other places.
  np.testing.assert_allclose(
    run(network.variables, images), expected, rtol=0, atol=1e-4
  )


def test_a_network_that_is_no_chain_is_refused():
  class Fork(table.LayerTable):
    layers = {
      'first': table.conv('image'),
      'second': table.conv('first'),
      'sum': (Add, {}, ('first', 'second')),
    }

  model = Fork()
  variables = table.random_variables(model, table.IMAGE)
  images = np.zeros((1, *table.IMAGE), np.uint8)
  with pytest.raises(ValueError, match='sum does not read the output of sec'):
    find_parts(model, variables, images)


def test_no_images_are_refused():
  with pytest.raises(ValueError, match='one batch of faces at least'):
    reconstruct(tiny(learned_steps=False), [], steps=1)
