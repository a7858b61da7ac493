"""The kernel of each operator, in jnp int8 and int32.

Operands of products stay bytes, with int32 results: XLA:CPU runs a convolution
of int32 operands a hundred times slower.
"""

import functools
import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from faceqat.integer import lines, multipliers
from faceqat.integer import operators as ops
from faceqat.integer.arithmetic import (
  inv_sqrt_multiplier,
  multiply_by_quantized_multiplier,
  rdbpot,
  srdhm,
)
from faceqat.integer.multipliers import Rescaling
from faceqat.integer.tensors import Tensor

# With so few input channels (an image's), gathering windows for one matrix
# product took a third of XLA:CPU's convolution; with 64 nothing is gained.
_FEW_CHANNELS = 4


def compute(
  operator: ops.Operator,
  values: list[jax.Array],
  inputs: list[Tensor],
  output: Tensor,
) -> jax.Array:
  """Applies an operator.

  Args:
    operator: one of a checked program.
    values: int8 [B, *shape] for each input.
    inputs: what `values` stand for.
    output: what the result stands for.

  Returns:
    int8 [B, *output.shape].
  """
  return KERNELS[type(operator)](operator, values, inputs, output)


def to_int8(acc, low: int, high: int):
  limited = lax.clamp(np.int32(low), acc, np.int32(high))
  return limited.astype(jnp.int8)


def offset(value, tensor: Tensor):
  """`q - zero_point` in int32."""
  return value.astype(jnp.int32) - np.int32(tensor.zero_point)


def _scaled(acc, rescaling: Rescaling):
  """An int32 accumulator times a fixed-point factor, int32."""
  q31, shift, reach = rescaling
  reach = int(np.max(reach))
  return multiply_by_quantized_multiplier(acc, q31, shift, reach=reach)


def _rescale(operator: ops.Operator, acc, rescaling, output: Tensor):
  """Rescales a sum, adds the output's zero point, and cuts to int8."""
  limits = operator.limits_of(output)
  line = lines.fit_rescaling(rescaling, output.zero_point, limits)
  if line is not None:
    return lines.on_line(acc, line)
  scaled = _scaled(acc, rescaling) + np.int32(output.zero_point)
  return to_int8(scaled, *limits)


def pad(x, padding, value: int):
  """Pads height and width of [B, H, W, C] with `value`."""
  if not np.any(padding):
    return x
  config = ((0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0))
  padded = lax.pad(x, np.int8(value), config)
  # XLA:CPU would otherwise pad again for every element that is read.
  return lax.optimization_barrier(padded)


def _windows(x, window, strides) -> Iterator[tuple[int, int, jax.Array]]:
  """(row, column, [B, H', W', C]) for each element of a moving window."""
  batch, height, width, channels = x.shape
  rows = (height - window[0]) // strides[0] * strides[0] + 1
  columns = (width - window[1]) // strides[1] * strides[1] + 1
  for row in range(window[0]):
    for column in range(window[1]):
      yield (
        row,
        column,
        lax.slice(
          x,
          (0, row, column, 0),
          (batch, row + rows, column + columns, channels),
          (1, *strides, 1),
        ),
      )


def _patches_matmul(x, weights: np.ndarray, strides):
  """A convolution as one product of gathered windows, [B, H', W', kh kw I]."""
  window = weights.shape[:2]
  views = [view for _, _, view in _windows(x, window, strides)]
  patches = jnp.concatenate(views, axis=-1)
  return _matmul(patches, weights.reshape(-1, weights.shape[-1]))


def _depthwise(x, weights: np.ndarray, strides):
  """int32 sums of a depthwise convolution, x padded; weights [kh, kw, 1, C]."""
  # Not a reduction where the window is the whole image: that takes four times
  # as long.
  window = weights.shape[:2]
  weights = weights[:, :, 0].astype(np.int32)
  return sum(
    view.astype(jnp.int32) * weights[row, column]
    for row, column, view in _windows(x, window, strides)
  )


def accumulate(operator: ops.Weighted, value, source: Tensor):
  """int32 `bias + sum((q - zero_point) * w)`, as every contract has it."""
  if isinstance(operator, ops.Dense):
    total = _matmul(value, operator.weights)
  else:
    total = _convolve(operator, value, source)
  return total + operator.folded_bias(source).astype(np.int32)


