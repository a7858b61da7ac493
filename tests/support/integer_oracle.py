"""An independent model of every integer operator, in numpy int64.

It follows the TFLite reference kernels step by step, with 64-bit products and
C's division, and shares no arithmetic with `faceqat.integer`: it only reads
the fields of a program.
"""

import fractions
import functools
import math

import numpy as np

INT32_MAX = 2**31 - 1
INT32_MIN = -(2**31)


def quantize_multiplier(multiplier):
  """(q31, shift) of a float64, by exact rational arithmetic."""
  exact = fractions.Fraction(float(multiplier))
  if exact == 0:
    return 0, 0
  shift = 0
  while exact >= 1:
    exact /= 2
    shift += 1
  while exact < fractions.Fraction(1, 2):
    exact *= 2
    shift -= 1
  scaled = exact * 2**31
  q31 = int(scaled)
  if scaled - q31 >= fractions.Fraction(1, 2):
    q31 += 1
  if q31 == 2**31:
    q31, shift = 2**30, shift + 1
  if shift < -31:
    return 0, 0
  return q31, shift


def srdhm(a, b):
  """SaturatingRoundingDoublingHighMul on int64 arrays of int32 values."""
  a, b = np.broadcast_arrays(np.int64(a), np.int64(b))
  product = a * b
  nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
  # C divides toward zero.
  quotient = np.sign(nudged) * (np.abs(nudged) // 2**31)
  saturates = (a == INT32_MIN) & (b == INT32_MIN)
  return np.where(saturates, INT32_MAX, quotient)


def rdbpot(x, exponent):
  """RoundingDivideByPOT on int64 arrays of int32 values."""
  x, exponent = np.int64(x), np.int64(exponent)
  mask = (np.int64(1) << exponent) - 1
  remainder = x & mask
  threshold = (mask >> 1) + (x < 0)
  return (x >> exponent) + (remainder > threshold)


def rescale(x, q31, shift):
  """MultiplyByQuantizedMultiplier with double rounding."""
  shift = np.int64(shift)
  raised = np.int64(x) * (np.int64(1) << np.maximum(shift, 0))
  assert raised.size == 0 or np.abs(raised).max() <= INT32_MAX
  return rdbpot(srdhm(raised, q31), np.maximum(-shift, 0))


def rescale_by(x, multipliers):
  """The same with real multipliers, a float64 or one per channel."""
  if np.ndim(multipliers) == 0:
    return rescale(x, *quantize_multiplier(multipliers))
  pairs = np.array([quantize_multiplier(m) for m in multipliers], np.int64)
  return rescale(x, pairs[:, 0], pairs[:, 1])


def run_operator(op, arrays, inputs, output):
  """int64 arrays [B, *shape] to the operator's result, int64 too."""
  run_kind = globals()[f'run_{type(op).__name__}']
  result = run_kind(op, arrays, inputs, output)
  assert result.min() >= -128
  assert result.max() <= 127
  return result


def run(program, images, run_operator=run_operator):
  """uint8 images [B, H, W, 3] to a dict from tensor name to int8 array."""
  values = {program.input: images.astype(np.int64) - 128}
  for op in program.operators:
    arrays = [values[name] for name in op.inputs]
    output = program.tensors[op.output]
    inputs = program.inputs_of(op)
    values[op.output] = run_operator(op, arrays, inputs, output)
  return {name: value.astype(np.int8) for name, value in values.items()}


def _limited(x, output):
  low = -(2 ** (output.bits - 1)) + (1 if output.narrow else 0)
  return np.clip(x, low, 2 ** (output.bits - 1) - 1)


def _windows(x, op, window, value=0):
  """[B, H', W', C, kh, kw] of a padded image."""
  x = np.pad(x, ((0, 0), *op.padding, (0, 0)), constant_values=value)
  views = np.lib.stride_tricks.sliding_window_view(x, window, axis=(1, 2))
  return views[:, :: op.strides[0], :: op.strides[1]]


def weighted_sums(op, arrays, inputs):
  """What a convolution or dense layer rescales."""
  x = arrays[0] - inputs[0].zero_point
  weights = op.weights.astype(np.int64)
  if weights.ndim == 2:
    return x @ weights + op.bias
  views = _windows(x, op, weights.shape[:2])
  if op.depthwise:
    total = np.einsum('bhwcij,ijc->bhwc', views, weights[:, :, 0])
  else:
    total = np.einsum('bhwcij,ijco->bhwo', views, weights)
  return total + op.bias


def run_Conv2D(op, arrays, inputs, output):
  scales = [float(scale) for scale in op.weight_scale]
  factors = [inputs[0].scale * scale / output.scale for scale in scales]
  scaled = rescale_by(weighted_sums(op, arrays, inputs), factors)
  return np.clip(scaled + output.zero_point, *op.clamp)


run_Dense = run_Conv2D


def run_Add(op, arrays, inputs, output):
  scales = [np.float32(tensor.scale) for tensor in inputs]
  twice = np.float32(2) * max(scales)
  total = 0
  for x, tensor, scale in zip(arrays, inputs, scales):
    raised = (x - tensor.zero_point) * 2**20
    total = total + rescale_by(raised, float(scale) / float(twice))
  divisor = np.float32(2**20) * np.float32(output.scale)
  scaled = rescale_by(total, float(twice) / float(divisor))
  return _limited(scaled + output.zero_point, output)


def run_Mul(op, arrays, inputs, output):
  a, b = (x - tensor.zero_point for x, tensor in zip(arrays, inputs))
  if a.ndim != b.ndim:
    b = b.reshape(len(b), 1, 1, -1)
  scales = [np.float32(tensor.scale) for tensor in (*inputs, output)]
  factor = np.float32(np.float32(scales[0] * scales[1]) / scales[2])
  scaled = rescale_by(a * b, float(factor))
  return _limited(scaled + output.zero_point, output)


def run_Logistic(op, arrays, inputs, output):
  source = inputs[0]
  table = {}
  for q in range(-128, 128):
    # The kernel tabulates in float32; its expf is all but exact.
    x = np.float32(source.scale) * np.float32(q - source.zero_point)
    power = np.float32(math.exp(min(-float(x), 80.0)))
    share = np.float32(1) / np.float32(np.float32(1) + power)
    # Half away from zero, before the zero point.
    steps = math.floor(float(share) * 256 + 0.5)
    table[q] = min(steps - 128, 127)
  return np.vectorize(table.get)(arrays[0])


def run_SquareRoot(op, arrays, inputs, output):
  step = fractions.Fraction(inputs[0].scale)
  step /= fractions.Fraction(output.scale) ** 2
  half = fractions.Fraction(1, 2)
  table = []
  for q in range(-128, 128):
    # More than any output holds is as good as its root.
    square = min(step * max(q - inputs[0].zero_point, 0), 1000**2)
    # A first guess in float64, then the nearest integer by its definition:
    # no further than half a step from the root, which goes up itself.
    root = round(math.sqrt(square))
    while (root + half) ** 2 <= square:
      root += 1
    while root > 0 and (root - half) ** 2 > square:
      root -= 1
    table.append(root + output.zero_point)
  return _limited(np.array(table)[arrays[0] + 128], output)


def run_Concat(op, arrays, inputs, output):
  return np.concatenate(arrays, -1)


def run_Requantize(op, arrays, inputs, output):
  factor = inputs[0].scale / output.scale
  scaled = rescale_by(arrays[0] - inputs[0].zero_point, factor)
  return _limited(scaled + output.zero_point, output)


def run_SumPReLU(op, arrays, inputs, output):
  tensor = op.rise_tensor(inputs[0])
  rise = run_Conv2D(op.rise, arrays, inputs, tensor)
  return run_Add(op.total, [*arrays, rise], [*inputs, tensor], output)


def run_PReLU(op, arrays, inputs, output):
  s_in, s_out = np.float32(inputs[0].scale), np.float32(output.scale)
  factor = np.float32(s_in / s_out)
  alpha_factor = np.float32(
    np.float32(s_in * np.float32(op.alpha_scale)) / s_out
  )
  x = arrays[0] - inputs[0].zero_point
  negative = rescale_by(x * op.alpha.astype(np.int64), float(alpha_factor))
  scaled = np.where(x >= 0, rescale_by(x, float(factor)), negative)
  return _limited(scaled + output.zero_point, output)


def run_Mean(op, arrays, inputs, output):
  source = inputs[0]
  count = source.shape[0] * source.shape[1]
  acc = arrays[0].sum((1, 2)) - source.zero_point * count
  q31, shift = quantize_multiplier(source.scale / output.scale)
  leading_zeros = 64 - len(bin(count)[2:])
  spare = min(min(63 - leading_zeros, 32), 31 + shift)
  scaled = rescale(acc, (q31 << spare) // count, shift - spare)
  return _limited(scaled + output.zero_point, output)


def run_MaxPool(op, arrays, inputs, output):
  return _windows(arrays[0], op, op.window, -1000).max((-2, -1))


def run_AveragePool(op, arrays, inputs, output):
  (kh, kw), (sh, sw) = op.window, op.strides
  (top, _), (left, _) = op.padding
  result = np.zeros((len(arrays[0]), *output.shape), np.int64)
  for i in range(output.shape[0]):
    for j in range(output.shape[1]):
      y, x = i * sh - top, j * sw - left
      inside = arrays[0][:, max(y, 0) : y + kh, max(x, 0) : x + kw]
      count = inside.shape[1] * inside.shape[2]
      total = inside.sum((1, 2))
      # The kernel's own two cases, with C's division.
      above, below = (
        (total + count // 2) // count,
        (count // 2 - total) // count,
      )
      result[:, i, j] = np.where(total > 0, above, -below)
  return result


def run_Clamp(op, arrays, inputs, output):
  return np.clip(arrays[0], *op.limits)


def run_Reshape(op, arrays, inputs, output):
  return arrays[0].reshape(arrays[0].shape[0], -1)


def run_L2Normalize(op, arrays, inputs, output):
  x = arrays[0] - inputs[0].zero_point
  pairs = np.array([inv_sqrt(int(total)) for total in (x**2).sum(-1)])
  return np.clip(rescale(x, pairs[:, :1], pairs[:, 1:] + 7), -128, 127)


@functools.cache
def inv_sqrt(value):
  """GetInvSqrtQuantizedMultiplierExp(value, reverse_shift=-1)."""
  if value <= 1:
    return INT32_MAX, 0
  shift = 11
  while value >= 1 << 29:
    value //= 4
    shift += 1
  leading_zeros = 32 - value.bit_length()
  pairs = (leading_zeros - 1) // 2 - 1
  shift -= pairs
  value <<= 2 * pairs
  assert 1 << 27 <= value < 1 << 29
  argument = value >> 1
  half_argument = int(rdbpot(argument, 1))
  x = 1 << 28
  for _ in range(5):
    cube = _shifted(srdhm(srdhm(x, x), x), 6)
    difference = int(srdhm(3 << 27, x)) - int(srdhm(half_argument, cube))
    x = _shifted(difference, 3)
  x = int(srdhm(x, 1518500250))
  if shift < 0:
    x <<= -shift
    shift = 0
  return x, -shift


def _shifted(x, exponent):
  return max(INT32_MIN, min(INT32_MAX, int(x) << exponent))
