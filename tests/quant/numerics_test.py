import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ulps import beside

from faceqat.quant import numerics

tf = pytest.importorskip('tensorflow')

F32 = np.float32
ALL_BITS = range(2, 17)
SIGNS = ('mixed', 'negative', 'positive')


def _range(rng, sign, shape=()):
  """A range with ends of very different sizes, as batches produce them."""
  ends = 10 ** rng.uniform(-2, 2, size=(2, *shape))
  if sign == 'mixed':
    return F32(-ends[0]), F32(ends[1])
  low, high = F32(ends[0]), F32(ends[0] + ends[1])
  return (low, high) if sign == 'positive' else (-high, -low)


def _values(rng, minimum, maximum, bits, narrow_range, size=512):
  """[size, ...]: anywhere around the range, half of it next to ties."""
  shape = (size, *np.shape(minimum))
  x = F32(rng.uniform(-0.5, 1.5, shape) * (maximum - minimum) + minimum)
  scale = (maximum - minimum) / F32(2**bits - 1 - narrow_range)
  ties = beside(rng, F32((np.floor(x / scale) + 0.5) * scale))
  return np.where(
    np.arange(size).reshape(-1, *[1] * np.ndim(minimum)) % 2, x, ties
  )


@functools.partial(jax.jit, static_argnames=('bits', 'narrow_range'))
def _value_and_gradients(g, x, minimum, maximum, **kwargs):
  y, pullback = jax.vjp(
    functools.partial(numerics.fake_quant, **kwargs), x, minimum, maximum
  )
  return y, *pullback(g)


def _assert_sums_close(actual, expected, g):
  # Both add float32 terms, in their own order; the error of a sum of 512
  # terms is far below 1e-5 of the sum of their magnitudes.
  np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(g).sum())


@pytest.mark.parametrize('narrow_range', [False, True])
@pytest.mark.parametrize('bits', ALL_BITS)
def test_fake_quant_is_bit_equal_to_tensorflow(bits, narrow_range):
  rng = np.random.default_rng(bits)
  kwargs = {'num_bits': bits, 'narrow_range': narrow_range}
  for sign in SIGNS * 4:
    low, high = _range(rng, sign)
    x = _values(rng, low, high, bits, narrow_range)
    g = F32(rng.normal(size=x.shape))
    expected = tf.quantization.fake_quant_with_min_max_vars(
      x, low, high, **kwargs
    )
    y, dx, dlow, dhigh = _value_and_gradients(
      g, x, low, high, bits=bits, narrow_range=narrow_range
    )
    np.testing.assert_array_equal(y, expected)
    want = tf.quantization.fake_quant_with_min_max_vars_gradient(
      g, x, low, high, **kwargs
    )
    np.testing.assert_array_equal(dx, want[0])
    _assert_sums_close(dlow, want[1], g)
    _assert_sums_close(dhigh, want[2], g)


@pytest.mark.parametrize('bits', [2, 4, 8, 16])
def test_ranges_known_at_compile_time_change_no_bit(bits):
  rng = np.random.default_rng(0)
  low, high = _range(rng, 'mixed')
  x = _values(rng, low, high, bits, False)
  fixed = jax.jit(lambda x: numerics.fake_quant(x, low, high, bits=bits))(x)
  np.testing.assert_array_equal(
    fixed,
    tf.quantization.fake_quant_with_min_max_vars(x, low, high, num_bits=bits),
  )


@pytest.mark.parametrize('narrow_range', [False, True])
@pytest.mark.parametrize('bits', ALL_BITS)
def test_fake_quant_gives_steps_of_the_nudged_params(bits, narrow_range):
  rng = np.random.default_rng(bits)
  kwargs = {'bits': bits, 'narrow_range': narrow_range}
  for _ in range(5):
    low, high = _range(rng, 'mixed')
    x = _values(rng, low, high, bits, narrow_range)
    scale, zero_point = map(
      np.asarray, numerics.nudged_params(low, high, **kwargs)
    )
    y = np.asarray(numerics.fake_quant(x, low, high, **kwargs))
    steps = np.rint(np.float64(y) / scale)
    np.testing.assert_array_equal(y, F32(steps) * scale)
    limits = (steps.min() + zero_point, steps.max() + zero_point)
    assert limits == numerics.signed_limits(bits, narrow_range)


@pytest.mark.parametrize(
  ('minimum', 'maximum', 'zero_point'),
  [(2.0, 6.0, -128), (-6.0, -2.0, 127), (0.0, 0.0, -128), (-1.0, 3.0, -64)],
)
def test_nudged_params_contain_zero(minimum, maximum, zero_point):
  scale, actual = numerics.nudged_params(minimum, maximum, bits=8)
  width = max(maximum, 0) - min(minimum, 0)
  assert actual == zero_point
  assert scale > 0
  np.testing.assert_allclose(
    scale,
    max(width, numerics.MIN_WIDTH) / 255,
    rtol=1e-6,  # float32
  )


