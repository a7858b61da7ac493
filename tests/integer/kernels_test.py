"""Kernels at the ends of what they take; tests/exactness has the rest."""

import functools

import jax
import numpy as np
import pytest
from kernel_checks import ZERO_POINTS, all_pairs, check_against_oracle, int8

from faceqat.integer import kernels
from faceqat.integer import operators as ops
from faceqat.integer.accumulators import check_operator
from faceqat.integer.tensors import Tensor


def prelu(alpha_scale):
  alpha = np.arange(-127, 128, dtype=np.int8)
  return functools.partial(ops.PReLU, alpha=alpha, alpha_scale=alpha_scale)


@pytest.mark.parametrize('zero_point', ZERO_POINTS)
@pytest.mark.parametrize(
  ('kind', 'scales', 'out_scale'),
  [
    (ops.Add, (1.0, 1e-5), 0.9),
    (ops.Add, (0.2, 0.2), 1e-4),
    # Every other sum is a tie.
    (ops.Add, (0.2, 0.2), 0.4),
    # A factor of 2500, and then far below the least.
    (ops.Mul, (0.5, 0.5), 1e-4),
    (ops.Mul, (1e-6, 1e-6), 1.0),
    (ops.Mul, (1e-30, 1e-30), 1.0),
    (ops.Requantize, (0.05,), 0.0004),
    (ops.Requantize, (1e-7,), 1.0),
    (prelu(0.1), (0.07,), 0.001),
    (prelu(1e-4), (1e-6,), 1.0),
    (ops.Logistic, (1e-30,), 1 / 256),
    (ops.Logistic, (1e30,), 1 / 256),
    (ops.SquareRoot, (1e-30,), 1.0),
    (ops.SquareRoot, (1e30,), 1e-30),
  ],
)
def test_scales_far_apart_equal_the_oracle(kind, scales, out_scale, zero_point):
  arrays = all_pairs()
  if len(scales) == 1:
    arrays = [np.repeat(np.arange(-128, 128, dtype=np.int8)[:, None], 255, 1)]
  shape = arrays[0].shape[1:]
  inputs = [
    Tensor(f'in{number}', shape, scale, zero_point)
    for number, scale in enumerate(scales)
  ]
  operator = kind(name='out', inputs=tuple(t.name for t in inputs))
  out_zero_point = -128 if kind is ops.Logistic else -1 - zero_point
  output = Tensor('out', shape, out_scale, out_zero_point)
  check_operator(operator, inputs, output)
  check_against_oracle(operator, arrays, inputs, output)


@pytest.mark.parametrize('zero_point', ZERO_POINTS)
@pytest.mark.parametrize('side', [0, 1])
def test_convolution_holds_for_the_largest_bias_that_is_allowed(
  side, zero_point
):
  rng = np.random.default_rng(1)
  bare = ops.Conv2D(
    name='out',
    inputs=('in',),
    weights=int8(rng, 3, 3, 8, 8, low=-127),
    weight_scale=np.full(8, 1e-9, np.float32),
    bias=np.zeros(8, np.int32),
  )
  source = Tensor('in', (5, 5, 8), 0.05, zero_point)
  output = Tensor('out', (3, 3, 8), 0.002, 0)
  magnitude = np.abs(bare.weights.astype(np.int64)).sum((0, 1, 2))
  folded = zero_point * bare.weights.sum((0, 1, 2), dtype=np.int64)
  corrected = 2**31 - 1 - max(127 - zero_point, zero_point + 128) * magnitude
  raw = 2**31 - 1 - 128 * magnitude
  bias = (
    np.maximum(-corrected, -raw + folded),
    np.minimum(corrected, raw + folded),
  )[side]
  bare.bias[:] = bias
  x = int8(rng, 4, 5, 5, 8)
  # The image that drives channel 0 to its bound, where padding allows.
  x[0] = 127 if side else -128
  check_operator(bare, [source], output)
  check_against_oracle(bare, [x], [source], output)
  bare.bias[3] += 2 * side - 1
  with pytest.raises(
    ValueError, match=r"'out' \(Conv2D\): channel 3: .* can reach"
  ):
    check_operator(bare, [source], output)


@pytest.mark.parametrize('unsigned', [False, True])
def test_products_of_either_form_are_exact_at_the_extremes(
  unsigned, monkeypatch
):
  """uint8 times int8 is chosen by the processor; here both forms run."""
  monkeypatch.setattr(kernels, '_multiplies_unsigned', lambda: unsigned)
  rng = np.random.default_rng(0)
  x, weights = int8(rng, 24, 1027), int8(rng, 1027, 40, low=-127)
  x[0], x[1] = -128, 127
  weights[:, 0], weights[:, 1] = -127, 127
  # Where 16-bit sums of neighbours would saturate.
  x[2, ::2], weights[::2, 2] = 127, -127
  products = jax.jit(lambda x: kernels._matmul(x, weights))
  np.testing.assert_array_equal(
    products(x), x.astype(np.int64) @ weights.astype(np.int64)
  )
