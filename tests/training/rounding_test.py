import jax
import jax.numpy as jnp
import numpy as np

from faceqat.training import rounding

KEY = rounding.key_of(0, 3)


def test_small_updates_arrive_on_average_and_zero_stays():
  # A tenth of a last bit of 1, and ten steps of it.
  values = jnp.zeros((64, 32), jnp.bfloat16).at[1:].set(-1.0)
  update = jnp.full((64, 32), -(2.0**-7) / 10).at[0].set(0.0)
  moved = values
  for step in range(10):
    moved = rounding.add(moved, update, rounding.key_of(0, step))
  assert moved.dtype == jnp.bfloat16
  assert not np.any(moved[0])
  # A last bit together, of 2,000 numbers whose deviation is a last bit each.
  mean = np.mean(np.asarray(moved[1:], np.float64))
  assert abs(mean + 1 + 2.0**-7) < 5 * 2.0**-7 / 2000**0.5
  assert np.all(values + update.astype(jnp.bfloat16) == values)


def test_what_is_exact_stays_and_the_rest_goes_up_or_down():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(16, 8)).astype(np.float32)
  rounded = rounding.round_at_random(values, jnp.arange(16), KEY)
  again = rounding.round_at_random(
    rounded.astype(jnp.float32), jnp.arange(16), KEY
  )
  np.testing.assert_array_equal(rounded, again)
  error = np.abs(np.asarray(rounded, np.float32) - values)
  # A last bit of 8.
  assert np.all(error < 2.0**-7 * np.abs(values))
  nearest = np.asarray(values.astype(jnp.bfloat16), np.float32)
  # To the farther neighbour a quarter of the time.
  assert 0.1 < np.mean(np.asarray(rounded, np.float32) != nearest) < 0.4


def test_a_number_is_rounded_alike_wherever_its_row_lies():
  values = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
  whole = rounding.round_at_random(values, jnp.arange(16), KEY)
  part = rounding.round_at_random(values[5:9], jnp.arange(5, 9), KEY)
  np.testing.assert_array_equal(whole[5:9], part)
  other = rounding.round_at_random(values, jnp.arange(16), jax.random.key(1))
  assert not np.array_equal(whole, other)
