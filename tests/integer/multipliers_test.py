"""Factors and tables, in the precision of the runtimes' kernels."""

import math

import integer_oracle as oracle
import numpy as np
import pytest

from faceqat.integer import multipliers
from faceqat.integer.tensors import Tensor


def test_quantize_multiplier_equals_rational_arithmetic():
  rng = np.random.default_rng(6)
  factors = list(10.0 ** rng.uniform(-13, 6, 4_000))
  # At and beside powers of two, where the mantissa rounds up to 1.
  for exponent in range(-34, 12):
    power = 2.0**exponent
    factors += [power, np.nextafter(power, 0), np.nextafter(power, 9e9)]
    factors += [power * (1 - 2.0**-32), power * (1 - 2.0**-33)]
    factors += [power * (1 + 2.0**-31), power * (1 + 3 * 2.0**-32)]
  for factor in [0.0, *factors]:
    wanted = oracle.quantize_multiplier(factor)
    assert multipliers.quantize_multiplier(float(factor)) == wanted


@pytest.mark.parametrize('factor', [-1.0, math.nan, math.inf, 2.0**30])
def test_quantize_multiplier_refuses_what_is_no_factor(factor):
  with pytest.raises(ValueError, match='rescaling factor'):
    multipliers.quantize_multiplier(factor)


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
