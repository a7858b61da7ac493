"""The norms that a config can name, and which of them have integers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from defaults import batch_renorm, make_spec
from layer_network import random_variables

from configs.compose import NORMS as BLOCKS
from faceqat.integer import tracing
from faceqat.quant.layers import QuantConv, QuantDense, input_image
from faceqat.quant.norm import (
  NORMS,
  BatchNorm,
  BatchRenorm,
  GroupNorm,
  NoIntegerFormError,
  group_norm,
  make_norm,
)
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode
from faceqat.quant.weightless import Flatten

SHAPE = (2, 5, 4, 6)


@pytest.fixture
def x():
  return np.random.default_rng(0).normal(0.5, 2, SHAPE).astype(np.float32)


@pytest.mark.parametrize(
  ('fields', 'expected'),
  [
    # Ioffe 2017, section 4: from 5000 steps on, r_max to 3 at 40 k, d_max to 5
    # at 25 k.
    (
      {'start': 5000, 'r_end': 40000, 'd_end': 25000},
      {
        0: (1, 0),
        5000: (1, 0),
        15000: (1 + 2 * 10 / 35, 2.5),
        25000: (1 + 2 * 20 / 35, 5),
        40000: (3, 5),
        10**6: (3, 5),
      },
    ),
    # Whole at once, where the start is the end.
    (
      {'r_max': 2, 'd_max': 1, 'start': 3, 'r_end': 3, 'd_end': 4},
      {3: (1, 0), 4: (2, 1)},
    ),
  ],
)
def test_the_limits_widen_as_in_the_paper(fields, expected):
  norm = batch_renorm(**fields)
  for count, limits in expected.items():
    got = norm.limits(jnp.float32(count))
    np.testing.assert_allclose(got, limits, rtol=1e-6, err_msg=str(count))


@pytest.mark.parametrize(
  ('config', 'expected'),
  [
    ({'name': 'batch', 'momentum': 0.99}, BatchNorm(0.99, 1e-3)),
    (
      {'name': 'renorm', 'start': 7},
      BatchRenorm(0.9, 1e-3, 3.0, 5.0, start=7, r_end=800, d_end=500),
    ),
    ({'name': 'group', 'groups': 8}, GroupNorm(8, 1e-5)),
  ],
)
def test_a_config_names_the_norm_and_its_fields(config, expected):
  norm = make_norm({**BLOCKS[config['name']](), **config})
  assert norm == expected
  # It is a part of a model, which is static under `jax.jit`.
  assert hash(norm) == hash(expected)


@pytest.mark.parametrize(
  ('config', 'message'),
  [
    ({'name': 'layer'}, r"model\.norm\.name is 'layer'; .* batch, renorm, gro"),
    (
      {'name': 'group', 'momentum': 0.9},
      r"momentum is no field of 'group'; it",
    ),
    ({'name': 'batch', 'momentum': 1.0}, r'model\.norm\.momentum is 1\.0; it '),
    (
      {'name': 'renorm', 'momentum': -1},
      r'momentum is -1; it lies in \[0, 1\)',
    ),
    ({'name': 'renorm', 'r_max': 0.5}, r'r_max is 0\.5; it is 1 or more'),
    ({'name': 'renorm', 'd_max': -1.0}, r'd_max is -1\.0; it is 0 or more'),
    ({'name': 'renorm', 'd_end': 9}, 'start is 100, .* d_end 9; the limits'),
    ({'name': 'renorm', 'start': -1}, 'start is -1; it is 0 or more'),
    ({'name': 'group', 'groups': 0}, 'groups is 0; it is 1 or more'),
    *(({'name': name, 'epsilon': 0.0}, 'epsilon is 0.0') for name in NORMS),
  ],
)
def test_a_wrong_norm_is_refused(config, message):
  block = BLOCKS.get(config['name'], dict)()
  with pytest.raises(ValueError, match=message):
    make_norm({**block, **config})


def test_a_field_that_the_config_lacks_is_named():
  with pytest.raises(
    ValueError, match=r"momentum is missing .* 'batch'; it has"
  ):
    make_norm({'name': 'batch', 'epsilon': 1e-3})


@pytest.mark.parametrize(
  ('channels', 'groups', 'taken'),
  [(12, 4, 4), (12, 5, 4), (6, 32, 6), (7, 3, 1)],
)
def test_group_norm_is_that_of_flax(x, channels, groups, taken):
  rng = np.random.default_rng(1)
  gn = {
    name: rng.normal(0, 1, channels).astype(np.float32)
    for name in ('scale', 'bias')
  }
  layer = QuantConv(
    features=channels,
    norm=GroupNorm(groups, 1e-4),
    activation='relu',
    quant=make_spec(),
  )
  variables = random_variables(layer, x.shape[1:])
  assert variables['params']['gn'].keys() == gn.keys()

  def expected(kernel):
    product = nn.Conv(channels, (3, 3), use_bias=False).apply(
      {'params': {'kernel': kernel}}, x
    )
    norm = nn.GroupNorm(taken, epsilon=1e-4)
    return nn.relu(norm.apply({'params': gn}, product))

  kernel = variables['params']['kernel']
  variables['params']['gn'] = gn
  # Sums of 54 float32 in another order, over a spread of about one.
  np.testing.assert_allclose(
    jax.jit(layer.apply, static_argnums=2)(variables, x, Mode(train=True)),
    jax.jit(expected)(kernel),
    rtol=0,
    atol=3e-5,
  )


def test_a_group_norm_resolves_a_deviation_small_beside_the_mean():
  class Norm(nn.Module):
    @nn.compact
    def __call__(self, y):
      return group_norm(GroupNorm(2, 1e-6), 4)(y)

  y = np.random.default_rng(0).normal(4000, 0.02, (2, 8, 8, 4))
  y = np.float32(y)
  got, _ = Norm().init_with_output(jax.random.key(0), y)
  groups = np.float64(y).reshape(2, 64, 2, 2)
  mean = groups.mean((1, 3), keepdims=True)
  var = groups.var((1, 3), keepdims=True)
  wanted = ((groups - mean) / np.sqrt(var + 1e-6)).reshape(y.shape)
  # The mean is off by some units of 2.4e-4, each 0.012 deviations.
  np.testing.assert_allclose(got, wanted, atol=0.1)


@pytest.mark.parametrize('dense', [True, False])
def test_an_output_of_one_position_is_one_group(x, dense):
  # In eight groups of one channel it would be nothing but the bias.
  norm = GroupNorm(8, 1e-5)
  if dense:
    layer, x = QuantDense(features=8, norm=norm, quant=make_spec()), x[:, 0, 0]
  else:
    layer = QuantConv(
      features=8,
      kernel_size=SHAPE[1:3],
      padding='VALID',
      norm=norm,
      quant=make_spec(),
    )
  run = jax.jit(layer.init_with_output, static_argnums=2)
  y = np.reshape(run(jax.random.key(0), x, FLOAT)[0], (2, 8))
  np.testing.assert_allclose(y.mean(1), 0, atol=1e-5)
  np.testing.assert_allclose(y.std(1), 1, rtol=1e-3)


class Network(nn.Module):
  dense: bool

  @nn.compact
  def __call__(self, images, mode):
    fields = {'features': 8, 'quant': make_spec(), 'norm': GroupNorm(32, 1e-5)}
    x = input_image(images)
    if not self.dense:
      return QuantConv(**fields, name='stem')(x, mode)
    x = Flatten(quant=make_spec(), name='flatten')(x, mode)
    return QuantDense(**fields, name='stem')(x, mode)


@pytest.mark.parametrize('symbol', [True, False])
@pytest.mark.parametrize('dense', [True, False])
def test_a_group_norm_has_no_integer_form_and_says_where(dense, symbol):
  network = Network(dense)
  images = jnp.zeros((1, *SHAPE[1:3], 3), jnp.uint8)
  variables = random_variables(network, images.shape[1:])

  def quantized():
    network.apply(variables, images, Mode(train=True, quantize=True))

  def traced():
    tracing.trace(
      lambda image: network.apply(variables, image, FAKE_QUANT),
      image_shape=images.shape[1:],
    )

  message = "layer stem has a group norm, .* 'batch' or 'renorm'"
  with pytest.raises(NoIntegerFormError, match=message):
    (traced if symbol else quantized)()
