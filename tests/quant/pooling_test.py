"""Pooling layers on arrays: what they average, and what padding counts."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from defaults import make_spec
from tflite_file import read

from faceqat.export import litert, tflite
from faceqat.integer import operators as ops
from faceqat.integer import tracing
from faceqat.integer.evaluator import make_evaluator
from faceqat.integer.program import CONTRACTS
from faceqat.quant.convolution import explicit_padding
from faceqat.quant.pooling import AveragePool, L2Pool, MaxPool, MeanPool
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode


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
  {'window': (3, 3), 'strides': (1, 1)},
  {'window': (3, 2), 'strides': (2, 1), 'padding': 'VALID'},
  {'window': (3, 3), 'strides': (1, 2), 'padding': ((2, 1), (0, 2))},
]


@pytest.mark.parametrize('fields', GEOMETRIES)
def test_padding_counts_in_no_pool(fields):
  # Padding of zeros would win against these, and shift the averages.
  x = random_image(2, 7, 6, 3) - 9
  for kind, reduce in ((MaxPool, np.nanmax), (AveragePool, np.nanmean)):
    layer = kind(**fields, quant=make_spec())
    wanted = reduce(windows(x, layer), (-2, -1))
    got = layer.apply({}, x, FLOAT)
    # Float32 sums of up to nine values.
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize('fields', GEOMETRIES)
def test_the_gradient_of_max_pooling_goes_to_the_greatest(fields):
  x = random_image(2, 7, 6, 3)  # No two of which are equal.
  layer = MaxPool(**fields, quant=make_spec())
  padding = explicit_padding(
    layer.padding, x.shape[1:3], layer.window, layer.strides
  )

  def gradient(pool):
    return jax.jit(jax.grad(lambda x: jnp.sum(jnp.square(pool(x)))))(x)

  got = gradient(lambda x: layer.apply({}, x, FLOAT))
  wanted = gradient(
    lambda x: nn.max_pool(x, layer.window, layer.strides, padding)
  )
  # Float32 sums over the windows that a pixel wins.
  np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_equal_values_share_the_gradient_of_max_pooling():
  gradient = jax.jit(
    jax.grad(lambda x: jnp.sum(MaxPool(quant=make_spec()).apply({}, x, FLOAT)))
  )(jnp.zeros((1, 4, 4, 1)))
  gradient = np.asarray(gradient)
  assert np.all(gradient > 0)
  # No more than there is: 1 for each window.
  sums = gradient.reshape(2, 2, 2, 2).sum((1, 3))
  np.testing.assert_array_equal(sums, 1)


def test_a_mean_is_that_of_the_whole_image():
  x = random_image(2, 9, 10, 3)
  got, _ = MeanPool(quant=make_spec()).init_with_output(
    jax.random.key(0), x, FLOAT
  )
  # Float32 sums of 90.
  np.testing.assert_allclose(got, x.mean((1, 2)), atol=1e-5)


class _Mean(nn.Module):
  @nn.compact
  def __call__(self, x, mode):
    return MeanPool(make_spec({'mean': 'average_pool'}), name='mean')(x, mode)


@pytest.mark.parametrize('contract', CONTRACTS)
def test_a_mean_may_be_the_runtimes_average_pool(contract):
  """The raw sum over the count, halves away from zero, in the input's steps."""
  layer = _Mean()
  x = random_image(4, 5, 7, 3)
  np.testing.assert_allclose(
    layer.apply({}, x, FLOAT), x.mean((1, 2)), rtol=1e-4, atol=1e-7
  )
  program = dataclasses.replace(
    tracing.trace(
      lambda image: layer.apply({}, image, FAKE_QUANT), image_shape=(4, 6, 3)
    ),
    contract=contract,
  )
  kinds = [type(operator) for operator in program.operators]
  assert kinds == [ops.AveragePool, ops.Reshape]
  assert program.output == 'mean'
  assert program.tensors['mean'].qparams == program.tensors['image'].qparams
  images = np.random.default_rng(1).integers(0, 256, (200, 4, 6, 3), np.uint8)
  # Sums of 24 of which one in 24 is a tie; and those on either side of zero.
  totals = (images.astype(np.int64) - 128).sum((1, 2))
  wanted = np.sign(totals) * ((np.abs(totals) + 12) // 24)
  assert (np.abs(totals) % 24 == 12).any(where=totals < 0)
  np.testing.assert_array_equal(make_evaluator(program)(images), wanted)
  content = tflite.to_bytes(program)
  assert 'AVERAGE_POOL_2D' in [code for code, _, _ in read(content)[0]]
  (result,) = litert.make_runner(content, contract)(images).values()
  np.testing.assert_array_equal(result, wanted)


def test_averages_of_bfloat16_are_summed_in_float32():
  x = jnp.asarray(random_image(1, 64, 64, 2) + 100, jnp.bfloat16)
  layer = AveragePool(window=(64, 64), padding='VALID', quant=make_spec())
  got = layer.apply({}, x, FLOAT)
  assert got.dtype == jnp.bfloat16
  # Half a step at 100; a sum in bfloat16 stops growing at a few hundred.
  wanted = np.asarray(x, np.float64).mean((1, 2), keepdims=True)
  np.testing.assert_allclose(np.float64(got), wanted, atol=0.25)


def test_an_average_is_within_half_a_step_of_the_device_s():
  steps = np.random.default_rng(1).integers(-128, 128, (4, 6, 6, 3), np.int8)
  reals = jnp.asarray((steps.astype(np.float32)) / 128)
  window = {'window': (3, 2), 'strides': (2, 2)}
  layer = AveragePool(**window, padding='VALID', quant=make_spec())
  averaged = np.asarray(layer.apply({}, reals, FAKE_QUANT))
  program = tracing.trace(
    lambda image: tracing.apply(ops.AveragePool, image, name='pool', **window),
    image_shape=(6, 6, 3),
  )
  device = make_evaluator(program)(steps.view(np.uint8) ^ np.uint8(128))
  difference = averaged * 128 - np.asarray(device)
  assert 0.4 < np.abs(difference).max() <= 0.5 + 1e-4  # Of float32.


@pytest.mark.parametrize('fields', GEOMETRIES)
def test_l2_pooling_is_the_root_of_the_mean_square(fields):
  x = random_image(2, 7, 6, 3)
  layer = L2Pool(**fields, quant=make_spec())
  wanted = np.sqrt(np.nanmean(windows(x, layer) ** 2, (-2, -1)))
  got, _ = layer.init_with_output(jax.random.key(0), x, FLOAT)
  # Float32 sums of up to nine squares.
  np.testing.assert_allclose(got, wanted, rtol=1e-6)


class Pooled(nn.Module):
  """One layer, which has a name here; no window leaves an odd image.

  So its averages are of nine whole numbers, and never ties.
  """

  @nn.compact
  def __call__(self, x, mode):
    pool = L2Pool(
      window=(3, 3),
      strides=(2, 2),
      padding='VALID',
      quant=make_spec(),
      name='pool',
    )
    return pool(x, mode)


L2 = Pooled()


def calibrated(x):
  """Variables of `L2` whose ranges are those of `x`."""

  @jax.jit
  def observe(x):
    variables = L2.init(jax.random.key(0), x, FLOAT)
    mutable = ['quant_stats']
    return L2.apply(variables, x, Mode(observe=True), mutable=mutable)[1]

  return observe(x)


run_fake = jax.jit(lambda variables, x: L2.apply(variables, x, FAKE_QUANT))


def test_the_gradient_of_l2_pooling_is_finite_at_zero():
  x = np.maximum(random_image(1, 9, 9, 4), 0)
  x[0, :4] = 0
  variables = calibrated(x)

  def total(x, mode):
    return jnp.sum(L2.apply(variables, x, mode))

  gradient_of = jax.jit(jax.grad(total), static_argnames='mode')
  for mode in (Mode(train=True), Mode(train=True, quantize=True)):
    gradient = gradient_of(x, mode)
    assert np.isfinite(gradient).all()
    assert not np.any(gradient[0, :3])
    # d sqrt(mean x^2) / dx = x / (n root), and root >= x / sqrt(n), of at
    # most four windows; with quantization by up to a half more.
    assert 0.1 < np.abs(gradient[0, 5:]).max() < 4 * 1.5


def test_quantized_l2_pooling_has_a_sixteenth_of_the_range_above_zero():
  x = np.full((1, 6, 6, 1), 1.0, np.float32)
  variables = calibrated(x)
  amplitudes = np.linspace(0, 0.1, 101, dtype=np.float32)
  flat = np.broadcast_to(amplitudes[:, None, None, None], (101, 6, 6, 1))
  roots = np.asarray(run_fake(variables, flat))[:, 0, 0, 0]
  # Half of 1 / 255 is the square of 0.0443, and a whole one that of 0.0626.
  assert not roots[amplitudes < 0.044].any()
  assert (roots[(amplitudes > 0.045) & (amplitudes < 0.07)] == 16 / 255).all()


def test_l2_pooling_is_quantized_as_the_device_has_it():
  steps = np.random.default_rng(1).integers(-128, 128, (4, 7, 7, 3), np.int8)
  x = jnp.asarray(steps.astype(np.float32) / 128)
  variables = calibrated(x)
  program = tracing.trace(
    lambda image: L2.apply(variables, image, FAKE_QUANT), image_shape=(7, 7, 3)
  )
  device = make_evaluator(program)(steps.view(np.uint8) ^ np.uint8(128))
  output = program.tensors[program.output]
  fake = np.asarray(run_fake(variables, x)) / output.scale
  np.testing.assert_array_equal(
    np.rint(fake) + output.zero_point, np.asarray(device)
  )
