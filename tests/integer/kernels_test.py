"""Each operator against the oracle, bit for bit."""

import jax
import numpy as np
import pytest
from kernel_checks import ZERO_POINTS, check_against_oracle, int8

from faceqat.integer import kernels
from faceqat.integer import operators as ops
from faceqat.integer.accumulators import check_operator
from faceqat.integer.tensors import QParams, Tensor


def conv(rng, kernel, inputs, channels, *, depthwise=False, **fields):
  """A convolution with random weights; scales are the caller's."""
  shape = (*kernel, 1 if depthwise else inputs, channels)
  fields = {
    'weight_scale': np.full(channels, 2.0**-9, np.float32),
    'bias': rng.integers(-9_000, 9_000, channels).astype(np.int32),
    **fields,
  }
  return ops.Conv2D(
    name='out',
    inputs=('in',),
    weights=int8(rng, *shape, low=-127),
    depthwise=depthwise,
    **fields,
  )


CONVOLUTIONS = {
  # kernel, strides, padding, depthwise
  '1x1': ((1, 1), (1, 1), ((0, 0), (0, 0)), False),
  '1x1 stride 2': ((1, 1), (2, 2), ((0, 0), (0, 0)), False),
  '3x3 same': ((3, 3), (1, 1), ((1, 1), (1, 1)), False),
  '3x3 stride 2, uneven padding': ((3, 3), (2, 2), ((0, 1), (1, 0)), False),
  'whole image': ((8, 9), (1, 1), ((0, 0), (0, 0)), False),
  'depthwise same': ((3, 3), (1, 1), ((1, 1), (1, 1)), True),
  'depthwise stride 2': ((3, 3), (2, 2), ((0, 1), (0, 1)), True),
  'depthwise 5x2, strides 1x3': ((5, 2), (1, 3), ((2, 2), (1, 0)), True),
  'depthwise, whole image': ((8, 9), (1, 1), ((0, 0), (0, 0)), True),
  'depthwise 1x1': ((1, 1), (1, 1), ((0, 0), (0, 0)), True),
}


