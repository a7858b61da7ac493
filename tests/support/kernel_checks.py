"""What the tests of operators share: values, and the oracle's verdict."""

import integer_oracle as oracle
import jax
import jax.numpy as jnp
import numpy as np

from faceqat.integer import kernels
from faceqat.integer.accumulators import check_operator

ZERO_POINTS = [-128, -7, 0, 127]


def int8(rng, *shape, low=-128, high=127):
  return rng.integers(low, high, shape, np.int8, endpoint=True)


def check_against_oracle(op, arrays, inputs, output):
  """The evaluator's operator gives the oracle's bits; returns them."""
  check_operator(op, inputs, output)
  op.check(inputs, output)
  got = jax.jit(lambda *xs: kernels.compute(op, list(xs), inputs, output))(
    *arrays
  )
  run = getattr(oracle, f'run_{type(op).__name__}')
  wanted = run(op, [x.astype(np.int64) for x in arrays], inputs, output)
  assert got.dtype == jnp.int8
  assert got.shape == (arrays[0].shape[0], *output.shape)
  np.testing.assert_array_equal(got, wanted)
  return np.asarray(got)


def all_pairs():
  """int8 [1, 256, 1, 256], twice: every pair of values."""
  grid = np.arange(-128, 128, dtype=np.int8)
  return [side.reshape(1, 256, 1, 256) for side in np.meshgrid(grid, grid)]
