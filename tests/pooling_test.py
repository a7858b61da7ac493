"""Pooling layers on arrays: what they average, and what padding counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.integer import record
from faceqat.integer.evaluator import make_evaluator
from faceqat.quant.pooling import (
  AveragePool,
  MaxPool,
  MeanPool,
  explicit_padding,
)
from faceqat.quant.spec import FAKE_QUANT, FLOAT

pytestmark = pytest.mark.usefixtures('quick_compilation')


def random_image(*shape, seed=0):
  return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def windows(x, layer):
  """[B, H', W', C, kh, kw], with NaN where a window leaves the image."""
  padding = explicit_padding(
    layer.padding, x.shape[1:3], layer.window, layer.strides
  )
  padded = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=np.nan)
  views = np.lib.stride_tricks.sliding_window_view(padded, layer.window, (1, 2))
  return views[:, :: layer.strides[0], :: layer.strides[1]]


GEOMETRIES = [
  {},
  {'window': (3, 3)},
  {'window': (3, 2), 'strides': (2, 1), 'padding': 'VALID'},
  {'window': (3, 3), 'strides': (1, 2), 'padding': ((2, 1), (0, 2))},
]


@pytest.mark.parametrize('fields', GEOMETRIES)
def test_padding_counts_in_no_pool(fields):
  # Padding of zeros would win against these, and shift the averages.
  x = random_image(2, 7, 6, 3) - 9
  for kind, reduce in ((MaxPool, np.nanmax), (AveragePool, np.nanmean)):
    layer = kind(**fields)
    wanted = reduce(windows(x, layer), (-2, -1))
    got = layer.apply({}, x, FLOAT)
    # Float32 sums of up to nine values.
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_a_mean_is_that_of_the_whole_image():
  x = random_image(2, 9, 10, 3)
  got, _ = MeanPool().init_with_output(jax.random.key(0), x, FLOAT)
  # Float32 sums of 90.
  np.testing.assert_allclose(got, x.mean((1, 2)), atol=1e-5)


def test_averages_of_bfloat16_are_summed_in_float32():
  x = jnp.asarray(random_image(1, 64, 64, 2) + 100, jnp.bfloat16)
  layer = AveragePool(window=(64, 64), padding='VALID')
  got = layer.apply({}, x, FLOAT)
  assert got.dtype == jnp.bfloat16
  # Half a step at 100; a sum in bfloat16 stops growing at a few hundred.
  wanted = np.asarray(x, np.float64).mean((1, 2), keepdims=True)
  np.testing.assert_allclose(np.float64(got), wanted, atol=0.25)


def test_an_average_is_within_half_a_step_of_the_device_s():
  steps = np.random.default_rng(1).integers(-128, 128, (4, 6, 6, 3), np.int8)
  reals = jnp.asarray((steps.astype(np.float32)) / 128)
  window = {'window': (3, 2), 'strides': (2, 2)}
  layer = AveragePool(**window, padding='VALID')
  averaged = np.asarray(layer.apply({}, reals, FAKE_QUANT))
  program = record.trace(
    lambda image: record.average_pool(image, name='pool', **window),
    image_shape=(6, 6, 3),
  )
  device = make_evaluator(program)(steps.view(np.uint8) ^ np.uint8(128))
  difference = averaged * 128 - np.asarray(device)
  assert 0.4 < np.abs(difference).max() <= 0.5 + 1e-4  # Of float32.


@pytest.mark.parametrize('size', [(10, 9), (7, 7), (2, 1), (112, 112)])
@pytest.mark.parametrize('strides', [(1, 1), (2, 2), (2, 1)])
def test_padding_by_name_gives_the_sizes_of_xla(size, strides):
  for padding in ('SAME', 'VALID'):
    if padding == 'VALID' and min(size) < 3:
      continue
    sides = explicit_padding(padding, size, (3, 3), strides)
    wanted = jax.lax.padtype_to_pads(size, (3, 3), strides, padding)
    assert sides == tuple(tuple(side) for side in wanted)
  assert explicit_padding(((0, 1), (2, 3)), size, (3, 3), strides) == (
    (0, 1),
    (2, 3),
  )