def _convolve(operator: ops.Conv2D, value, source: Tensor):
  """int32 sums of q * w."""
  x = pad(value, operator.padding, source.zero_point)
  weights = operator.weights
  if operator.depthwise:
    return _depthwise(x, weights, operator.strides)
  if weights.shape[:2] == (1, 1):
    if operator.strides != (1, 1):
      ((_, _, x),) = _windows(x, (1, 1), operator.strides)
    return _matmul(x, weights[0, 0])
  if weights.shape[2] <= _FEW_CHANNELS:
    return _patches_matmul(x, weights, operator.strides)
  return lax.conv_general_dilated(
    x,
    weights,
    operator.strides,
    'VALID',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    preferred_element_type=jnp.int32,
  )


def _matmul(x, weights: np.ndarray):
  """int8 [..., I] times int8 [I, O], summed in int32."""
  contraction = (((x.ndim - 1,), (0,)), ((), ()))
  if not _multiplies_unsigned():
    return lax.dot_general(
      x, weights, contraction, preferred_element_type=jnp.int32
    )
  # q + 128 is the byte of q with its highest bit flipped. Sums of int32 that
  # wrap around on the way are right again once the correction is taken off.
  unsigned = lax.bitcast_convert_type(x, jnp.uint8) ^ np.uint8(128)
  total = lax.dot_general(
    unsigned,
    weights,
    contraction,
    # Any other keeps JAX from handing on operands of two types as they are.
    precision=lax.DotAlgorithmPreset.DEFAULT,
    preferred_element_type=jnp.int32,
  )
  return total - 128 * weights.sum(axis=0, dtype=np.int32)


@functools.cache
def _multiplies_unsigned() -> bool:
  """Whether uint8 times int8 is the fastest product there is.

  Processors with AVX512-VNNI have an instruction for it, but none for int8
  times int8. XLA:CPU uses it: a network then took 0.8 of its time. Without
  that instruction, XLA has no fast form for operands of two types.
  """
  if jax.default_backend() != 'cpu':
    return False
  try:
    return 'avx512_vnni' in pathlib.Path('/proc/cpuinfo').read_text()
  except OSError:  # No Linux, no such file.
    return False


def _weighted(operator: ops.Weighted, values, inputs, output):
  (rescaling,) = operator.rescalings(inputs, output)
  acc = accumulate(operator, values[0], inputs[0])
  return _rescale(operator, acc, rescaling, output)


def _add(operator: ops.Add, values, inputs, output):
  *each, of_sum = operator.rescalings(inputs, output)
  first, second = (
    lines.rescale_on_host(
      _integers(tensor) << multipliers.ADD_LEFT_SHIFT, rescaling
    )
    for tensor, rescaling in zip(inputs, each)
  )
  total = lines.rescale_on_host(first[:, None] + second, of_sum)
  table = _cut_on_host(total, output)
  least = tuple(tensor.qmin for tensor in inputs)
  ratios = tuple(tensor.scale / output.scale for tensor in inputs)
  plane = lines.fit_sum(table, least, ratios, (output.qmin, output.qmax))
  if plane is not None:
    return lines.on_plane(*values, plane)
  first, second = (x.astype(jnp.int32) for x in values)
  start = least[0] * table.shape[1] + least[1]
  return look_up(table.ravel(), first * table.shape[1] + second, start)


def _integers(tensor: Tensor) -> np.ndarray:
  """`q - zero_point` of all values that a tensor can have, int64."""
  return np.arange(tensor.qmin, tensor.qmax + 1) - tensor.zero_point


def _cut_on_host(scaled: np.ndarray, output: Tensor) -> np.ndarray:
  low, high = output.qmin, output.qmax
  return np.clip(scaled + output.zero_point, low, high).astype(np.int8)


def _mul(operator: ops.Mul, values, inputs, output):
  (rescaling,) = operator.rescalings(inputs, output)
  return _rescale(operator, multiply(values, inputs), rescaling, output)


def multiply(values, inputs):
  """int32 products of what two tensors stand for, (C,) beside (H, W, C)."""
  first, second = map(offset, values, inputs)
  if second.ndim < first.ndim:
    second = lax.expand_dims(second, (1, 2))
  return first * second


def _concat(operator: ops.Concat, values, inputs, output):
  return jnp.concatenate(values, axis=-1)


def _requantize(operator: ops.Requantize, values, inputs, output):
  (rescaling,) = operator.rescalings(inputs, output)
  x = _integers(inputs[0])[:, None]
  table = _cut_on_host(lines.rescale_on_host(x, rescaling), output)
  return _tabulated(table, values[0], inputs[0], output)


def _prelu(operator: ops.PReLU, values, inputs, output):
  positive, negative = operator.rescalings(inputs, output)
  x = _integers(inputs[0])[:, None]
  scaled = np.where(
    x >= 0,
    lines.rescale_on_host(x, positive),
    lines.rescale_on_host(x * operator.alpha.astype(np.int64), negative),
  )
  table = _cut_on_host(scaled, output)
  return _tabulated(table, values[0], inputs[0], output)


