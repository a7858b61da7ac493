"""Writes each operator of a program as integer nodes of an ONNX graph.

Values between operators are uint8 `q + 128`, [B, C, H, W] or [B, C].
"""

from collections.abc import Mapping

import numpy as np

from faceqat.export.onnx_fixed_point import l2_normalize, rescale, saturate
from faceqat.export.onnx_graph import NHWC, window_attributes
from faceqat.integer import accumulators, multipliers
from faceqat.integer import operators as ops
from faceqat.integer.tensors import Tensor

__all__ = ['inside', 'write']


def inside(tensor: Tensor) -> str:
  """Name of the uint8 value that stands for a tensor in the graph."""
  return f'{tensor.name}:nchw'


def _byte(tensor: Tensor) -> int:
  """The uint8 that stands for 0."""
  return tensor.zero_point + 128


def write(graph, operator: ops.Operator, tensors: Mapping[str, Tensor]):
  """Appends what computes an operator's output from its inputs."""
  inputs = [tensors[name] for name in operator.inputs]
  output = tensors[operator.output]
  _WRITERS[type(operator)](graph, operator, inputs, output)


def _integers(graph, tensor: Tensor, name: str) -> str:
  """int32 `q + 128`."""
  return graph.cast(inside(tensor), np.int32, f'{name}int32')


def _offset(graph, tensor: Tensor, name: str) -> str:
  """int32 `q - zero_point`."""
  value = _integers(graph, tensor, name)
  zero = graph.constant(_byte(tensor), np.int32)
  return graph.node('Sub', [value, zero], f'{name}offset')


def _finish(graph, value: str, output: Tensor, limits=None):
  low, high = limits or (output.qmin, output.qmax)
  saturate(graph, value, low, high, f'{output.name}:')


def _weights(graph, operator, order) -> list[str]:
  """The names of uint8 weights and of their zero point."""
  weights = operator.weights.transpose(order).astype(np.int32)
  name = f'{operator.name}:weights'
  if operator.weight_bits > 4:
    value = graph.constant(weights + 128, np.uint8, name)
    return value, graph.constant(128, np.uint8)
  packed = graph.constant_uint4(weights + 8, f'{name}_uint4')
  # Runtimes do this once, when they load the file.
  return graph.cast(packed, np.uint8, name), graph.constant(8, np.uint8)


def _conv2d(graph, operator: ops.Conv2D, inputs, output):
  (source,) = inputs
  weights, weights_zero = _weights(graph, operator, (3, 2, 0, 1))
  zero = graph.constant(_byte(source), np.uint8)
  acc = graph.node(
    'ConvInteger',
    [inside(source), weights, zero, weights_zero],
    f'{operator.name}:sums',
    group=operator.weights.shape[-1] if operator.depthwise else 1,
    **window_attributes(operator),
  )
  _weighted(graph, operator, acc, source, output)


def _dense(graph, operator: ops.Dense, inputs, output):
  (source,) = inputs
  weights, weights_zero = _weights(graph, operator, (0, 1))
  zero = graph.constant(_byte(source), np.uint8)
  acc = graph.node(
    'MatMulInteger',
    [inside(source), weights, zero, weights_zero],
    f'{operator.name}:sums',
  )
  _weighted(graph, operator, acc, source, output)


def _weighted(graph, operator, acc: str, source: Tensor, output: Tensor):
  scaled = rescale(
    graph,
    acc,
    multipliers.weighted_multipliers(operator, source, output),
    output,
    f'{operator.name}:',
    reach=accumulators.weighted_bounds(operator, source)[0],
    bias=operator.bias,
    zero_point=output.zero_point,
  )
  _finish(graph, scaled, output, operator.clamp)


def _add(graph, operator: ops.Add, inputs, output):
  *pairs, total_pair = multipliers.add_multipliers(*inputs, output)
  headroom = 2**multipliers.ADD_LEFT_SHIFT
  terms = []
  reach = 0
  for number, (tensor, pair) in enumerate(zip(inputs, pairs)):
    name = f'{operator.name}:{number}_'
    bound = accumulators.offset_reach(tensor) * headroom
    terms.append(
      rescale(
        graph,
        _integers(graph, tensor, name),
        pair,
        tensor,
        name,
        reach=bound,
        factor=headroom,
        bias=-_byte(tensor) * headroom,
      )
    )
    reach += bound  # Factors are at most 1/2, so this is ample.
  scaled = rescale(
    graph,
    graph.node('Add', terms, f'{operator.name}:sum'),
    total_pair,
    output,
    f'{operator.name}:',
    reach=reach,
    zero_point=output.zero_point,
  )
  _finish(graph, scaled, output)


def _mul(graph, operator: ops.Mul, inputs, output):
  factors = [
    _offset(graph, tensor, f'{operator.name}:{number}_')
    for number, tensor in enumerate(inputs)
  ]
  name = f'{operator.name}:'
  if len(inputs[1].shape) < len(inputs[0].shape):
    axes = graph.constant([2, 3], np.int64, f'{name}axes')
    factors[1] = graph.node('Unsqueeze', [factors[1], axes], f'{name}gate')
  scaled = rescale(
    graph,
    graph.node('Mul', factors, f'{name}integer_product'),
    multipliers.mul_multiplier(*inputs, output),
    output,
    name,
    reach=int(np.prod([accumulators.offset_reach(t) for t in inputs])),
    zero_point=output.zero_point,
  )
  _finish(graph, scaled, output)


def _concat(graph, operator: ops.Concat, inputs, output):
  values = [inside(tensor) for tensor in inputs]
  graph.node('Concat', values, inside(output), axis=1)


