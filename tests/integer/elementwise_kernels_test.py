"""Operators on single values against the oracle, for all values there are."""

import itertools
import math

import integer_oracle as oracle
import numpy as np
import pytest
from kernel_checks import ZERO_POINTS, all_pairs, check_against_oracle, int8

from faceqat.integer import multipliers
from faceqat.integer import operators as ops
from faceqat.integer.tensors import Tensor


@pytest.mark.parametrize(
  'scales',
  [(0.03, 0.07, 0.05), (0.5, 0.25, 0.5), (1.0, 1e-5, 0.9), (0.2, 0.2, 1e-4)],
)
@pytest.mark.parametrize(
  'zero_points', [(-128, 127, 0), (127, -128, -128), (3, 3, 127)]
)
def test_add_equals_the_oracle_on_all_pairs(scales, zero_points):
  op = ops.Add(name='out', inputs=('a', 'b'))
  tensors = [
    Tensor(name, (256, 1, 256), scale, zero_point)
    for name, scale, zero_point in zip(('a', 'b', 'out'), scales, zero_points)
  ]
  check_against_oracle(op, all_pairs(), tensors[:2], tensors[2])


@pytest.mark.parametrize(
  ('scale', 'out_scale'),
  [(0.03, 0.05), (0.5, 1.0), (0.05, 0.0004), (1e-7, 1.0), (0.25, 0.25)],
)
def test_requantize_equals_the_oracle_on_all_values(scale, out_scale):
  x = np.arange(-128, 128, dtype=np.int8).reshape(2, 128)
  op = ops.Requantize(name='out', inputs=('in',))
  for zero_point, out_zero_point in itertools.product(ZERO_POINTS, repeat=2):
    source = Tensor('in', (128,), scale, zero_point)
    output = Tensor('out', (128,), out_scale, out_zero_point)
    check_against_oracle(op, [x], [source], output)


@pytest.mark.parametrize(
  ('scales', 'alpha_scale'),
  [
    ((0.03, 0.05), 0.004),
    ((0.5, 0.25), 2.0**-7),
    ((0.07, 0.001), 0.1),
    ((1e-6, 1.0), 1e-4),
  ],
)
def test_prelu_equals_the_oracle_on_all_pairs(scales, alpha_scale):
  alpha = np.arange(-127, 128, dtype=np.int8)
  x = np.repeat(np.arange(-128, 128, dtype=np.int8)[:, None], 255, 1)
  op = ops.PReLU(
    name='out', inputs=('in',), alpha=alpha, alpha_scale=alpha_scale
  )
  for zero_point in ZERO_POINTS:
    source = Tensor('in', (255,), scales[0], zero_point)
    output = Tensor('out', (255,), scales[1], -1 - zero_point)
    check_against_oracle(op, [x], [source], output)


def test_prelu_multipliers_come_from_float32_quotients():
  rng = np.random.default_rng(11)
  differ = 0
  for s_in, s_out, s_alpha in 10 ** rng.uniform(-3, -1, (200, 3)):
    source, output = Tensor('in', (2,), s_in, 0), Tensor('out', (2,), s_out, 0)
    s_in, s_out, s_alpha = map(np.float32, (s_in, s_out, s_alpha))
    wanted = [float(s_in / s_out), float((s_in * s_alpha) / s_out)]
    got = multipliers.prelu_multipliers(s_alpha, source, output)
    assert list(got) == [oracle.quantize_multiplier(m) for m in wanted]
    exact = float(s_in) / float(s_out)
    differ += oracle.quantize_multiplier(exact) != got[0]
  # Else float64 quotients would pass as well.
  assert differ > 100


@pytest.mark.parametrize(
  'scales',
  [
    (0.03, 0.07, 0.05),
    (0.25, 0.5, 0.25),  # Ties.
    (0.1, 1 / 256, 0.1),
    (0.5, 0.5, 1e-4),  # A factor of 2500, and then far below the least.
    (1e-6, 1e-6, 1.0),
    (1e-30, 1e-30, 1.0),
  ],
)
@pytest.mark.parametrize(
  'zero_points', [(-128, 127, 0), (127, -128, -128), (3, 3, 127)]
)
def test_mul_equals_the_oracle_on_all_pairs(scales, zero_points):
  op = ops.Mul(name='out', inputs=('a', 'b'))
  tensors = [
    Tensor(name, (256, 1, 256), scale, zero_point)
    for name, scale, zero_point in zip(('a', 'b', 'out'), scales, zero_points)
  ]
  check_against_oracle(op, all_pairs(), tensors[:2], tensors[2])


