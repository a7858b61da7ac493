"""What the tests of operators share: values, and the oracle's verdict."""

import integer_oracle
import jax
import jax.numpy as jnp
import numpy as np

from faceqat.integer import kernels

ZERO_POINTS = [-128, -7, 0, 127]


def int8(rng, *shape, low=-128, high=127):
  return rng.integers(low, high, shape, np.int8, endpoint=True)


def check_against_oracle(
  op, arrays, inputs, output, kernel=kernels.compute, oracle=integer_oracle
):
  """A kernel gives the oracle's bits, compiled or not; returns them."""
  op.check(inputs, output)
  values = [x.astype(np.int64) for x in arrays]
  wanted = oracle.run_operator(op, values, inputs, output)

  def run(*values):
    return kernel(op, list(values), inputs, output)

  for function in (jax.jit(run), run):
    got = function(*map(jnp.asarray, arrays))
    assert got.dtype == jnp.int8
    assert got.shape == (arrays[0].shape[0], *output.shape)
    np.testing.assert_array_equal(got, wanted)
  return np.asarray(got)


def all_pairs():
  """int8 [1, 256, 1, 256], twice: every pair of values."""
  grid = np.arange(-128, 128, dtype=np.int8)
  return [side.reshape(1, 256, 1, 256) for side in np.meshgrid(grid, grid)]
