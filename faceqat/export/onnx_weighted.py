"""Conv2D and Dense as ONNX nodes, in the integer form and in the QDQ form."""

import numpy as np

from faceqat.export.onnx_fixed_point import finish_rescaled
from faceqat.export.onnx_graph import window_attributes
from faceqat.integer import operators as ops
from faceqat.integer.tensors import Tensor


def _groups(operator: ops.Conv2D) -> int:
  return operator.weights.shape[-1] if operator.depthwise else 1


def conv2d_integer(graph, operator: ops.Conv2D, inputs, output, result):
  acc = graph.node(
    'ConvInteger',
    _bytes(graph, operator, inputs[0], (3, 2, 0, 1)),
    f'{operator.name}:sums',
    group=_groups(operator),
    **window_attributes(operator),
  )
  finish_rescaled(graph, operator, acc, inputs, output, bias=operator.bias)


def conv2d_real(graph, operator: ops.Conv2D, inputs, output, result):
  return graph.node(
    'Conv',
    _reals(graph, operator, inputs[0], (3, 2, 0, 1), 0),
    result,
    group=_groups(operator),
    **window_attributes(operator),
  )


def dense_integer(graph, operator: ops.Dense, inputs, output, result):
  values = _bytes(graph, operator, inputs[0], (0, 1))
  acc = graph.node('MatMulInteger', values, f'{operator.name}:sums')
  finish_rescaled(graph, operator, acc, inputs, output, bias=operator.bias)


def dense_real(graph, operator: ops.Dense, inputs, output, result):
  values = _reals(graph, operator, inputs[0], (0, 1), 1)
  return graph.node('Gemm', values, result)


def _bytes(graph, operator: ops.Weighted, source: Tensor, order) -> list[str]:
  """Names of the uint8 input and weights, and of their zero points."""
  weights = operator.weights.transpose(order).astype(np.int32)
  name = f'{operator.name}:weights'
  if operator.weight_bits > 4:
    weights = graph.constant(weights + 128, np.uint8, name)
    zero = 128
  else:
    packed = graph.constant_uint4(weights + 8, f'{name}_uint4')
    # Runtimes do this once, when they load the file.
    weights, zero = graph.cast(packed, np.uint8, name), 8
  weights_zero = graph.constant(zero, np.uint8)
  source_zero = graph.constant(source.zero_point + 128, np.uint8)
  return [graph.value(source), weights, source_zero, weights_zero]


def _reals(
  graph, operator: ops.Weighted, source: Tensor, order, axis: int
) -> list[str]:
  """Names of the float32 input, weights and bias; integers behind a scale."""
  name = f'{operator.name}:'
  scale = operator.weight_scale
  bias_scale = np.float32(source.scale) * scale
  weights = operator.weights.transpose(order)
  weights = [
    graph.constant(weights, np.int8, f'{name}weights_quantized'),
    graph.constant(scale, np.float32, f'{name}weights_scale'),
  ]
  bias = [
    graph.constant(operator.bias, np.int32, f'{name}bias_quantized'),
    graph.constant(bias_scale, np.float32, f'{name}bias_scale'),
  ]
  # Both have zero point 0, which is what a missing one means.
  return [
    graph.value(source),
    graph.node('DequantizeLinear', weights, f'{name}weights', axis=axis),
    graph.node('DequantizeLinear', bias, f'{name}bias', axis=0),
  ]