@pytest.mark.parametrize('zero_point', ZERO_POINTS)
def test_mul_by_a_gate_per_channel_equals_the_oracle(zero_point):
  rng = np.random.default_rng(8)
  op = ops.Mul(name='out', inputs=('a', 'gate'))
  inputs = [
    Tensor('a', (5, 4, 7), 0.07, zero_point),
    Tensor('gate', (7,), 1 / 256, -128),
  ]
  output = Tensor('out', (5, 4, 7), 0.05, zero_point)
  x, gate = int8(rng, 6, 5, 4, 7), int8(rng, 6, 7)
  gate[0] = -128  # Closed: the output is its zero point.
  got = check_against_oracle(op, [x, gate], inputs, output)
  assert set(got[0].ravel()) == {output.zero_point}
  assert len(np.unique(got)) > 100


def test_mul_multipliers_come_from_float32_products_and_quotients():
  rng = np.random.default_rng(12)
  differ = 0
  for scales in 10 ** rng.uniform(-3, -1, (200, 3)):
    a, b, out = (Tensor('t', (2,), scale, 0) for scale in scales)
    s_a, s_b, s_out = (np.float32(scale) for scale in scales)
    wanted = oracle.quantize_multiplier(float(s_a * s_b / s_out))
    assert multipliers.mul_multiplier(a, b, out) == wanted
    exact = float(s_a) * float(s_b) / float(s_out)
    differ += oracle.quantize_multiplier(exact) != wanted
  # Else float64 would pass as well.
  assert differ > 100


@pytest.mark.parametrize('zero_point', ZERO_POINTS)
@pytest.mark.parametrize('scale', [1e-30, 1e-4, 0.01, 0.0437, 0.25, 3.0, 1e30])
def test_logistic_equals_the_oracle_on_all_values(scale, zero_point):
  x = np.arange(-128, 128, dtype=np.int8).reshape(2, 128)
  op = ops.Logistic(name='out', inputs=('in',))
  source = Tensor('in', (128,), scale, zero_point)
  output = Tensor('out', (128,), 1 / 256, -128)
  got = check_against_oracle(op, [x], [source], output)
  # From 0 to 255/256, and one half where x is 0.
  assert got.ravel()[zero_point + 128] == 0
  assert np.all(np.diff(got.ravel().astype(int)) >= 0)
  if scale == 0.25 and zero_point in (-7, 0):
    assert (got.min(), got.max()) == (-128, 127)


@pytest.mark.parametrize('zero_point', ZERO_POINTS)
@pytest.mark.parametrize(
  ('scale', 'out_scale'),
  [
    (0.01, 0.00627),  # The greatest root fills the output.
    (1.0, 2.0),  # Roots that are odd numbers of halves.
    (0.0437, 0.5),
    (3.0, 1e-3),
    (1e-30, 1.0),
    (1e30, 1e-30),
  ],
)
def test_square_root_equals_the_oracle_on_all_values(
  scale, out_scale, zero_point
):
  x = np.arange(-128, 128, dtype=np.int8).reshape(2, 128)
  op = ops.SquareRoot(name='out', inputs=('in',))
  source = Tensor('in', (128,), scale, zero_point)
  for out_zero_point, bits in ((-128, 8), (-8, 4), (3, 8)):
    output = Tensor('out', (128,), out_scale, out_zero_point, bits)
    got = check_against_oracle(op, [x], [source], output).ravel()
    # Below zero there is no root, and zero is its own.
    assert np.all(got[: zero_point + 129] == out_zero_point)
    assert np.all(np.diff(got.astype(int)) >= 0)


def test_square_roots_on_ties_go_up():
  # The roots of 1, 9, 25 and so on are odd numbers of halves of 2.
  source, output = Tensor('in', (1,), 1.0, -128), Tensor('out', (1,), 2.0, -128)
  table = multipliers.square_root_table(source, output).astype(int)
  odd = [value for value in range(256) if math.isqrt(value) % 2]
  odd = [value for value in odd if math.isqrt(value) ** 2 == value]
  assert len(odd) == 8
  for value in odd:
    assert table[value] + 128 == (math.isqrt(value) + 1) // 2
    assert table[value - 1] + 128 == (math.isqrt(value) - 1) // 2
