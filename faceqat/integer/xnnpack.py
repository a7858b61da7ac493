"""The kernels of the contract `xnnpack`, which LiteRT runs by default.

Most operators go to the XNNPACK delegate, whose rules are here; the others
run in LiteRT's built-in kernels, by the reference rules of `kernels`. Sums and
products are integers under either. XNNPACK rescales a sum in float32: it is
rounded to float32, multiplied by a float32 scale, and rounded half to even.
Nothing is added in float32 on the device: a compiler may fuse such an addition
with the product before it, which rounds once instead of twice.

Source: `microparams-init.c`, `reduce-nd.c` and `unary-elementwise.cc` of
XNNPACK, `xnnpack_delegate.cc` of LiteRT, and measurements of LiteRT 2.3.0.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from faceqat.integer import kernels
from faceqat.integer import operators as ops
from faceqat.integer.program import IntegerProgram
from faceqat.integer.tensors import Tensor

# XNNPACK makes no convolution with a scale of 256 or more, and LiteRT then
# refuses the whole file. A scale below float32's normal range would depend on
# whether the processor flushes such numbers to zero.
SCALE_LIMITS = (float(np.finfo(np.float32).tiny), 256.0)

# Input scale over output scale: the delegate takes [low, high) of an addition
# and a product, [low, high] of a requantization.
ADD_LIMITS = (2.0**-10, 2.0**8)
MUL_LIMITS = (2.0**-16, 2.0**8)
REQUANTIZE_LIMITS = (2.0**-8, 2.0**7)

_ADD_MULTIPLIER_BITS = 20
_REQUANTIZE_BITS = 8


def compute(
  operator: ops.Operator,
  values: list[jax.Array],
  inputs: list[Tensor],
  output: Tensor,
) -> jax.Array:
  """`kernels.compute` by this contract's rules.

  The operator is one that `check_operator` has passed.
  """
  # The others follow the reference rules in LiteRT's default too.
  kernel = _KERNELS.get(type(operator), kernels.compute)
  return kernel(operator, values, inputs, output)


def check_program(program: IntegerProgram):
  """Raises ValueError, naming the operator, where `check_operator` does."""
  for operator in program.operators:
    output = program.tensors[operator.output]
    check_operator(operator, program.inputs_of(operator), output)


def check_operator(
  operator: ops.Operator, inputs: list[Tensor], output: Tensor
):
  """Raises ValueError where LiteRT's default cannot run an operator exactly."""
  if isinstance(operator, ops.SumPReLU):
    rise = operator.rise_tensor(inputs[0])
    check_operator(operator.rise, inputs, rise)
    check_operator(operator.total, [*inputs, rise], output)
  elif isinstance(operator, ops.Weighted):
    scales = weighted_scales(operator, inputs[0], output)
    for channel, scale in enumerate(scales):
      what = f'channel {channel}: its scale'
      _check_limits(operator, what, scale, SCALE_LIMITS)
      # The bias has this scale; LiteRT runs the layer elsewhere without it.
      bias_scale = np.float32(inputs[0].scale) * operator.weight_scale[channel]
      what = f'channel {channel}: the scale of its bias'
      _check_limits(operator, what, bias_scale, (SCALE_LIMITS[0], np.inf))
  elif isinstance(operator, ops.Add):
    greatest = max(_ratio(tensor, output) for tensor in inputs)
    _check_limits(
      operator, 'input scale / output scale', greatest, (0, ADD_LIMITS[1])
    )
  elif isinstance(operator, ops.Mul):
    scale = product_scale(*inputs, output)
    _check_limits(
      operator, 'product scale / output scale', scale, (0, MUL_LIMITS[1])
    )
  elif isinstance(operator, ops.Requantize):
    low, high = REQUANTIZE_LIMITS
    _check_limits(
      operator,
      'input scale / output scale',
      _ratio(inputs[0], output),
      (low, np.nextafter(high, np.inf)),
    )


def _check_limits(operator, what: str, value, limits):
  low, high = limits
  if not low <= value < high:
    operator.fail(
      f'{what} is {float(value):.6g}; under the contract xnnpack it must lie '
      f'in [{low:.6g}, {high:.6g}), outside of which LiteRT follows other '
      'rules or refuses the file. Look at the ranges of that layer, or use '
      'the contract tflite_ref'
    )


def _ratio(source: Tensor, output: Tensor) -> np.float32:
  with np.errstate(over='ignore', under='ignore'):
    return np.float32(source.scale) / np.float32(output.scale)


def weighted_scales(
  operator: ops.Weighted, source: Tensor, output: Tensor
) -> np.ndarray:
  """float32 [O]: input scale times weight scale, over the output's scale."""
  with np.errstate(over='ignore', under='ignore'):
    products = np.float32(source.scale) * operator.weight_scale
    return products / np.float32(output.scale)


def product_scale(first: Tensor, second: Tensor, output: Tensor) -> np.float32:
  """float32: the product of the inputs' scales, over the output's."""
  with np.errstate(over='ignore', under='ignore'):
    product = np.float32(first.scale) * np.float32(second.scale)
    return product / np.float32(output.scale)