def _requantize(graph, operator: ops.Requantize, inputs, output):
  (source,) = inputs
  name = f'{operator.name}:'
  scaled = rescale(
    graph,
    _integers(graph, source, name),
    multipliers.requantize_multiplier(source, output),
    output,
    name,
    reach=accumulators.offset_reach(source),
    bias=-_byte(source),
    zero_point=output.zero_point,
  )
  _finish(graph, scaled, output)


def _prelu(graph, operator: ops.PReLU, inputs, output):
  (source,) = inputs
  name = f'{operator.name}:'
  positive, negative = multipliers.prelu_multipliers(operator, source, output)
  reach = accumulators.offset_reach(source)
  alpha = operator.alpha.astype(np.int64)
  offset = _offset(graph, source, name)
  zero = graph.constant(0, np.int32)
  # Each side sees 0 in place of the other's values, and gives 0 there.
  above = rescale(
    graph,
    graph.node('Max', [offset, zero], f'{name}above'),
    positive,
    output,
    f'{name}positive_',
    reach=reach,
    negative=False,
    zero_point=output.zero_point,
  )
  below = rescale(
    graph,
    graph.node('Min', [offset, zero], f'{name}below'),
    negative,
    output,
    f'{name}negative_',
    reach=reach * np.abs(alpha),
    factor=alpha,
    negative=alpha > 0,
  )
  scaled = graph.node('Add', [above, below], f'{name}scaled')
  _finish(graph, scaled, output)


def _logistic(graph, operator: ops.Logistic, inputs, output):
  table = multipliers.logistic_table(inputs[0])
  _look_up(graph, operator, table, inputs[0], output)


def _square_root(graph, operator: ops.SquareRoot, inputs, output):
  table = multipliers.square_root_table(inputs[0], output)
  _look_up(graph, operator, table, inputs[0], output)


def _look_up(
  graph, operator, table: np.ndarray, source: Tensor, output: Tensor
):
  name = f'{operator.name}:'
  table = graph.constant(table.astype(np.int32) + 128, np.uint8, f'{name}table')
  index = _integers(graph, source, name)
  graph.node('Gather', [table, index], inside(output))


def _mean(graph, operator: ops.Mean, inputs, output):
  (source,) = inputs
  name = f'{operator.name}:'
  count = source.shape[0] * source.shape[1]
  axes = graph.constant([2, 3], np.int64, f'{name}axes')
  value = _integers(graph, source, name)
  scaled = rescale(
    graph,
    graph.node('ReduceSum', [value, axes], f'{name}sums', keepdims=0),
    multipliers.mean_multiplier(source, output),
    output,
    name,
    reach=accumulators.offset_reach(source) * count,
    bias=-_byte(source) * count,
    zero_point=output.zero_point,
  )
  _finish(graph, scaled, output)


def _max_pool(graph, operator: ops.MaxPool, inputs, output):
  graph.node(
    'MaxPool',
    [inside(inputs[0])],
    inside(output),
    kernel_shape=list(operator.window),
    **window_attributes(operator),
  )


def _average_pool(graph, operator: ops.AveragePool, inputs, output):
  (source,) = inputs
  name = f'{operator.name}:'
  channels = source.shape[-1]
  ones = np.ones((channels, 1, *operator.window))
  # Zero point 128: raw sums, to which padding adds nothing.
  sums = graph.node(
    'ConvInteger',
    [
      inside(source),
      graph.constant(ones, np.uint8, f'{name}ones'),
      graph.constant(128, np.uint8),
    ],
    f'{name}sums',
    group=channels,
    **window_attributes(operator),
  )
  counts = operator.window_counts(source.shape)
  half = counts // 2
  above = graph.node(
    'Greater', [sums, graph.constant(0, np.int32)], f'{name}above'
  )
  nudge = graph.node(
    'Where',
    [
      above,
      graph.constant(half, np.int32, f'{name}half'),
      graph.constant(-half, np.int32, f'{name}minus_half'),
    ],
    f'{name}nudge',
  )
  nudged = graph.node('Add', [sums, nudge], f'{name}nudged')
  # Div truncates, so halves go away from zero.
  count = graph.constant(counts, np.int32, f'{name}counts')
  _finish(graph, graph.node('Div', [nudged, count], f'{name}average'), output)


def _clamp(graph, operator: ops.Clamp, inputs, output):
  limits = [graph.constant(x + 128, np.uint8) for x in operator.limits]
  graph.node('Clip', [inside(inputs[0]), *limits], inside(output))


def _reshape(graph, operator: ops.Reshape, inputs, output):
  value = inside(inputs[0])
  if len(inputs[0].shape) == 3:
    name = f'{operator.name}:nhwc_input'
    value = graph.node('Transpose', [value], name, perm=NHWC)
  graph.node('Flatten', [value], inside(output), axis=1)


def _l2_normalize(graph, operator: ops.L2Normalize, inputs, output):
  (source,) = inputs
  name = f'{operator.name}:'
  scaled = l2_normalize(graph, inside(source), _byte(source), name)
  _finish(graph, scaled, output)


_WRITERS = {
  ops.Conv2D: _conv2d,
  ops.Dense: _dense,
  ops.Add: _add,
  ops.Mul: _mul,
  ops.Concat: _concat,
  ops.Requantize: _requantize,
  ops.PReLU: _prelu,
  ops.Logistic: _logistic,
  ops.SquareRoot: _square_root,
  ops.Mean: _mean,
  ops.MaxPool: _max_pool,
  ops.AveragePool: _average_pool,
  ops.Clamp: _clamp,
  ops.Reshape: _reshape,
  ops.L2Normalize: _l2_normalize,
}
