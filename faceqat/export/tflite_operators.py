"""Each operator of a program as TFLite's built-in operators.

Where the runtime's own padding or activation is not exactly the program's, a
PAD, MAXIMUM or MINIMUM is added. Each writer takes the graph, the operator, its
input tensors and its output tensor, which the graph has already.
"""

import math

import numpy as np

from faceqat.export import tflite_windows
from faceqat.export.tflite_builder import schema
from faceqat.integer import multipliers, tracing
from faceqat.integer import operators as ops
from faceqat.integer.tensors import QParams, Tensor

_INT8 = (-128, 127)

# Real limits of the activations that kernels can fuse.
_FUSED = {
  'RELU': (0.0, math.inf),
  'RELU6': (0.0, 6.0),
  'RELU_N1_TO_1': (-1.0, 1.0),
}
# Kernels round a limit's quotient in different ways; nearer to a tie than
# this, they may come to different integers.
_TIE_MARGIN = 1e-3


def _fused_activation(limits, output: Tensor) -> str | None:
  """The activation that makes a kernel cut at exactly `limits`."""
  if limits == _INT8:
    return 'NONE'
  qparams = QParams(output.scale, output.zero_point)
  for name, reals in _FUSED.items():
    steps = [abs(real) / output.scale for real in reals]
    ties = [
      math.isfinite(step) and abs(step % 1 - 0.5) < _TIE_MARGIN
      for step in steps
    ]
    # A kernel gives up where a quotient does not fit int32.
    fits = all(step < 2**30 or math.isinf(step) for step in steps)
    if any(ties) or not fits:
      continue
    if tracing.activation_limits(reals, qparams) == limits:
      return name
  return None


def _activated(graph, operator, code, version, inputs, options, output):
  """Appends an operator that can fuse an activation, and its activation."""
  limits = operator.limits_of(output)
  activation = _fused_activation(limits, output)
  if activation is not None:
    number = getattr(schema.ActivationFunctionType, activation)
    options.fusedActivationFunction = number
    limits = _INT8
  _limited(graph, code, version, inputs, options, output, limits)


def _limited(graph, code, version, inputs, options, output, limits=None):
  """Appends an operator and what cuts its result at `limits`."""
  low, high = limits or (output.qmin, output.qmax)
  steps = [(code, version, inputs, options)]
  if graph.contract == 'xnnpack' and _is_narrow_vector(output, low):
    steps += [_negation(graph, output, which) for which in ('minus', 'plus')]
  elif low > _INT8[0]:
    steps.append(_bound('MAXIMUM', graph, output, 'low', low))
  if high < _INT8[1]:
    steps.append(_bound('MINIMUM', graph, output, 'high', high))
  result = None
  for index, (code, version, inputs, options) in enumerate(steps):
    if index:
      inputs = [result, *inputs]
    if index + 1 < len(steps):
      name = f'{output.name}:{index}_{code.lower()}'
      result = graph.activation(output, name)
    else:
      result = graph.indices[output.name]
    graph.builder.operator(code, version, inputs, result, options)


def _is_narrow_vector(output: Tensor, low: int) -> bool:
  """Whether negating a tensor twice is quick, and cuts -128 alone."""
  return len(output.shape) == 1 and (output.zero_point, low) == (0, -127)


def _negation(graph, output: Tensor, which: str):
  """(code, version, inputs, options) that negates an input yet to come first.

  128 does not fit int8, so -128 becomes 127, and by a second negation -127.
  XNNPACK takes no MAXIMUM, which would be a part of the graph of its own.
  """
  ones = np.ones(output.shape, np.float32)
  constants = [
    graph.builder.constant(
      f'{output.name}:{which}',
      np.full((1, 1, 1, *output.shape), -1, np.int8),
      scale=ones,
      axis=3,
    ),
    graph.builder.constant(
      f'{output.name}:{which}_bias',
      np.zeros(output.shape, np.int32),
      scale=ones * np.float32(output.scale),
    ),
  ]
  options = schema.DepthwiseConv2DOptionsT(
    padding=schema.Padding.VALID, strideH=1, strideW=1, depthMultiplier=1
  )
  return 'DEPTHWISE_CONV_2D', _CHANNEL_SCALES_VERSION, constants, options