def add_multipliers(
  first: Tensor, second: Tensor, output: Tensor
) -> tuple[int, int, int]:
  """(multiplier, multiplier, shift): each input's scale / 2^shift.

  The greater multiplier has 21 bits, so that sums of two products fit int32.
  """
  ratios = [_ratio(tensor, output) for tensor in (first, second)]
  _, exponent = np.frexp(max(ratios))
  shift = _ADD_MULTIPLIER_BITS + 1 - int(exponent)
  # Exact in float64, so only rint rounds, half to even as lrintf does.
  multipliers = [int(np.rint(np.ldexp(float(r), shift))) for r in ratios]
  return *multipliers, shift


def requantize_multiplier(source: Tensor, output: Tensor) -> int:
  """The quotient of the scales in steps of 1/256."""
  return int(np.rint(float(_ratio(source, output)) * 2**_REQUANTIZE_BITS))


def mean_table(source: Tensor, output: Tensor) -> np.ndarray:
  """The mean over height and width for every possible sum.

  Returns:
    int8 [N]; the index is the sum of the raw integers, less the least sum.
  """
  count = source.shape[0] * source.shape[1]
  sums = np.arange(count * source.qmin, count * source.qmax + 1, dtype=np.int64)
  scale = _ratio(source, output) * (np.float32(1) / np.float32(count))
  # The input's zero point goes into the output's, which is then no integer.
  zero_point = (
    np.float32(output.zero_point)
    - np.float32(count * source.zero_point) * scale
  )
  means = np.rint(sums.astype(np.float32) * scale + zero_point)
  return np.clip(means, output.qmin, output.qmax).astype(np.int8)


def logistic_table(source: Tensor) -> np.ndarray:
  """The logistic function of every int8 value.

  XNNPACK tabulates too: float32 arguments, the function in float64.

  Returns:
    int8 [256], in steps of 1/256 from -128; the index is q + 128.
  """
  offsets = np.arange(-128, 128) - source.zero_point
  with np.errstate(over='ignore'):
    reals = offsets.astype(np.float32) * np.float32(source.scale)
  # Beyond +-100 the kernel says 1 and 0, as the function does by then.
  powers = np.exp(np.clip(reals.astype(np.float64), -100, 100))
  shares = (powers / (1 + powers)).astype(np.float32)
  steps = np.rint(shares * np.float32(256) - np.float32(128))
  return np.clip(steps, -128, 127).astype(np.int8)


def _rescale(acc, scale, zero_point: int, low: int, high: int):
  """int32 sums to int8: the one place with float32 on the device."""
  scaled = acc.astype(jnp.float32) * scale
  # Cut before rounding, which the integer limits allow: the int32 below then
  # holds any sum.
  limited = lax.clamp(
    np.float32(low - zero_point), scaled, np.float32(high - zero_point)
  )
  rounded = lax.round(limited, lax.RoundingMethod.TO_NEAREST_EVEN)
  return (rounded.astype(jnp.int32) + np.int32(zero_point)).astype(jnp.int8)


def _weighted(operator, values, inputs, output):
  acc = kernels.accumulate(operator, values[0], inputs[0])
  scales = weighted_scales(operator, inputs[0], output)
  return _rescale(acc, scales, output.zero_point, *operator.clamp)


def _sum_prelu(operator: ops.SumPReLU, values, inputs, output):
  return kernels.in_two_steps(operator, values, inputs, output, compute)


def _add(operator: ops.Add, values, inputs, output):
  if min(_ratio(tensor, output) for tensor in inputs) < ADD_LIMITS[0]:
    return kernels.compute(operator, values, inputs, output)
  *multipliers, shift = add_multipliers(*inputs, output)
  total = np.int32(1 << (shift - 1))  # Halves go up.
  for value, tensor, multiplier in zip(values, inputs, multipliers):
    total += kernels.offset(value, tensor) * np.int32(multiplier)
  total = (total >> shift) + np.int32(output.zero_point)
  return kernels.to_int8(total, output.qmin, output.qmax)


def _mul(operator: ops.Mul, values, inputs, output):
  scale = product_scale(*inputs, output)
  if scale < MUL_LIMITS[0]:
    return kernels.compute(operator, values, inputs, output)
  acc = kernels.multiply(values, inputs)
  return _rescale(acc, scale, output.zero_point, output.qmin, output.qmax)


def _requantize(operator: ops.Requantize, values, inputs, output):
  multiplier = np.int32(requantize_multiplier(inputs[0], output))
  total = kernels.offset(values[0], inputs[0]) * multiplier
  half = np.int32(1 << (_REQUANTIZE_BITS - 1))
  total = ((total + half) >> _REQUANTIZE_BITS) + np.int32(output.zero_point)
  return kernels.to_int8(total, output.qmin, output.qmax)


def _mean(operator: ops.Mean, values, inputs, output):
  source = inputs[0]
  least = source.shape[0] * source.shape[1] * source.qmin
  total = jnp.sum(values[0].astype(jnp.int32), axis=(1, 2), dtype=jnp.int32)
  return kernels.look_up(mean_table(source, output), total, least)


def _logistic(operator: ops.Logistic, values, inputs, output):
  return kernels.look_up(logistic_table(inputs[0]), values[0], -128)


_KERNELS = {
  ops.Conv2D: _weighted,
  ops.Dense: _weighted,
  ops.Add: _add,
  ops.SumPReLU: _sum_prelu,
  ops.Mul: _mul,
  ops.Requantize: _requantize,
  ops.Mean: _mean,
  ops.Logistic: _logistic,
}
