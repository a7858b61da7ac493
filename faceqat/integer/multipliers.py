"""Fixed-point multipliers of every operator, derived from float32 scales.

The precision of each quotient is that of the TFLite reference kernels: some
divide in float64, some in float32. All of it runs on the host, once.
"""

import fractions
import math
from typing import NamedTuple

import numpy as np

from faceqat.integer.tensors import Tensor

# Bits of headroom that ADD gives its inputs before it rescales them.
ADD_LEFT_SHIFT = 20


class Rescaling(NamedTuple):
  """A factor `q31 * 2^(shift - 31)`, and what it is applied to.

  Attributes:
    q31, shift: integers, or int32 [C].
    reach: largest magnitude of what is rescaled; an integer, or int64 [C].
  """

  q31: int | np.ndarray
  shift: int | np.ndarray
  reach: int | np.ndarray


def quantize_multiplier(multiplier: float) -> tuple[int, int]:
  """`multiplier` as `q31 * 2^(shift - 31)`.

  Args:
    multiplier: real factor >= 0, a python float (float64).

  Returns:
    (q31, shift): q31 in [2^30, 2^31), or (0, 0) where the factor is below
    2^-32.

  Raises:
    ValueError: the factor is negative, not finite or at least 2^30.

  Source: `QuantizeMultiplier` of TFLite's quantization_util.

  >>> quantize_multiplier(0.75), quantize_multiplier(4.0) == (2**30, 3)
  ((1610612736, 0), True)
  """
  if not 0 <= multiplier < 2**30:
    raise ValueError(
      f'a rescaling factor is {multiplier}; it must lie in [0, 2^30). Its '
      'scales are damaged or differ absurdly'
    )
  mantissa, shift = math.frexp(multiplier)
  # Exact: a float64 mantissa times 2^31 keeps all its bits, and so does + 0.5
  # with 53 bits for 31 + 1. Half goes up, which is away from zero here.
  q31 = math.floor(mantissa * 2**31 + 0.5)
  if q31 == 2**31:
    q31, shift = 2**30, shift + 1
  if shift < -31:
    return 0, 0
  return q31, shift


def quantize_multipliers(multipliers) -> tuple[np.ndarray, np.ndarray]:
  """`quantize_multiplier` of each: two int32 arrays [C]."""
  pairs = [quantize_multiplier(float(m)) for m in multipliers]
  q31, shift = zip(*pairs)
  return np.array(q31, np.int32), np.array(shift, np.int32)


def weighted_multipliers(
  weight_scale: np.ndarray, source: Tensor, output: Tensor
) -> tuple[np.ndarray, np.ndarray]:
  """(q31, shift), int32 [O] each, of a convolution or dense layer."""
  scales = weight_scale.astype(np.float64)
  return quantize_multipliers(source.scale * scales / output.scale)


def requantize_multiplier(source: Tensor, output: Tensor) -> tuple[int, int]:
  """(q31, shift) from one tensor's scale to another's."""
  return quantize_multiplier(source.scale / output.scale)


def add_multipliers(
  first: Tensor, second: Tensor, output: Tensor
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
  """(q31, shift) of the first input, the second input and the sum.

  Raises:
    ValueError: the output scale is so small that the sum's factor reaches 1,
      which the kernels refuse.
  """
  twice = 2 * max(first.scale, second.scale)
  # A power of two times float32 is exact in float32, so float64 throughout
  # gives the kernel's own quotients.
  total = twice / (2**ADD_LEFT_SHIFT * output.scale)
  pair = quantize_multiplier(total)
  if total >= 1 or pair[1] > 0:
    raise ValueError(
      f'the output scale {output.scale} is less than 2^-19 of the input '
      f'scales {first.scale} and {second.scale}; observe its range again'
    )
  inputs = [quantize_multiplier(t.scale / twice) for t in (first, second)]
  return inputs[0], inputs[1], pair


def prelu_multipliers(
  alpha_scale: float, source: Tensor, output: Tensor
) -> tuple[tuple[int, int], tuple[int, int]]:
  """(q31, shift) of the positive and of the negative side."""
  # float32, as the kernel's Prepare computes them.
  scale, alpha = np.float32(source.scale), np.float32(alpha_scale)
  result = np.float32(output.scale)
  with np.errstate(over='ignore', under='ignore'):
    positive, negative = scale / result, scale * alpha / result
  return (
    quantize_multiplier(float(positive)),
    quantize_multiplier(float(negative)),
  )


def mul_multiplier(
  first: Tensor, second: Tensor, output: Tensor
) -> tuple[int, int]:
  """(q31, shift) of a product of two tensors."""
  # float32, as the kernel's Prepare computes them.
  scales = [np.float32(t.scale) for t in (first, second, output)]
  with np.errstate(over='ignore', under='ignore'):
    factor = scales[0] * scales[1] / scales[2]
  return quantize_multiplier(float(factor))


def logistic_table(source: Tensor) -> np.ndarray:
  """The logistic function of every int8 value.

  Returns:
    int8 [256], in steps of 1/256 from -128; the index is q + 128.

  Source: `LUTPopulate` of TFLite's kernels, which tabulates in float32.
  """
  values = np.arange(-128, 128)
  reals = np.float32(source.scale) * np.float32(values - source.zero_point)
  with np.errstate(over='ignore', under='ignore'):
    # By way of float64, as C's expf is rounded better than numpy's.
    powers = np.exp(-reals.astype(np.float64)).astype(np.float32)
    shares = np.float32(1) / (np.float32(1) + powers)
  steps = np.floor(shares * np.float32(256) + np.float32(0.5))
  return np.clip(steps - 128, -128, 127).astype(np.int8)


def square_root_table(source: Tensor, output: Tensor) -> np.ndarray:
  """The square root of every int8 value.

  No runtime has this operator in int8, so the rule is ours: the exact root,
  rounded once, halves up.

  Negative numbers count as zero.

  Returns:
    int8 [256]; the index is q + 128.
  """
  step = (
    fractions.Fraction(source.scale) / fractions.Fraction(output.scale) ** 2
  )
  table = []
  for value in range(-128, 128):
    square = max(value - source.zero_point, 0) * step.numerator
    # floor(root + 1/2), by way of floor(2 root), which is an integer root.
    root = (math.isqrt(4 * square // step.denominator) + 1) // 2
    table.append(min(output.zero_point + root, output.qmax))
  return np.array(table, np.int8)


def mean_multiplier(source: Tensor, output: Tensor) -> tuple[int, int]:
  """(q31, shift) of a mean over height and width; 1/n is folded in.

  q31 may lie below 2^30 here: the kernel divides the quantized multiplier.
  """
  count = source.shape[0] * source.shape[1]
  q31, shift = requantize_multiplier(source, output)
  spare = min(count.bit_length() - 1, 32, 31 + shift)
  return (q31 << spare) // count, shift - spare
