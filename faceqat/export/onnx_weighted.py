"""Conv2D and Dense as ONNX nodes, in the integer form and in the QDQ form."""

import numpy as np

from faceqat.export.onnx_fixed_point import finish_rescaled
from faceqat.export.onnx_graph import window_attributes
from faceqat.integer import operators as ops
from faceqat.integer.tensors import Tensor


def _groups(operator: ops.Conv2D) -> int:
  return operator.weights.shape[-1] if operator.depthwise else 1


def conv2d_integer(graph, operator: ops.Conv2D, inputs, output, result):
  acc = _sums(
    graph,
    'ConvInteger',
    operator,
    inputs[0],
    (3, 2, 0, 1),
    group=_groups(operator),
    **window_attributes(operator),
  )
  finish_rescaled(graph, operator, acc, inputs, output, bias=operator.bias)


def conv2d_real(graph, operator: ops.Conv2D, inputs, output, result):
  return graph.node(
    'Conv',
    _reals(graph, operator, inputs[0], (3, 2, 0, 1)),
    result,
    group=_groups(operator),
    **window_attributes(operator),
  )


def dense_integer(graph, operator: ops.Dense, inputs, output, result):
  acc = _sums(graph, 'MatMulInteger', operator, inputs[0], (0, 1))
  finish_rescaled(graph, operator, acc, inputs, output, bias=operator.bias)


def dense_real(graph, operator: ops.Dense, inputs, output, result):
  values = _reals(graph, operator, inputs[0], (1, 0))
  return graph.node('Gemm', values, result, transB=1)


def _sums(
  graph, kind: str, operator: ops.Weighted, source: Tensor, order, **attributes
) -> str:
  """Appends int32 sums, of parts of the channels if all would be too many."""
  name = f'{operator.name}:'
  sizes = _part_sizes(graph.widest_sum, operator, source)
  values = [graph.value(source)]
  if len(sizes) > 1:
    split = graph.constant(sizes, np.int64, f'{name}split')
    parts = [f'{name}part_{i}' for i in range(len(sizes))]
    values = graph.nodes('Split', [*values, split], parts, axis=1)
  starts = np.cumsum([0, *sizes])
  total = None
  for number, (value, start, size) in enumerate(zip(values, starts, sizes)):
    weights = operator.weights[..., start : start + size, :].transpose(order)
    label = f'{name}weights_{number}' if number else f'{name}weights'
    read = _bytes(graph, operator, value, source, weights, label)
    sums = graph.node(kind, read, f'{name}sums_{number}', **attributes)
    pair = [total, sums]
    total = graph.node('Add', pair, f'{name}all_{number}') if total else sums
  return total


def _part_sizes(
  widest_sum: int | None, operator: ops.Weighted, source: Tensor
) -> list[int]:
  """Numbers of input channels, so that no part's sum can exceed a limit."""
  weights = np.abs(operator.weights.astype(np.int64))
  *_, channels, outputs = weights.shape
  # By how much each channel can raise the magnitude of any sum, at most.
  reaches = weights.reshape(-1, channels, outputs).sum(0).max(1) * source.reach
  bias = np.abs(operator.bias.astype(np.int64)).max()
  if widest_sum is None or reaches.sum() + bias <= widest_sum:
    return [channels]
  if channels == 1 or reaches.max() > widest_sum:
    operator.fail(
      f'its sums can reach {reaches.sum() + bias}, and the runtime adds in '
      f'float32, which holds integers up to {widest_sum}; leave this target '
      'out, or take fewer weight bits'
    )
  # Two at least: a bias is added to the first sum in float32 too.
  fill = min(widest_sum, reaches.sum() // 2 + 1)
  sizes, filled = [], fill
  for reach in reaches:
    if filled + reach > fill and (not sizes or filled):
      sizes.append(0)
      filled = 0
    sizes[-1] += 1
    filled += reach
  return sizes


def _bytes(
  graph, operator: ops.Weighted, value: str, source: Tensor, weights, name: str
) -> list[str]:
  """Names of the uint8 input and weights, and of their zero points."""
  fitting = [b for b in (2, 4, 8) if b >= operator.weight_bits]
  bits = max(fitting[0], graph.least_bits)
  zero = 2 ** (bits - 1)
  weights = weights.astype(np.int32) + zero
  if bits == 8:
    weights = graph.constant(weights, np.uint8, name)
  else:
    packed = graph.packed_constant(weights, bits, f'{name}_uint{bits}')
    # Runtimes do this once, when they load the file.
    weights = graph.cast(packed, np.uint8, name)
  weights_zero = graph.constant(zero, np.uint8)
  source_zero = graph.constant(source.zero_point + 128, np.uint8)
  return [value, weights, source_zero, weights_zero]


def _reals(graph, operator: ops.Weighted, source: Tensor, order) -> list[str]:
  """Names of the float32 input, weights [O, ...] and bias."""
  name = f'{operator.name}:'
  scale = operator.weight_scale
  weights = operator.weights.transpose(order)
  bias_scale = np.float32(source.scale) * scale
  if graph.form.bias == 'float32':
    bias = operator.bias * bias_scale.astype(np.float64)
    bias = graph.constant(bias, np.float32, f'{name}bias')
  else:
    bias = graph.constant_reals(operator.bias, bias_scale, f'{name}bias', 0)
  return [
    graph.value(source),
    graph.constant_reals(weights, scale, f'{name}weights', 0),
    bias,
  ]
