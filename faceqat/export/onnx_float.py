"""Networks in float as ONNX, their norms folded, for other calibrators.

What a vendor's converter starts from: a graph of float32 operators, and beside
it the ranges that a program has for the same tensors. It takes one image at a
time, channels first, as (pixel - 128) / 128.
"""

import math

import numpy as np
import onnx

from faceqat.export import digests
from faceqat.export.onnx_graph import OnnxGraph, window_attributes
from faceqat.export.onnx_operators import WRITERS
from faceqat.integer import operators as ops
from faceqat.integer.program import IntegerProgram
from faceqat.integer.tensors import Tensor
from faceqat.integer.tracing import Reals

INPUT = 'float32 [1, 3, H, W], RGB, (pixel - 128) / 128'


def to_model(program: IntegerProgram, reals: Reals) -> onnx.ModelProto:
  """Writes what a program was lowered from.

  Args:
    program: says which operators there are, and how they are joined.
    reals: of `lower.real_weights`, of the network it was lowered from.

  Returns:
    A checked model from float32 images [1, 3, H, W] to the float32 embedding
    [1, D]; opset 18. Tensors have the names that they have in the program.
  """
  graph = _FloatGraph(reals)
  for operator in program.operators:
    inputs = program.inputs_of(operator)
    graph.write(operator, inputs, program.tensors[operator.output])
  image = program.tensors[program.input]
  embedding = program.tensors[program.output]
  return graph.model(
    {image.name: (_channels_first(image), 'float32')},
    {embedding.name: (_channels_first(embedding), 'float32')},
    {
      **digests.of_program(program),
      **program.metadata,
      'contract': 'none',
      'input': INPUT,
    },
  )


def ranges(program: IntegerProgram) -> dict[str, dict[str, float | int]]:
  """How a program quantizes each tensor, JSON-able, by name.

  Returns:
    For each the least and the greatest real number that it holds, and `scale`
    and `zero_point` of its integers, which are signed and have `bits`.
  """
  return {
    tensor.name: {
      'min': (tensor.qmin - tensor.zero_point) * tensor.scale,
      'max': (tensor.qmax - tensor.zero_point) * tensor.scale,
      'scale': tensor.scale,
      'zero_point': tensor.zero_point,
      'bits': tensor.bits,
    }
    for tensor in program.tensors.values()
  }


def _channels_first(tensor: Tensor) -> tuple[int, ...]:
  *size, channels = tensor.shape
  return (channels, *size)


class _FloatGraph(OnnxGraph):
  """Values between operators are float32, under their names in the program."""

  def __init__(self, reals: Reals):
    super().__init__()
    self.batch = 1
    self._reals = reals

  def value(self, tensor: Tensor) -> str:
    return tensor.name

  def write(self, operator, inputs, output):
    """Appends an operator, and the activation that was fused into it."""
    reals = self._reals.get(operator.name, {})
    limits = reals.get('activation_range')
    name = f'{output.name}:linear' if limits else output.name
    write = _WRITERS.get(type(operator))
    if write:
      write(self, operator, inputs[0], reals, name)
    elif isinstance(operator, ops.Clamp):
      name = inputs[0].name
    else:
      real = WRITERS[type(operator)].real(self, operator, inputs, output, name)
      if real != name:
        self.node('Identity', [real], name)
    if limits:
      self._activate(name, limits, output.name)

  def floats(self, values, name: str) -> str:
    return self.constant(values, np.float32, name)

  def _activate(self, value: str, limits, name: str):
    if limits == (0.0, math.inf):
      self.node('Relu', [value], name)
    else:
      bounds = [self.constant(limit, np.float32) for limit in limits]
      self.node('Clip', [value, *bounds], name)


def _conv2d(graph, operator: ops.Conv2D, source, reals, result):
  kernel = np.asarray(reals['kernel']).transpose(3, 2, 0, 1)
  graph.node(
    'Conv',
    [
      source.name,
      graph.floats(kernel, f'{operator.name}:weights'),
      graph.floats(reals['bias'], f'{operator.name}:bias'),
    ],
    result,
    group=len(kernel) if operator.depthwise else 1,
    **window_attributes(operator),
  )


def _dense(graph, operator: ops.Dense, source, reals, result):
  values = [
    source.name,
    graph.floats(np.asarray(reals['kernel']).T, f'{operator.name}:weights'),
    graph.floats(reals['bias'], f'{operator.name}:bias'),
  ]
  graph.node('Gemm', values, result, transB=1)


def _prelu(graph, operator, source, reals, result):
  alpha = np.asarray(reals['alpha'])
  alpha = alpha.reshape(-1, *(1,) * (len(source.shape) - 1))
  slope = graph.floats(alpha, f'{operator.name}:alpha')
  graph.node('PRelu', [source.name, slope], result)


def _mean(graph, operator, source, reals, result):
  pooled = f'{operator.name}:pooled'
  graph.node('GlobalAveragePool', [source.name], pooled)
  graph.node('Flatten', [pooled], result, axis=1)


def _reshape(graph, operator, source, reals, result):
  value = source.name
  if source.shape[:2] != (1, 1):
    value = f'{operator.name}:channels_last'
    graph.node('Transpose', [source.name], value, perm=(0, 2, 3, 1))
  graph.node('Flatten', [value], result, axis=1)


# Of operators whose form in the other graphs is not that of a float network.
_WRITERS = {
  ops.Conv2D: _conv2d,
  ops.Dense: _dense,
  ops.PReLU: _prelu,
  ops.SumPReLU: _prelu,
  ops.Mean: _mean,
  ops.Reshape: _reshape,
}
