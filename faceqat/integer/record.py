"""Recording: a model called on a symbol writes its integer program.

Each function here takes symbols, appends one operator (or two) to the program
under construction and returns the symbol of its output. Layers call them where
they would compute on an array.
"""

import math
from collections.abc import Sequence

import numpy as np

from faceqat.integer import operators as ops
from faceqat.integer.operators import Padding
from faceqat.integer.recorder import trace
from faceqat.integer.symbol import Symbol, check_symbol
from faceqat.integer.tensors import QParams

__all__ = [
  'Symbol',
  'add',
  'average_pool',
  'clamp',
  'concat',
  'conv2d',
  'dense',
  'flatten',
  'l2_normalize',
  'logistic',
  'max_pool',
  'mean',
  'mul',
  'prelu',
  'square_root',
  'trace',
]

ActivationRange = tuple[float, float] | None

_NO_PADDING = ((0, 0), (0, 0))


def activation_limits(
  activation_range: ActivationRange, output: QParams
) -> tuple[int, int]:
  """The integers between which an activation function cuts.

  Args:
    activation_range: real (low, high); relu is (0, inf), relu6 (0, 6), None
      cuts at the output's own limits.
    output: how the cut values are quantized.

  Returns:
    (low, high), within the output's limits.

  Source: `CalculateActivationRangeQuantized` of TFLite's kernel_util: float32
  quotients, halves rounded away from zero.
  """
  if activation_range is None:
    return output.qmin, output.qmax
  low, high = (float(limit) for limit in activation_range)
  if not low < high:
    raise ValueError(
      f'activation_range is {activation_range}; it must be (low, high).'
    )
  limits = []
  for limit in (low, high):
    with np.errstate(over='ignore'):
      steps = float(np.float32(limit) / np.float32(output.scale))
    if math.isinf(steps):
      integer = output.qmin if steps < 0 else output.qmax
    else:
      away = math.floor(abs(steps) + 0.5)
      integer = output.zero_point + int(math.copysign(away, steps))
    limits.append(min(max(integer, output.qmin), output.qmax))
  return limits[0], limits[1]


def quantize_bias(
  bias: np.ndarray, weight_scale: np.ndarray, input_scale: float, name: str
) -> np.ndarray:
  """Real bias [O] as int32 steps of `input_scale * weight_scale`.

  Raises:
    ValueError: a bias does not fit int32; names the operator and channel.
  """
  bias = np.asarray(bias, np.float64)
  steps = bias / (np.float64(input_scale) * np.asarray(weight_scale))
  steps = np.copysign(np.floor(np.abs(steps) + 0.5), steps)
  # Written so that NaN counts as outside.
  outside = ~(np.abs(steps) <= 2**31 - 1)
  if outside.any():
    channel = int(outside.argmax())
    raise ValueError(
      f'{name}, channel {channel}: the bias {bias[channel]:g} is '
      f'{steps[channel]:g} steps of {input_scale:g} (input scale) x '
      f'{float(weight_scale[channel]):g} (weight scale), which int32 cannot '
      "hold. The channel's weights are close to zero beside its bias: set "
      'them to 0, where any scale will do, or give the layer one scale for '
      'all its channels (per_channel False).'
    )
  return steps.astype(np.int32)


def _weighted_fields(
  x, name, weights, weight_scale, weight_bits, bias, activation_range, output
) -> dict:
  """The fields that Conv2D and Dense share."""
  weights = np.asarray(weights)
  if weights.dtype != np.int8:
    raise ValueError(
      f'{name}: weights are {weights.dtype}; they must be int8 already.'
    )
  scale = np.asarray(weight_scale, np.float32)
  scale = np.broadcast_to(scale, weights.shape[-1:]).copy()
  bias = np.zeros(scale.shape) if bias is None else np.asarray(bias)
  if bias.shape != scale.shape:
    raise ValueError(f'{name}: bias is {bias.shape}, not {scale.shape}.')
  return {
    'name': name,
    'inputs': (x.tensor.name,),
    'weights': weights,
    'weight_scale': scale,
    'weight_bits': weight_bits,
    'bias': quantize_bias(bias, scale, x.tensor.scale, name),
    'clamp': activation_limits(activation_range, output),
  }