@pytest.mark.parametrize('geometry', CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution_equals_the_oracle(geometry):
  kernel, strides, padding, depthwise = geometry
  rng = np.random.default_rng(0)
  op = conv(
    rng,
    kernel,
    6,
    6 if depthwise else 5,
    depthwise=depthwise,
    strides=strides,
    padding=padding,
  )
  # Some scale, and powers of two: there accumulators are cut at exact ties.
  for scale, zero_point in ((0.0437, 127), (2.0**-5, -128), (2.0**-5, -7)):
    source = Tensor('in', (8, 9, 6), scale, zero_point)
    shape = op.output_shape([source])
    output = Tensor('out', shape, scale, -1 - zero_point)
    got = check_against_oracle(op, [int8(rng, 6, 8, 9, 6)], [source], output)
    assert len(np.unique(got)) > 5


def test_convolution_holds_for_channel_scales_over_six_decades():
  rng = np.random.default_rng(0)
  channels = 64
  scale = np.geomspace(1e-6, 1.0, channels).astype(np.float32)
  op = conv(rng, (1, 1), 16, channels, weight_scale=scale)
  source = Tensor('in', (4, 4, 16), 0.05, 11)
  output = Tensor('out', (4, 4, channels), 0.0011, -3)
  # From far below one to 45 times one: left and right shifts in one layer.
  factors = 0.05 * scale / 0.0011
  assert factors.min() < 1e-4
  assert factors.max() > 40
  check_against_oracle(op, [int8(rng, 8, 4, 4, 16)], [source], output)


@pytest.mark.parametrize('zero_point', ZERO_POINTS)
@pytest.mark.parametrize('side', [0, 1])
def test_convolution_holds_for_the_largest_bias_that_is_allowed(
  side, zero_point
):
  rng = np.random.default_rng(1)
  fields = {'weight_scale': np.full(8, 1e-9, np.float32)}
  bare = conv(rng, (3, 3), 8, 8, **fields)
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
  check_against_oracle(bare, [x], [source], output)
  bare.bias[3] += 2 * side - 1
  with pytest.raises(
    ValueError, match=r"'out' \(Conv2D\): channel 3: .* can reach"
  ):
    check_operator(bare, [source], output)


@pytest.mark.parametrize('zero_point', ZERO_POINTS)
def test_dense_equals_the_oracle(zero_point):
  rng = np.random.default_rng(2)
  op = ops.Dense(
    name='out',
    inputs=('in',),
    weights=int8(rng, 40, 16, low=-127),
    weight_scale=(2.0 ** rng.uniform(-12, -7, 16)).astype(np.float32),
    bias=rng.integers(-9_000, 9_000, 16).astype(np.int32),
    clamp=(-100, 90),
  )
  source = Tensor('in', (40,), 0.04, zero_point)
  output = Tensor('out', (16,), 0.05, 127 if zero_point == -128 else -100)
  got = check_against_oracle(op, [int8(rng, 64, 40)], [source], output)
  assert got.min() >= -100
  assert got.max() <= 90


@pytest.mark.parametrize('size', [(1, 1), (2, 2), (7, 7), (3, 5), (31, 33)])
@pytest.mark.parametrize('out_scale', [0.04, 0.25, 0.0007, 60.0])
def test_mean_equals_the_oracle(size, out_scale):
  rng = np.random.default_rng(3)
  op = ops.Mean(name='out', inputs=('in',))
  for zero_point in ZERO_POINTS:
    source = Tensor('in', (*size, 40), 0.25, zero_point)
    output = Tensor('out', (40,), out_scale, -1 - zero_point)
    x = int8(rng, 6, *size, 40)
    x[4:] = [[[[-128]]], [[[127]]]]
    # Nearly constant images: their means lie close to ties.
    level = int8(rng, 3, 1, 1, 40).astype(np.int64)
    x[:3] = np.clip(level + rng.integers(0, 2, x[:3].shape), -128, 127)
    check_against_oracle(op, [x], [source], output)


@pytest.mark.parametrize('zero_point', ZERO_POINTS)
@pytest.mark.parametrize('depth', [1, 3, 128, 512])
def test_l2_normalize_equals_the_oracle(depth, zero_point):
  rng = np.random.default_rng(depth)
  op = ops.L2Normalize(name='out', inputs=('in',))
  source = Tensor('in', (depth,), 0.1, zero_point)
  output = Tensor('out', (depth,), 1 / 128, 0)
  rows = [np.full((1, depth), zero_point, np.int8), int8(rng, 60, depth)]
  rows += [np.full((1, depth), limit, np.int8) for limit in (-128, 127)]
  near = zero_point + rng.integers(-2, 3, (60, depth))
  one = np.full((2, depth), zero_point)
  one[:, 0] += (1, -1) if -128 < zero_point < 127 else 0
  rows += [np.clip(near, -128, 127), np.clip(one, -128, 127)]
  x = np.concatenate(rows).astype(np.int8)
  check_against_oracle(op, [x], [source], output)


@pytest.mark.parametrize('padding', [((0, 0), (0, 0)), ((1, 1), (0, 1))])
@pytest.mark.parametrize('strides', [(1, 1), (2, 2)])
def test_max_pool_equals_the_oracle(padding, strides):
  rng = np.random.default_rng(4)
  op = ops.MaxPool(
    name='out', inputs=('in',), window=(3, 2), strides=strides, padding=padding
  )
  source = Tensor('in', (7, 8, 3), 0.1, 127)
  output = Tensor('out', op.output_shape([source]), 0.1, 127)
  check_against_oracle(op, [int8(rng, 2, 7, 8, 3)], [source], output)


@pytest.mark.parametrize(
  'padding', [((0, 0), (0, 0)), ((1, 1), (0, 1)), ((2, 1), (1, 0))]
)
@pytest.mark.parametrize('strides', [(1, 1), (2, 2), (1, 3)])
def test_average_pool_equals_the_oracle(padding, strides):
  rng = np.random.default_rng(4)
  op = ops.AveragePool(
    name='out', inputs=('in',), window=(3, 2), strides=strides, padding=padding
  )
  for zero_point in (-128, 0, 127):
    # The zero point has no part in it: halves go away from raw 0.
    source = Tensor('in', (7, 8, 3), 0.1, zero_point)
    output = Tensor('out', op.output_shape([source]), 0.1, zero_point)
    x = int8(rng, 8, 7, 8, 3)
    # Sums of few values near 0: every sixth average is a tie.
    x[2:6] = rng.integers(-2, 3, x[2:6].shape)
    x[6], x[7] = -128, 127
    got = check_against_oracle(op, [x], [source], output)
    assert (got[6].max(), got[7].min()) == (-128, 127)


def test_concat_reshape_and_clamp_equal_the_oracle():
  rng = np.random.default_rng(5)
  qparams = {'scale': 0.1, 'zero_point': 9}
  a, b = Tensor('a', (3, 4, 2), **qparams), Tensor('b', (3, 4, 5), **qparams)
  x, y = int8(rng, 2, 3, 4, 2), int8(rng, 2, 3, 4, 5)
  output = Tensor('out', (3, 4, 7), **qparams)
  op = ops.Concat(name='out', inputs=('a', 'b'))
  check_against_oracle(op, [x, y], [a, b], output)
  op = ops.Reshape(name='out', inputs=('a',))
  check_against_oracle(op, [x], [a], Tensor('out', (24,), **qparams))
  op = ops.Clamp(name='out', inputs=('a',), limits=(9, 70))
  check_against_oracle(op, [x], [a], Tensor('out', (3, 4, 2), **qparams))


@pytest.mark.parametrize('bits', [2, 4, 6])
@pytest.mark.parametrize('narrow', [False, True])
def test_narrow_activations_stay_within_their_bits(bits, narrow):
  rng = np.random.default_rng(bits)
  x = int8(rng, 64, 4, 4, 8)
  source = Tensor('in', (4, 4, 8), 0.1, 5)
  qparams = QParams(0.3, 0, bits, narrow)
  shape = (4, 4, 8)
  output = Tensor('out', shape, 0.3, 0, bits, narrow)
  limits = (qparams.qmin, qparams.qmax)
  operators = [
    ops.Requantize(name='out', inputs=('in',)),
    ops.PReLU(name='out', inputs=('in',), alpha=int8(rng, 8), alpha_scale=0.01),
    conv(rng, (1, 1), 8, 8, clamp=limits),
  ]
  for op in operators:
    got = check_against_oracle(op, [x], [source], output)
    assert (got.min(), got.max()) == limits
  add = ops.Add(name='out', inputs=('in', 'in'))
  got = check_against_oracle(add, [x, x], [source, source], output)
  assert (got.min(), got.max()) == limits
  mean = ops.Mean(name='out', inputs=('in',))
  output = Tensor('out', (8,), 0.01, 0, bits, narrow)
  got = check_against_oracle(mean, [x], [source], output)
  assert (got.min(), got.max()) == limits


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