def _bound(code: str, graph, output: Tensor, which: str, value: int):
  """(code, version, inputs, options) that cuts an input yet to come first."""
  constant = graph.builder.constant(
    f'{output.name}:{which}',
    np.full((1, 1, 1, 1), value, np.int8),
    scale=output.scale,
    zero_point=output.zero_point,
  )
  return code, 2, [constant], schema.MaximumMinimumOptionsT()


# CONV_2D and DEPTHWISE_CONV_2D with a scale per channel.
_CHANNEL_SCALES_VERSION = 3
# The same with int4 weights, by whether it is depthwise. The schema's number
# for the latter is 7, which the reference kernels do not register: they run
# it all the same.
_INT4_VERSIONS = {False: 7, True: 6}


def _weights(graph, operator, source: Tensor, weights: np.ndarray, axis: int):
  """Adds weights and bias; (their indices, the kernel's version)."""
  kind, version = None, _CHANNEL_SCALES_VERSION
  if operator.weight_bits <= 4 and graph.pack_int4:
    if graph.contract == 'xnnpack':
      operator.fail(
        f'has {operator.weight_bits}-bit weights, and XNNPACK has no int4 '
        'convolution: LiteRT would run one that rounds otherwise. Store them '
        'as int8, which gives the same results (pack_int4=False), or convert '
        'for the contract tflite_ref'
      )
    depthwise = isinstance(operator, ops.Conv2D) and operator.depthwise
    kind, version = 'int4', _INT4_VERSIONS[depthwise]
  scale = operator.weight_scale
  indices = [
    graph.builder.constant(
      f'{operator.name}:weights', weights, kind=kind, scale=scale, axis=axis
    ),
    graph.builder.constant(
      f'{operator.name}:bias',
      operator.bias,
      scale=np.float32(source.scale) * scale,
    ),
  ]
  return indices, version


def _conv2d(graph, operator: ops.Conv2D, inputs, output):
  (source,) = inputs
  window = operator.weights.shape[:2]
  index, padding = tflite_windows.padded(graph, operator, source, window)
  stride_h, stride_w = operator.strides
  fields = {'padding': padding, 'strideH': stride_h, 'strideW': stride_w}
  if operator.depthwise:
    code = 'DEPTHWISE_CONV_2D'
    options = schema.DepthwiseConv2DOptionsT(depthMultiplier=1, **fields)
    weights, axis = operator.weights.transpose(2, 0, 1, 3), 3
  else:
    code, options = 'CONV_2D', schema.Conv2DOptionsT(**fields)
    weights, axis = operator.weights.transpose(3, 0, 1, 2), 0
  constants, version = _weights(graph, operator, source, weights, axis)
  inputs = [index, *constants]
  _activated(graph, operator, code, version, inputs, options, output)


def _dense(graph, operator: ops.Dense, inputs, output):
  (source,) = inputs
  weights = operator.weights.T[:, None, None]
  constants, version = _weights(graph, operator, source, weights, 0)
  options = schema.Conv2DOptionsT(
    padding=schema.Padding.VALID, strideH=1, strideW=1
  )
  inputs = [graph.indices[source.name], *constants]
  _activated(graph, operator, 'CONV_2D', version, inputs, options, output)


def _read(graph, inputs: list[Tensor]) -> list[int]:
  return [graph.indices[tensor.name] for tensor in inputs]


def _add(graph, operator: ops.Add, inputs, output):
  values, options = _read(graph, inputs), schema.AddOptionsT()
  _activated(graph, operator, 'ADD', 2, values, options, output)


def _mul(graph, operator: ops.Mul, inputs, output):
  factor = inputs[0].scale * inputs[1].scale / output.scale
  # The third version is the first to take a factor of one or more.
  version = 2 if factor < 1 else 3
  values, options = _read(graph, inputs), schema.MulOptionsT()
  _activated(graph, operator, 'MUL', version, values, options, output)


def _concat(graph, operator: ops.Concat, inputs, output):
  options = schema.ConcatenationOptionsT(axis=3)
  result = graph.indices[output.name]
  graph.builder.operator(
    'CONCATENATION', 2, _read(graph, inputs), result, options
  )


