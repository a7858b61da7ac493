"""Reductions in one pass: the values, and that it is one pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.quant.reductions import channel_sums, extremes

# Rows in runs of 8, of 7 and of 4; a prime number of them; one; no image.
SHAPES = [
  (2, 16, 3, 5),
  (3, 14, 2, 4),
  (2, 20, 1, 3),
  (2, 11, 3, 5),
  (2, 1, 1, 6),
  (7, 3),
]


@pytest.fixture(params=['cpu', 'gpu'])
def backend(request, monkeypatch):
  """Both forms, run on this processor."""
  monkeypatch.setattr(jax, 'default_backend', lambda: request.param)


def draw(shape, dtype=np.float32):
  return np.random.default_rng(0).normal(3, 5, shape).astype(dtype)


@pytest.mark.parametrize('count', [1, 2, 9])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_sums_are_those_of_each_channel(backend, shape, count):
  x = draw(shape)
  terms = [x * np.float32(k) for k in range(1, count + 1)]
  # Not cached for another backend.
  sums = jax.jit(lambda *terms: channel_sums(*terms))(*terms)
  assert len(sums) == count
  for actual, term in zip(sums, terms):
    wanted = np.float64(term).reshape(-1, shape[-1]).sum(0)
    # Float32 sums of at most 100 terms of up to 180.
    np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize('shape', [*SHAPES, (4, 6, 3), (5,)], ids=str)
def test_extremes_are_those_of_all_values(backend, shape):
  x = draw(shape)
  low, high = jax.jit(lambda x: extremes(x))(x)
  assert (low, high) == (x.min(), x.max())


def test_bfloat16_is_summed_in_float32():
  x = jnp.ones((2, 56, 56, 3), jnp.bfloat16)
  (total,) = channel_sums(x)
  assert total.dtype == jnp.float32
  np.testing.assert_array_equal(total, 2 * 56 * 56)
  assert extremes(x)[0].dtype == jnp.float32


@pytest.mark.parametrize('count', [1, 2, 3])
def test_a_sum_on_a_cpu_reads_its_images_once(count, monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'cpu')
  images = [draw((2, 16, 3, 5))] * count
  jaxpr = jax.make_jaxpr(channel_sums)(*images)
  whole = [
    equation
    for equation in jaxpr.eqns
    if 'reduce' in equation.primitive.name
    and equation.invars[0].aval.size >= images[0].size
  ]
  assert len(whole) == 1
  assert len(whole[0].outvars) == max(count, 2)


def test_a_damaged_value_reaches_its_own_channel_alone():
  x = draw((2, 16, 3, 5))
  x[1, 9, 2, 3] = np.nan
  first, second = channel_sums(x, x + x)
  for sums in (first, second):
    np.testing.assert_array_equal(np.isnan(sums), np.arange(5) == 3)
