"""Each operator of a program as ONNX nodes, in both forms of the graph.

A writer takes the graph, the operator, its input tensors, its output tensor
and the name of the node to end with. In the integer form it ends in the
output's uint8 `q + 128`; in the QDQ form it returns the name of a float32,
which the graph quantizes. Images are [B, C, H, W].
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from faceqat.export import onnx_weighted
from faceqat.export.onnx_fixed_point import (
  Term,
  common_factors,
  finish,
  finish_rescaled,
  floor_sum,
  rescale,
  sign,
)
from faceqat.export.onnx_graph import NHWC, window_attributes
from faceqat.export.onnx_l2_normalize import l2_normalize
from faceqat.integer import multipliers
from faceqat.integer import operators as ops
from faceqat.integer.tensors import Tensor


def _byte(tensor: Tensor) -> int:
  """The uint8 that stands for 0."""
  return tensor.zero_point + 128


def _integers(graph, tensor: Tensor, name: str) -> str:
  """int32 `q + 128`."""
  return graph.cast(graph.value(tensor), np.int32, f'{name}int32')


def _offset(graph, tensor: Tensor, name: str) -> str:
  """int32 `q - zero_point`."""
  value = _integers(graph, tensor, name)
  zero = graph.constant(_byte(tensor), np.int32)
  return graph.node('Sub', [value, zero], f'{name}offset')


def _simple(kind: str, **attributes):
  """The writer of what is one node without constants."""

  def write(graph, operator, inputs, output, result):
    values = [graph.value(tensor) for tensor in inputs]
    return graph.node(kind, values, result, **attributes)

  return write


def _unchanged(graph, operator, inputs, output, result):
  """The writer of what the quantizer does alone."""
  return graph.value(inputs[0])


def _add_integer(graph, operator: ops.Add, inputs, output, result):
  name = f'{operator.name}:'
  *each, _ = operator.rescalings(inputs, output)
  terms = [
    rescale(
      graph,
      _offset(graph, tensor, f'{name}{number}_'),
      rescaling,
      tensor,
      f'{name}{number}_',
      factor=2**multipliers.ADD_LEFT_SHIFT,
    )
    for number, (tensor, rescaling) in enumerate(zip(inputs, each))
  ]
  total = graph.node('Add', terms, f'{name}total')
  finish_rescaled(graph, operator, total, inputs, output)


def _gated(graph, operator: ops.Mul, inputs, factors: list[str]) -> list[str]:
  """The factors, a gate per channel in the shape [B, C, 1, 1]."""
  if len(inputs[1].shape) == len(inputs[0].shape):
    return factors
  axes = graph.constant([2, 3], np.int64, f'{operator.name}:axes')
  gate = graph.node('Unsqueeze', [factors[1], axes], f'{operator.name}:gate')
  return [factors[0], gate]


def _mul_integer(graph, operator: ops.Mul, inputs, output, result):
  name = f'{operator.name}:'
  factors = [
    _offset(graph, tensor, f'{name}{number}_')
    for number, tensor in enumerate(inputs)
  ]
  factors = _gated(graph, operator, inputs, factors)
  product = graph.node('Mul', factors, f'{name}integer_product')
  finish_rescaled(graph, operator, product, inputs, output)


def _mul_real(graph, operator: ops.Mul, inputs, output, result):
  factors = [graph.value(tensor) for tensor in inputs]
  return graph.node('Mul', _gated(graph, operator, inputs, factors), result)


def _requantize_integer(
  graph, operator: ops.Requantize, inputs, output, result
):
  (source,) = inputs
  value = _integers(graph, source, f'{operator.name}:')
  finish_rescaled(graph, operator, value, inputs, output, bias=-_byte(source))


def _prelu_integer(graph, operator: ops.PReLU, inputs, output, result):
  (source,) = inputs
  name = f'{operator.name}:'
  alpha = operator.alpha.astype(object)
  factors = common_factors(*operator.rescalings(inputs, output))
  above, below = factors.multipliers
  nudge, nudge_below = factors.nudges
  # What a negative value adds to the constant, times -1.
  change = nudge - nudge_below + factors.signs[1] * (alpha > 0)
  value = _offset(graph, source, name)
  zero = graph.constant(0, np.int32)
  terms = [
    Term(graph.node('Max', [value, zero], f'{name}above'), above, source.reach),
    Term(
      graph.node('Min', [value, zero], f'{name}below'),
      below * alpha,
      source.reach,
    ),
    Term(sign(graph, value, name), change, 1),
  ]
  constant = nudge + _byte(output) * 2**factors.bits
  scaled = floor_sum(graph, terms, constant, factors.bits, output, name)
  finish(graph, operator, scaled, output)


def _prelu_real(graph, operator: ops.PReLU, inputs, output, result):
  (source,) = inputs
  alpha = operator.alpha.reshape(-1, *(1,) * (len(source.shape) - 1))
  slope = graph.constant_reals(
    alpha, operator.alpha_scale, f'{operator.name}:alpha'
  )
  return graph.node('PRelu', [graph.value(source), slope], result)


def _sum_prelu_integer(graph, operator, inputs, output, result):
  rise = operator.rise_tensor(inputs[0])
  graph.write(operator.rise, inputs, rise)
  _add_integer(graph, operator.total, [*inputs, rise], output, result)


def _sum_prelu_real(graph, operator, inputs, output, result):
  rise = operator.rise_tensor(inputs[0])
  graph.write(operator.rise, inputs, rise)
  values = [graph.value(tensor) for tensor in (*inputs, rise)]
  return graph.node('Add', values, result)


def _logistic_integer(graph, operator: ops.Logistic, inputs, output, result):
  table = multipliers.logistic_table(inputs[0])
  _look_up(graph, operator, table, inputs[0], result)


def _square_root_integer(graph, operator, inputs, output, result):
  table = multipliers.square_root_table(inputs[0], output)
  _look_up(graph, operator, table, inputs[0], result)


def _look_up(graph, operator, table: np.ndarray, source: Tensor, result: str):
  name = f'{operator.name}:'
  table = graph.constant(table.astype(np.int32) + 128, np.uint8, f'{name}table')
  index = _integers(graph, source, name)
  graph.node('Gather', [table, index], result)


def _square_root_real(graph, operator: ops.SquareRoot, inputs, output, result):
  (source,) = inputs
  value = graph.value(source)
  if source.zero_point > source.qmin:
    value = graph.node('Relu', [value], f'{operator.name}:not_negative')
  return graph.node('Sqrt', [value], result)


def _mean_integer(graph, operator: ops.Mean, inputs, output, result):
  (source,) = inputs
  name = f'{operator.name}:'
  axes = graph.constant([2, 3], np.int64, f'{name}axes')
  value = _integers(graph, source, name)
  total = graph.node('ReduceSum', [value, axes], f'{name}sums', keepdims=0)
  bias = -_byte(source) * source.shape[0] * source.shape[1]
  finish_rescaled(graph, operator, total, inputs, output, bias=bias)


def _pool(graph, kind: str, operator, inputs, result, **attributes):
  return graph.node(
    kind,
    [graph.value(inputs[0])],
    result,
    kernel_shape=list(operator.window),
    **attributes,
    **window_attributes(operator),
  )


def _max_pool(graph, operator: ops.MaxPool, inputs, output, result):
  return _pool(graph, 'MaxPool', operator, inputs, result)


def _average_pool_integer(graph, operator, inputs, output, result):
  (source,) = inputs
  name = f'{operator.name}:'
  channels = source.shape[-1]
  ones = np.ones((channels, 1, *operator.window))
  # Zero point 128: raw sums, to which padding adds nothing.
  sums = graph.node(
    'ConvInteger',
    [
      graph.value(source),
      graph.constant(ones, np.uint8, f'{name}ones'),
      graph.constant(128, np.uint8),
    ],
    f'{name}sums',
    group=channels,
    **window_attributes(operator),
  )
  counts = operator.window_counts(source.shape)
  zero = graph.constant(0, np.int32)
  above = graph.node('Greater', [sums, zero], f'{name}above')
  halves = [
    graph.constant(counts // 2, np.int32, f'{name}half'),
    graph.constant(-(counts // 2), np.int32, f'{name}minus_half'),
  ]
  nudge = graph.node('Where', [above, *halves], f'{name}nudge')
  nudged = graph.node('Add', [sums, nudge], f'{name}nudged')
  # Div truncates, so halves go away from zero.
  count = graph.constant(counts, np.int32, f'{name}counts')
  average = graph.node('Div', [nudged, count], f'{name}average')
  byte = graph.node(
    'Add', [average, graph.constant(128, np.int32)], f'{name}byte'
  )
  finish(graph, operator, byte, output)


def _average_pool_real(graph, operator, inputs, output, result):
  return _pool(
    graph, 'AveragePool', operator, inputs, result, count_include_pad=0
  )


def _clamp_integer(graph, operator: ops.Clamp, inputs, output, result):
  limits = [graph.constant(x + 128, np.uint8) for x in operator.limits]
  graph.node('Clip', [graph.value(inputs[0]), *limits], result)


def _reshape(graph, operator: ops.Reshape, inputs, output, result):
  value = graph.value(inputs[0])
  if len(inputs[0].shape) == 3:
    name = f'{operator.name}:nhwc_input'
    value = graph.node('Transpose', [value], name, perm=NHWC)
  return graph.node('Flatten', [value], result, axis=1)


def _l2_normalize_integer(graph, operator, inputs, output, result):
  (source,) = inputs
  value, name = graph.value(source), f'{operator.name}:'
  scaled = l2_normalize(graph, value, _byte(source), name)
  byte = graph.node(
    'Add', [scaled, graph.constant(128, np.int32)], f'{name}byte'
  )
  finish(graph, operator, byte, output)


class Writers(NamedTuple):
  """How an operator is written in the integer form and in the QDQ form."""

  integer: Callable
  real: Callable


_CONCAT = _simple('Concat', axis=1)

WRITERS = {
  ops.Conv2D: Writers(onnx_weighted.conv2d_integer, onnx_weighted.conv2d_real),
  ops.Dense: Writers(onnx_weighted.dense_integer, onnx_weighted.dense_real),
  ops.Add: Writers(_add_integer, _simple('Add')),
  ops.Mul: Writers(_mul_integer, _mul_real),
  ops.Concat: Writers(_CONCAT, _CONCAT),
  ops.Requantize: Writers(_requantize_integer, _unchanged),
  ops.PReLU: Writers(_prelu_integer, _prelu_real),
  ops.SumPReLU: Writers(_sum_prelu_integer, _sum_prelu_real),
  ops.Logistic: Writers(_logistic_integer, _simple('Sigmoid')),
  ops.SquareRoot: Writers(_square_root_integer, _square_root_real),
  ops.Mean: Writers(_mean_integer, _simple('GlobalAveragePool')),
  ops.MaxPool: Writers(_max_pool, _max_pool),
  ops.AveragePool: Writers(_average_pool_integer, _average_pool_real),
  ops.Clamp: Writers(_clamp_integer, _unchanged),
  ops.Reshape: Writers(_reshape, _reshape),
  ops.L2Normalize: Writers(
    _l2_normalize_integer, _simple('LpNormalization', axis=1, p=2)
  ),
}
