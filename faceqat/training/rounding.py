"""Class weights in bfloat16, rounded so that small updates are not lost.

An update is often less than half of a last bit, and would be rounded away each
time. Rounded up or down at random, in proportion, it is right on average.
Source: Gupta et al. 2015, "Deep learning with limited numerical precision",
section 3.
"""

import jax
import jax.numpy as jnp

# A sample of classes folds their numbers into the key of a step; no class has
# this one.
_ROUNDING = 2**32 - 1


def key_of(seed: int, step: jax.Array) -> jax.Array:
  """The key of a step, of the seed of a training."""
  key = jax.random.fold_in(jax.random.key(seed), step)
  return jax.random.fold_in(key, _ROUNDING)


def add(values: jax.Array, updates: jax.Array, key: jax.Array) -> jax.Array:
  """Adds updates of any float type to [K, D] bfloat16, all classes in order."""
  moved = values.astype(jnp.float32) + updates
  return round_at_random(moved, jnp.arange(len(values)), key)


def round_at_random(
  values: jax.Array, rows: jax.Array, key: jax.Array
) -> jax.Array:
  """Rounds to bfloat16, up or down, by the key and the place of a number alone.

  Args:
    values: [K, D] float32, finite.
    rows: [K] int32, numbers of the rows, the same wherever a row lies.
    key: of the step.

  Returns:
    [K, D] bfloat16.
  """
  columns = jnp.arange(values.shape[1], dtype=jnp.uint32)
  noise = _mix(rows.astype(jnp.uint32) ^ jax.random.bits(key))
  noise = _mix(noise[:, None] + columns) >> 16
  bits = jax.lax.bitcast_convert_type(values, jnp.uint32) + noise
  upper = (bits >> 16).astype(jnp.uint16)
  return jax.lax.bitcast_convert_type(upper, jnp.bfloat16)


def _mix(x):
  """A hash of 32 bits: `lowbias32` of Wellons 2018, "Hash prospector"."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
  x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
  return x ^ (x >> 16)