def conv2d(
  x: Symbol,
  *,
  name: str,
  weights: np.ndarray,
  weight_scale: np.ndarray,
  weight_bits: int = 8,
  bias: np.ndarray | None,
  strides: tuple[int, int] = (1, 1),
  padding: Padding = _NO_PADDING,
  depthwise: bool = False,
  activation_range: ActivationRange = None,
  output: QParams,
) -> Symbol:
  """Records a convolution with its bias and activation.

  Args:
    x: (H, W, I).
    name: the layer's path; becomes the output tensor's name.
    weights: int8 [kh, kw, I, O], or depthwise [kh, kw, 1, C].
    weight_scale: float32 [O] or scalar, real value of one weight step.
    weight_bits: 2..8.
    bias: real [O] or None; quantized here.
    strides: (vertical, horizontal).
    padding: ((top, bottom), (left, right)) of real zeros.
    depthwise: one kernel per channel.
    activation_range: see `activation_limits`.
    output: how the result is quantized.

  Returns:
    The symbol of the result, (H', W', O).
  """
  check_symbol(x, 'conv2d')
  fields = _weighted_fields(
    x, name, weights, weight_scale, weight_bits, bias, activation_range, output
  )
  operator = ops.Conv2D(
    **fields,
    strides=tuple(strides),
    padding=tuple(tuple(pair) for pair in padding),
    depthwise=depthwise,
  )
  return x.recorder.append(operator, output)


def dense(
  x: Symbol,
  *,
  name: str,
  weights: np.ndarray,
  weight_scale: np.ndarray,
  weight_bits: int = 8,
  bias: np.ndarray | None,
  activation_range: ActivationRange = None,
  output: QParams,
) -> Symbol:
  """Records a matrix product (I,) -> (O,); weights int8 [I, O].

  The other arguments are those of `conv2d`.
  """
  check_symbol(x, 'dense')
  fields = _weighted_fields(
    x, name, weights, weight_scale, weight_bits, bias, activation_range, output
  )
  return x.recorder.append(ops.Dense(**fields), output)


def _check_same_trace(symbols: Sequence[Symbol], function: str):
  for symbol in symbols:
    check_symbol(symbol, function)
    if symbol.recorder is not symbols[0].recorder:
      raise TypeError(
        f'record.{function} got {symbol!r} of another trace; a symbol is of '
        'use only while its own model is being recorded.'
      )


def add(
  a: Symbol,
  b: Symbol,
  *,
  name: str,
  activation_range: ActivationRange = None,
  output: QParams,
) -> Symbol:
  """Records a sum of two tensors of one shape.

  An activation that the limits of `output` do not cut by themselves, as a relu
  whose zero is their least, becomes an operator behind '<name>/sum'.
  """
  _check_same_trace((a, b), 'add')
  limits = activation_limits(activation_range, output)
  cuts = limits != (output.qmin, output.qmax)
  operator = ops.Add(
    name=f'{name}/sum' if cuts else name,
    inputs=(a.tensor.name, b.tensor.name),
  )
  total = a.recorder.append(operator, output)
  if not cuts:
    return total
  return clamp(total, name=name, activation_range=activation_range)


def mul(a: Symbol, b: Symbol, *, name: str, output: QParams) -> Symbol:
  """Records a product; `b` has the shape of `a`, or (C,) beside (H, W, C)."""
  _check_same_trace((a, b), 'mul')
  operator = ops.Mul(name=name, inputs=(a.tensor.name, b.tensor.name))
  return a.recorder.append(operator, output)


def concat(xs: Sequence[Symbol], *, name: str, output: QParams) -> Symbol:
  """Records a joining of channels.

  An input that is quantized otherwise than `output` is requantized first, as
  '<name>/requantize_<index>'.
  """
  if not xs:
    raise ValueError(f'{name}: concat got no inputs.')
  _check_same_trace(xs, 'concat')
  inputs = []
  for index, x in enumerate(xs):
    if x.tensor.qparams != output:
      operator = ops.Requantize(
        name=f'{name}/requantize_{index}', inputs=(x.tensor.name,)
      )
      x = x.recorder.append(operator, output)
    inputs.append(x)
  operator = ops.Concat(name=name, inputs=tuple(x.tensor.name for x in inputs))
  return inputs[0].recorder.append(operator, output)


