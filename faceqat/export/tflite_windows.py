"""Moving windows in TFLite: padding, and the pools.

A runtime knows two paddings, SAME and VALID. Any other becomes a PAD before the
window or, where padding must not count, a pool for each part of the image.
"""

import itertools
from typing import NamedTuple

import numpy as np

from faceqat.export.tflite_builder import schema
from faceqat.integer import operators as ops
from faceqat.integer.tensors import Tensor


def _same_padding(size: int, width: int, stride: int) -> tuple[int, int]:
  """(before, after) that TFLite's SAME adds to one axis."""
  count = -(-size // stride)
  total = max((count - 1) * stride + width - size, 0)
  return total // 2, total - total // 2


def padding_scheme(operator, source: Tensor, window) -> str | None:
  """'VALID' or 'SAME' where that is this padding, at this size."""
  axes = list(zip(source.shape, window, operator.strides, operator.padding))
  for name in ('VALID', 'SAME'):
    for size, width, stride, (before, after) in axes:
      wanted = (0, 0) if name == 'VALID' else _same_padding(size, width, stride)
      # Padding behind the last window has no effect.
      counts = [
        (size + sum(pads) - width) // stride
        for pads in (wanted, (before, after))
      ]
      if wanted[0] != before or counts[0] != counts[1]:
        break
    else:
      return name
  return None


def padded(graph, operator, source: Tensor, window, value=None):
  """Writes a PAD if there has to be one.

  Args:
    graph: to write it to.
    operator: with padding and strides.
    source: what it reads.
    window: (height, width).
    value: of the padding; None is the zero point.

  Returns:
    (index, scheme): of the tensor to read, and the padding to say there.
  """
  index = graph.indices[source.name]
  scheme = padding_scheme(operator, source, window)
  if scheme is not None:
    return index, getattr(schema.Padding, scheme)
  shape = (
    *(
      size + sum(pads) for size, pads in zip(source.shape[:2], operator.padding)
    ),
    source.shape[2],
  )
  result = graph.activation(source, f'{operator.name}:padded', shape)
  pads = np.array([(0, 0), *operator.padding, (0, 0)], np.int32)
  inputs = [index, graph.builder.constant(f'{operator.name}:padding', pads)]
  code, options = 'PAD', schema.PadOptionsT()
  if value is not None:
    code, options = 'PADV2', schema.PadV2OptionsT()
    constant = graph.builder.constant(
      f'{operator.name}:padding_value',
      np.array([value], np.int8),
      scale=source.scale,
      zero_point=source.zero_point,
    )
    inputs.append(constant)
  graph.builder.operator(code, 2, inputs, result, options)
  return result, schema.Padding.VALID


def _pool(graph, code, operator, source, result, window, padding):
  options = schema.Pool2DOptionsT(
    padding=padding,
    strideH=operator.strides[0],
    strideW=operator.strides[1],
    filterHeight=window[0],
    filterWidth=window[1],
  )
  graph.builder.operator(code, 2, [source], result, options)


def write_max_pool(graph, operator: ops.MaxPool, inputs, output):
  """Appends a MAX_POOL_2D; padding is the least int8, which never wins."""
  (source,) = inputs
  window = operator.window
  index, padding = padded(graph, operator, source, window, -128)
  result = graph.indices[output.name]
  _pool(graph, 'MAX_POOL_2D', operator, index, result, window, padding)


def write_average_pool(graph, operator: ops.AveragePool, inputs, output):
  """Appends an AVERAGE_POOL_2D, or several where padding is explicit."""
  (source,) = inputs
  index, result = graph.indices[source.name], graph.indices[output.name]
  scheme = padding_scheme(operator, source, operator.window)
  code = 'AVERAGE_POOL_2D'
  if scheme is not None:
    padding = getattr(schema.Padding, scheme)
    _pool(graph, code, operator, index, result, operator.window, padding)
    return
  # Windows that padding cuts short are smaller ones on a part of the image.
  rows, columns = (_runs(operator, source, output, axis) for axis in range(2))
  height, width = len(rows), len(columns)
  parts = {}
  for (i, row), (j, column) in itertools.product(
    enumerate(rows), enumerate(columns)
  ):
    name = f'{operator.name}:part_{i}_{j}'
    part = _slice(graph, operator, source, name, row, column)
    window = (row.window, column.window)
    parts[i, j] = result
    if (height, width) != (1, 1):
      shape = (row.count, column.count, source.shape[2])
      parts[i, j] = graph.activation(output, f'{name}:average', shape)
    padding = schema.Padding.VALID
    _pool(graph, code, operator, part, parts[i, j], window, padding)
  strips = []
  for i, row in enumerate(rows):
    strip = parts[i, 0]
    if width > 1:
      strip = result
      if height > 1:
        shape = (row.count, *output.shape[1:])
        strip = graph.activation(output, f'{operator.name}:strip_{i}', shape)
      _join(graph, [parts[i, j] for j in range(width)], strip, 2)
    strips.append(strip)
  if height > 1:
    _join(graph, strips, result, 1)


class _Run(NamedTuple):
  """Windows along one axis that see equally much, each a stride further."""

  start: int
  window: int
  count: int
  stride: int

  @property
  def size(self) -> int:
    """Of the part of the image that they see."""
    return self.window + (self.count - 1) * self.stride


def _runs(operator, source: Tensor, output: Tensor, axis: int) -> list[_Run]:
  stride, width = operator.strides[axis], operator.window[axis]
  runs = []
  for number in range(output.shape[axis]):
    first = number * stride - operator.padding[axis][0]
    start, end = max(first, 0), min(first + width, source.shape[axis])
    if runs:
      last = runs[-1]
      expected = last.start + last.count * stride
      if (start, end - start) == (expected, last.window):
        runs[-1] = last._replace(count=last.count + 1)
        continue
    runs.append(_Run(start, end - start, 1, stride))
  return runs


def _slice(graph, operator, source, name: str, row: _Run, column: _Run) -> int:
  """Appends a SLICE of the rows and columns that two runs see; its index."""
  shape = (row.size, column.size, source.shape[2])
  part = graph.activation(source, name, shape)
  bounds = {
    'begin': (0, row.start, column.start, 0),
    'size': (-1, *shape),
  }
  constants = [
    graph.builder.constant(f'{name}:{key}', np.array(value, np.int32))
    for key, value in bounds.items()
  ]
  inputs = [graph.indices[source.name], *constants]
  graph.builder.operator('SLICE', 2, inputs, part, schema.SliceOptionsT())
  return part


def _join(graph, parts: list[int], result: int, axis: int):
  options = schema.ConcatenationOptionsT(axis=axis)
  graph.builder.operator('CONCATENATION', 2, parts, result, options)
