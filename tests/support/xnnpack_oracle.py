"""An independent model of the contract `xnnpack`, in numpy.

Sums are int64. Each float32 step is computed in float64, where products and
sums of two float32 numbers lose nothing that matters, and rounded once. What
is not here follows the reference kernels, and so `integer_oracle`.
"""

import math

import integer_oracle
import numpy as np


def float32(value):
  """The float32 next to a float64, as float64."""
  return np.float64(np.float32(value))


def run_operator(op, arrays, inputs, output):
  run_kind = globals().get(f'run_{type(op).__name__}')
  return (run_kind or integer_oracle.run_operator)(op, arrays, inputs, output)


def run(program, images):
  """uint8 images [B, H, W, 3] to a dict from tensor name to int8 array."""
  return integer_oracle.run(program, images, run_operator)


def rescale(total, scale, output, limits):
  """A float32 product, half to even; the zero point is added after."""
  product = float32(float32(total) * scale)
  result = np.rint(product) + output.zero_point
  return np.clip(result, *limits).astype(np.int64)


def limits_of(output):
  half = 2 ** (output.bits - 1)
  return -half + (1 if output.narrow else 0), half - 1


def layer_scale(op, source, output):
  product = float32(source.scale * op.weight_scale.astype(np.float64))
  return float32(product / output.scale)


def run_Conv2D(op, arrays, inputs, output):
  total = integer_oracle.weighted_sums(op, arrays, inputs)
  scale = layer_scale(op, inputs[0], output)
  return rescale(total, scale, output, op.clamp)


run_Dense = run_Conv2D


def run_SumPReLU(op, arrays, inputs, output):
  tensor = op.rise_tensor(inputs[0])
  rise = run_Conv2D(op.rise, arrays, inputs, tensor)
  return run_Add(op.total, [*arrays, rise], [*inputs, tensor], output)


def run_Add(op, arrays, inputs, output):
  ratios = [float32(tensor.scale / output.scale) for tensor in inputs]
  if min(ratios) < 2**-10:
    return integer_oracle.run_Add(op, arrays, inputs, output)
  # The greater multiplier lies in [2^20, 2^21].
  shift = 20 - math.floor(math.log2(max(ratios)))
  total = 2 ** (shift - 1)
  for x, tensor, ratio in zip(arrays, inputs, ratios):
    total = total + (x - tensor.zero_point) * round(ratio * 2**shift)
  assert np.abs(total).max() < 2**31
  return np.clip(total // 2**shift + output.zero_point, *limits_of(output))


def run_Mul(op, arrays, inputs, output):
  first, second = (x - t.zero_point for x, t in zip(arrays, inputs))
  if second.ndim == 2 and first.ndim == 4:
    second = second[:, None, None]
  scale = float32(float32(inputs[0].scale * inputs[1].scale) / output.scale)
  if scale < 2**-16:
    return integer_oracle.run_Mul(op, arrays, inputs, output)
  return rescale(first * second, scale, output, limits_of(output))


def run_Requantize(op, arrays, inputs, output):
  multiplier = round(float(float32(inputs[0].scale / output.scale)) * 256)
  total = (arrays[0] - inputs[0].zero_point) * multiplier + 128
  return np.clip(total // 256 + output.zero_point, *limits_of(output))


def run_Mean(op, arrays, inputs, output):
  source = inputs[0]
  count = source.shape[0] * source.shape[1]
  ratio = float32(source.scale / output.scale)
  scale = float32(ratio * float32(1 / count))
  shift = float32(float32(count * source.zero_point) * scale)
  zero_point = float32(output.zero_point - shift)
  product = float32(float32(arrays[0].sum((1, 2))) * scale)
  result = np.rint(float32(product + zero_point)).astype(np.int64)
  return np.clip(result, *limits_of(output))


def run_Logistic(op, arrays, inputs, output):
  def steps(value):
    real = float(float32((value - inputs[0].zero_point) * inputs[0].scale))
    # As 1 / (1 + e^-x), where the kernel has e^x / (1 + e^x).
    share = 1 / (1 + math.exp(-real)) if real > -700 else 0.0
    return min(round(float(float32(share)) * 256 - 128), 127)

  table = {value: steps(value) for value in range(-128, 128)}
  return np.vectorize(table.__getitem__)(arrays[0])