def _simple(code: str, version: int, options=None):
  """The writer of what is one operator without constants."""

  def write(graph, operator, inputs, output):
    values, fields = _read(graph, inputs), options and options()
    _limited(graph, code, version, values, fields, output)

  return write


def _prelu(graph, operator: ops.PReLU, inputs, output):
  alpha = graph.builder.constant(
    f'{operator.name}:alpha',
    operator.alpha[None, None],
    scale=operator.alpha_scale,
  )
  indices = [*_read(graph, inputs), alpha]
  _limited(graph, 'PRELU', 1, indices, None, output)


def _sum_prelu(graph, operator: ops.SumPReLU, inputs, output):
  rise = operator.rise_tensor(inputs[0])
  graph.add(rise)
  _conv2d(graph, operator.rise, inputs, rise)
  _add(graph, operator.total, [*inputs, rise], output)


def _square_root(graph, operator: ops.SquareRoot, inputs, output):
  """A gather from a table of bytes: no kernel has the root of an int8."""
  (source,) = inputs
  builder, name = graph.builder, f'{operator.name}:'
  wide = graph.integers(source, f'{name}int32')
  options = schema.CastOptionsT(
    inDataType=schema.TensorType.INT8, outDataType=schema.TensorType.INT32
  )
  builder.operator('CAST', 3, _read(graph, inputs), wide, options)
  index = graph.integers(source, f'{name}index')
  offset = builder.constant(
    f'{name}offset', np.full((1, 1, 1, 1), 128, np.int32)
  )
  builder.operator('ADD', 1, [wide, offset], index, schema.AddOptionsT())
  table = builder.constant(
    f'{name}table',
    multipliers.square_root_table(source, output),
    scale=output.scale,
    zero_point=output.zero_point,
  )
  result = graph.indices[output.name]
  builder.operator('GATHER', 2, [table, index], result, schema.GatherOptionsT())


def _mean(graph, operator: ops.Mean, inputs, output):
  axes = graph.builder.constant(
    f'{operator.name}:axes', np.array([1, 2], np.int32)
  )
  options = schema.ReducerOptionsT(keepDims=True)
  indices = [*_read(graph, inputs), axes]
  _limited(graph, 'MEAN', 2, indices, options, output)


def _clamp(graph, operator: ops.Clamp, inputs, output):
  low, high = operator.limits
  code, version, bound, options = _bound('MAXIMUM', graph, output, 'least', low)
  values = [*_read(graph, inputs), *bound]
  _limited(graph, code, version, values, options, output, (-128, high))


def write_reshape(graph, source: int, result: int, shape, name: str):
  """Appends a RESHAPE to [B, *shape], which it keeps as constant `name`."""
  wanted = np.array([-1, *shape], np.int32)
  constant = graph.builder.constant(name, wanted)
  options = schema.ReshapeOptionsT(newShape=wanted)
  graph.builder.operator('RESHAPE', 1, [source, constant], result, options)


def _reshape(graph, operator: ops.Reshape, inputs, output):
  (index,) = _read(graph, inputs)
  result = graph.indices[output.name]
  shape = (1, 1, *output.shape)
  write_reshape(graph, index, result, shape, f'{operator.name}:shape')


WRITERS = {
  ops.Conv2D: _conv2d,
  ops.Dense: _dense,
  ops.Add: _add,
  ops.Mul: _mul,
  ops.Concat: _concat,
  ops.Requantize: _simple('QUANTIZE', 1, schema.QuantizeOptionsT),
  ops.PReLU: _prelu,
  ops.SumPReLU: _sum_prelu,
  ops.Logistic: _simple('LOGISTIC', 2),
  ops.SquareRoot: _square_root,
  ops.Mean: _mean,
  ops.MaxPool: tflite_windows.write_max_pool,
  ops.AveragePool: tflite_windows.write_average_pool,
  ops.Clamp: _clamp,
  ops.Reshape: _reshape,
  ops.L2Normalize: _simple('L2_NORMALIZATION', 2, schema.L2NormOptionsT),
}