def _tabulated(table: np.ndarray, value, source: Tensor, output: Tensor):
  """What a table [N, C], or [N, 1], has for `value`."""
  found = lines.fit_table(
    table, source.qmin, source.zero_point, (output.qmin, output.qmax)
  )
  if found is not None:
    return lines.on_lines(value, found)
  channels = table.shape[1]
  index = value.astype(jnp.int32) * channels + np.arange(
    channels, dtype=np.int32
  )
  return look_up(table.ravel(), index, source.qmin * channels)


def _sum_prelu(operator: ops.SumPReLU, values, inputs, output):
  return in_two_steps(operator, values, inputs, output, compute)


def in_two_steps(operator: ops.SumPReLU, values, inputs, output, compute):
  """The rise and the sum, each as `compute` has it."""
  tensor = operator.rise_tensor(inputs[0])
  rise = compute(operator.rise, values, inputs, tensor)
  return compute(operator.total, [*values, rise], [*inputs, tensor], output)


def _logistic(operator: ops.Logistic, values, inputs, output):
  return look_up(multipliers.logistic_table(inputs[0]), values[0], -128)


def _square_root(operator: ops.SquareRoot, values, inputs, output):
  table = multipliers.square_root_table(inputs[0], output)
  return look_up(table, values[0], -128)


def look_up(table: np.ndarray, value, least: int):
  """`table[value - least]` for integers that lie in the table."""
  index = value.astype(jnp.int32) - np.int32(least)
  # Not table[index], which counts in int64 where that is enabled.
  return lax.gather(
    table,
    lax.expand_dims(index, [index.ndim]),
    lax.GatherDimensionNumbers(
      offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,)
    ),
    slice_sizes=(1,),
    mode='promise_in_bounds',
  )


def _mean(operator: ops.Mean, values, inputs, output):
  (source,) = inputs
  (rescaling,) = operator.rescalings(inputs, output)
  zero = source.zero_point * source.shape[0] * source.shape[1]
  total = jnp.sum(values[0].astype(jnp.int32), axis=(1, 2), dtype=jnp.int32)
  return _rescale(operator, total - np.int32(zero), rescaling, output)


def _max_pool(operator: ops.MaxPool, values, inputs, output):
  x = pad(values[0], operator.padding, -128)
  views = _windows(x, operator.window, operator.strides)
  _, _, greatest = next(views)
  for _, _, view in views:
    greatest = jnp.maximum(greatest, view)
  return greatest


def _average_pool(operator: ops.AveragePool, values, inputs, output):
  # Zeros add nothing to a sum of raw values; padding is not counted either.
  x = pad(values[0], operator.padding, 0)
  views = _windows(x, operator.window, operator.strides)
  total = sum(view.astype(jnp.int32) for _, _, view in views)
  counts = operator.window_counts(inputs[0].shape)[..., None]
  half = counts // 2
  # Halves away from zero, the zero point left in: lax.div truncates.
  nudged = total + jnp.where(total > 0, half, -half)
  count = jnp.broadcast_to(counts, total.shape)
  return lax.div(nudged, count).astype(jnp.int8)


def _clamp(operator: ops.Clamp, values, inputs, output):
  low, high = operator.limits
  return lax.clamp(np.int8(low), values[0], np.int8(high))


def _reshape(operator: ops.Reshape, values, inputs, output):
  return lax.reshape(values[0], (values[0].shape[0], *output.shape))


def _l2_normalize(operator: ops.L2Normalize, values, inputs, output):
  x = offset(values[0], inputs[0])
  squares = jnp.sum(x * x, axis=-1, keepdims=True, dtype=jnp.int32)
  q31, shift = inv_sqrt_multiplier(squares)
  # The output's scale, 2^-7, is folded into the division.
  shift = shift + 7
  scaled = srdhm(x << jnp.maximum(shift, 0), q31)
  return to_int8(rdbpot(scaled, jnp.maximum(-shift, 0)), -128, 127)


KERNELS = {
  ops.Conv2D: _weighted,
  ops.Dense: _weighted,
  ops.Add: _add,
  ops.Mul: _mul,
  ops.Concat: _concat,
  ops.Requantize: _requantize,
  ops.PReLU: _prelu,
  ops.SumPReLU: _sum_prelu,
  ops.Logistic: _logistic,
  ops.SquareRoot: _square_root,
  ops.Mean: _mean,
  ops.MaxPool: _max_pool,
  ops.AveragePool: _average_pool,
  ops.Clamp: _clamp,
  ops.Reshape: _reshape,
  ops.L2Normalize: _l2_normalize,
}