def prelu(
  x: Symbol,
  *,
  name: str,
  alpha: np.ndarray,
  alpha_scale: float,
  output: QParams,
) -> Symbol:
  """Records a PReLU; alpha int8 [C], zero point 0, one scale for all."""
  check_symbol(x, 'prelu')
  operator = ops.PReLU(
    name=name,
    inputs=(x.tensor.name,),
    alpha=np.asarray(alpha),
    alpha_scale=alpha_scale,
  )
  return x.recorder.append(operator, output)


def logistic(x: Symbol, *, name: str) -> Symbol:
  """Records 1 / (1 + exp(-x)); output scale 1/256 at -128."""
  check_symbol(x, 'logistic')
  operator = ops.Logistic(name=name, inputs=(x.tensor.name,))
  return x.recorder.append(operator, ops.LOGISTIC_OUTPUT)


def square_root(x: Symbol, *, name: str, output: QParams) -> Symbol:
  """Records a square root; a number below zero counts as zero."""
  check_symbol(x, 'square_root')
  operator = ops.SquareRoot(name=name, inputs=(x.tensor.name,))
  return x.recorder.append(operator, output)


def mean(x: Symbol, *, name: str, output: QParams) -> Symbol:
  """Records the average over height and width: (H, W, C) -> (C,)."""
  check_symbol(x, 'mean')
  operator = ops.Mean(name=name, inputs=(x.tensor.name,))
  return x.recorder.append(operator, output)


def max_pool(
  x: Symbol,
  *,
  name: str,
  window: tuple[int, int],
  strides: tuple[int, int],
  padding: Padding = _NO_PADDING,
) -> Symbol:
  """Records a maximum over windows; the result is quantized as its input."""
  check_symbol(x, 'max_pool')
  fields = _pool_fields(x, name, window, strides, padding)
  return x.recorder.append(ops.MaxPool(**fields), x.tensor.qparams)


def average_pool(
  x: Symbol,
  *,
  name: str,
  window: tuple[int, int],
  strides: tuple[int, int],
  padding: Padding = _NO_PADDING,
) -> Symbol:
  """Records an average over windows, in which padding does not count.

  The result is quantized as its input.
  """
  check_symbol(x, 'average_pool')
  fields = _pool_fields(x, name, window, strides, padding)
  return x.recorder.append(ops.AveragePool(**fields), x.tensor.qparams)


def _pool_fields(x, name, window, strides, padding) -> dict:
  return {
    'name': name,
    'inputs': (x.tensor.name,),
    'window': tuple(window),
    'strides': tuple(strides),
    'padding': tuple(tuple(pair) for pair in padding),
  }


def clamp(x: Symbol, *, name: str, activation_range: ActivationRange) -> Symbol:
  """Records an activation that stands alone, quantized as its input."""
  check_symbol(x, 'clamp')
  limits = activation_limits(activation_range, x.tensor.qparams)
  operator = ops.Clamp(name=name, inputs=(x.tensor.name,), limits=limits)
  return x.recorder.append(operator, x.tensor.qparams)


def flatten(x: Symbol, *, name: str) -> Symbol:
  """Records (H, W, C) -> (H * W * C,), channels fastest."""
  check_symbol(x, 'flatten')
  operator = ops.Reshape(name=name, inputs=(x.tensor.name,))
  return x.recorder.append(operator, x.tensor.qparams)


def l2_normalize(x: Symbol, *, name: str) -> Symbol:
  """Records a division by the Euclidean norm; output scale 1/128 at 0."""
  check_symbol(x, 'l2_normalize')
  operator = ops.L2Normalize(name=name, inputs=(x.tensor.name,))
  return x.recorder.append(operator, ops.L2_OUTPUT)