@pytest.mark.parametrize('value', [-3.0, 0.0, 3.0])
def test_degenerate_ranges_stay_finite(value):
  x = jnp.linspace(-4, 4, 9)
  y, pullback = jax.vjp(
    lambda x, a, b: numerics.fake_quant(x, a, b), x, value, value
  )
  assert np.isfinite(y).all()
  # As with the TensorFlow ops, what remains of a shifted range touches 0.
  assert np.abs(y).max() <= numerics.MIN_WIDTH
  for gradient in pullback(jnp.ones_like(x)):
    assert np.isfinite(gradient).all()


def test_the_widest_weight_is_one_of_its_channel_and_of_either_sign():
  kernel = jnp.array([[1.0, -2.0, 0.0], [3.0, -1.0, 0.0]])[None, None]
  # The margin is 2^-22 relative.
  widest = numerics.widest_weight(kernel, per_channel=True)
  np.testing.assert_allclose(widest, [3, 2, 0], rtol=1e-6)
  widest = numerics.widest_weight(kernel, per_channel=False)
  assert widest.shape == ()
  assert widest == pytest.approx(3, rel=1e-6)


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
  x = jnp.linspace(-2, 2, 9)
  y, pullback = jax.vjp(lambda x: numerics.straight_through(x, 0 * x + 3), x)
  np.testing.assert_array_equal(y, 3)
  np.testing.assert_array_equal(pullback(x)[0], x)
  assert numerics.straight_through(x.astype(jnp.bfloat16), x).dtype == (
    jnp.bfloat16
  )


def test_gradients_of_a_stopped_range_are_dead_code():
  def grad_of(argnums, stop):
    def output(x, low, high):
      return numerics.fake_quant(x, stop(low), stop(high))

    def backward(g, *primals):
      return jax.vjp(output, *primals)[1](g)[argnums]

    x = jnp.ones((64, 64))
    return jax.jit(backward).lower(x, x, -1.0, 1.0).as_text()

  assert 'stablehlo.reduce' not in grad_of(0, jax.lax.stop_gradient)
  assert 'stablehlo.reduce' in grad_of(1, lambda limit: limit)


def test_bfloat16_keeps_its_type_and_rounds_in_float32():
  x = jnp.linspace(-2, 2, 1001).astype(jnp.bfloat16)
  y = numerics.fake_quant(x, -1.0, 1.0)
  assert y.dtype == jnp.bfloat16
  exact = numerics.fake_quant(x.astype(jnp.float32), -1.0, 1.0)
  np.testing.assert_array_equal(y, exact.astype(jnp.bfloat16))
  gradient = jax.grad(lambda x: numerics.fake_quant(x, -1.0, 1.0).sum())(x)
  assert gradient.dtype == jnp.bfloat16


@pytest.mark.parametrize('bits', [1, 17, 8.5])
def test_unsupported_bits_are_an_error(bits):
  for call in (
    lambda: numerics.signed_limits(bits),
    lambda: numerics.fake_quant(jnp.ones(3), -1.0, 1.0, bits=bits),
    lambda: numerics.nudged_params(-1.0, 1.0, bits=bits),
  ):
    with pytest.raises(ValueError, match='from 2 to 16'):
      call()


def test_a_range_that_does_not_fit_is_an_error():
  with pytest.raises(ValueError, match=r'\(4,\) and \(\).*scalars'):
    numerics.fake_quant(jnp.ones((2, 4)), -jnp.ones(4), 1.0)


def test_the_roundings_part_at_halves_alone():
  scale = 0.25
  # Of a range with this scale and the signed zero point 0.
  limits = F32(-128 * scale), F32(127 * scale)
  halves = F32(np.arange(-6, 6) + 0.5)
  expected = {
    'half_up': np.floor(halves + 0.5),
    'half_away': np.copysign(np.abs(halves) + 0.5, halves),
    'half_even': np.round(halves),
  }
  assert {*expected, 'double'} == {*numerics.ROUNDINGS}
  others = np.random.default_rng(0).uniform(-120, 120, 1000)
  others = F32(others[np.abs(others % 1 - 0.5) > 1e-3])
  for rounding, steps in expected.items():
    run = jax.jit(functools.partial(numerics.fake_quant, rounding=rounding))
    np.testing.assert_array_equal(run(halves * scale, *limits) / scale, steps)
    np.testing.assert_array_equal(
      run(others * scale, *limits) / scale, np.round(others)
    )
  assert not np.array_equal(expected['half_up'], expected['half_away'])
  assert not np.array_equal(expected['half_even'], expected['half_away'])
