"""Integer programs as QDQ graphs: the form that accelerators compile.

Every activation is a QuantizeLinear and a DequantizeLinear, weights and biases
are integers behind a DequantizeLinear, and the operators between are float32.
A compiler may fuse each group into an integer kernel of its own.

So the numbers are the program's, the rounding is the runtime's:
QuantizeLinear divides by the scale in float32 and rounds halves to even
(`tflite_ref` rounds twice, halves away from zero), sums may be rounded to
float32, and a fused kernel may do anything near it. Outputs differ here and
there by a step; whoever needs the same bits takes the integer graph.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from faceqat.export.onnx_graph import (
  NCHW,
  NHWC,
  OnnxGraph,
  metadata_of,
  window_attributes,
)
from faceqat.integer import operators as ops
from faceqat.integer.program import IntegerProgram
from faceqat.integer.tensors import Tensor

__all__ = ['ROUNDING', 'operators_to_model', 'to_model']

ROUNDING = (
  'float32, rounded half to even by QuantizeLinear; the runtime may fuse and '
  'round in its own way, so outputs may differ by steps from the program'
)


def to_model(program: IntegerProgram, *, taps: bool = False) -> onnx.ModelProto:
  """Writes a program as an ONNX graph in QDQ form.

  Args:
    program: of any contract; the graph keeps none.
    taps: make every activation an output under its name in the program, not
      the embedding alone; the input is then called '<image>:uint8'.

  Returns:
    A checked model from uint8 images [B, H, W, 3] to the int8 embedding
    [B, D]; opset 17. Its `metadata_props` are its rounding, input and the
    program's own.
  """
  graph = OnnxGraph()
  image = program.tensors[program.input]
  pixels = f'{image.name}:uint8' if taps else image.name
  value = graph.node('Transpose', [pixels], f'{image.name}:nchw', perm=NCHW)
  if taps:
    _write_int8(graph, value, image)
  # A pixel is q + 128 already.
  _dequantize(graph, value, image, np.uint8)
  for operator in program.operators:
    _write(graph, operator, program.tensors)
  outputs = program.tensors if taps else [program.output]
  for name in outputs:
    _write_output(graph, program.tensors[name])
  return graph.finish(
    {pixels: (image.shape, 'uint8')},
    {name: program.tensors[name].shape for name in outputs},
    {**metadata_of(program), 'contract': 'none', 'rounding': ROUNDING},
  )


def operators_to_model(
  tensors: Mapping[str, Tensor],
  operators: Sequence[ops.Operator],
  inputs: Sequence[str],
  outputs: Sequence[str],
) -> onnx.ModelProto:
  """Writes operators as a graph with int8 inputs and outputs [B, *shape].

  Args:
    tensors: every activation by name.
    operators: in the order they run.
    inputs, outputs: names of the graph's own, in its order.
  """
  graph = OnnxGraph()
  for name in inputs:
    tensor = tensors[name]
    value = name
    if len(tensor.shape) == 3:
      value = graph.node('Transpose', [name], _quantized(tensor), perm=NCHW)
    _dequantize(graph, value, tensor, np.int8)
  for operator in operators:
    _write(graph, operator, tensors)
  for name in outputs:
    _write_output(graph, tensors[name])
  return graph.finish(
    {name: (tensors[name].shape, 'int8') for name in inputs},
    {name: tensors[name].shape for name in outputs},
    {'contract': 'none', 'rounding': ROUNDING},
  )


def _quantized(tensor: Tensor) -> str:
  """Name of the int8 value, channels first."""
  return f'{tensor.name}:quantized'


def _real(tensor: Tensor) -> str:
  """Name of the float32 value, channels first."""
  return f'{tensor.name}:real'


def _write(graph, operator: ops.Operator, tensors: Mapping[str, Tensor]):
  """Appends an operator, what quantizes its output and what reads it again."""
  inputs = [tensors[name] for name in operator.inputs]
  output = tensors[operator.output]
  write = _WRITERS[type(operator)]
  value = write(graph, operator, inputs, f'{operator.name}:exact')
  if isinstance(operator, (ops.Conv2D, ops.Dense)):
    limits = operator.clamp
  elif isinstance(operator, ops.Clamp):
    limits = operator.limits
  else:
    limits = output.qmin, output.qmax
  value = _activation(graph, value, limits, output)
  # Flattened behind the quantizer: pooling and quantizer stay neighbours.
  pooled = isinstance(operator, ops.Mean)
  name = f'{operator.name}:pooled' if pooled else _quantized(output)
  graph.node('QuantizeLinear', [value, *_parameters(graph, output)], name)
  if pooled:
    graph.node('Flatten', [name], _quantized(output), axis=1)
  _dequantize(graph, _quantized(output), output, np.int8)


def _parameters(graph, tensor: Tensor, dtype=np.int8) -> list[str]:
  """Names of a tensor's scale and zero point."""
  zero_point = tensor.zero_point + (128 if dtype == np.uint8 else 0)
  return [
    graph.constant(tensor.scale, np.float32),
    graph.constant(zero_point, dtype),
  ]


def _dequantize(graph, value: str, tensor: Tensor, dtype):
  parameters = _parameters(graph, tensor, dtype)
  graph.node('DequantizeLinear', [value, *parameters], _real(tensor))


def _write_int8(graph, pixels: str, image: Tensor):
  """Appends `pixel - 128`, which is an output of the tapped graph alone."""
  wide = graph.cast(pixels, np.int32, f'{image.name}:wide')
  offset = graph.constant(128, np.int32)
  signed = graph.node('Sub', [wide, offset], f'{image.name}:signed')
  graph.cast(signed, np.int8, _quantized(image))


def _write_output(graph, tensor: Tensor):
  if len(tensor.shape) == 3:
    graph.node('Transpose', [_quantized(tensor)], tensor.name, perm=NHWC)
  else:
    graph.node('Identity', [_quantized(tensor)], tensor.name)


def _activation(graph, value: str, limits, output: Tensor) -> str:
  """Appends the cut that quantizing to int8 does not do by itself."""
  low, high = limits
  if (low, high) == (-128, 127):
    return value
  name = f'{output.name}:activation'
  if (low, high) == (output.zero_point, 127):
    return graph.node('Relu', [value], name)
  reals = [(limit - output.zero_point) * output.scale for limit in limits]
  limits = [graph.constant(real, np.float32) for real in reals]
  return graph.node('Clip', [value, *limits], name)


def _weights(graph, operator, source: Tensor, order, axis: int) -> list[str]:
  """Names of the float32 weights and bias, integers behind a scale."""
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
    graph.node('DequantizeLinear', weights, f'{name}weights', axis=axis),
    graph.node('DequantizeLinear', bias, f'{name}bias', axis=0),
  ]


def _conv2d(graph, operator: ops.Conv2D, inputs, name):
  (source,) = inputs
  return graph.node(
    'Conv',
    [_real(source), *_weights(graph, operator, source, (3, 2, 0, 1), 0)],
    name,
    group=operator.weights.shape[-1] if operator.depthwise else 1,
    **window_attributes(operator),
  )


def _dense(graph, operator: ops.Dense, inputs, name):
  (source,) = inputs
  constants = _weights(graph, operator, source, (0, 1), 1)
  return graph.node('Gemm', [_real(source), *constants], name)


def _mul(graph, operator: ops.Mul, inputs, name):
  factors = [_real(tensor) for tensor in inputs]
  if len(inputs[1].shape) < len(inputs[0].shape):
    axes = graph.constant([2, 3], np.int64, f'{operator.name}:axes')
    gate = f'{operator.name}:gate'
    factors[1] = graph.node('Unsqueeze', [factors[1], axes], gate)
  return graph.node('Mul', factors, name)


def _prelu(graph, operator: ops.PReLU, inputs, name):
  (source,) = inputs
  alpha = operator.alpha.reshape(-1, *(1,) * (len(source.shape) - 1))
  alpha_name = f'{operator.name}:alpha'
  constants = [
    graph.constant(alpha, np.int8, f'{alpha_name}_quantized'),
    graph.constant(operator.alpha_scale, np.float32),
  ]
  slope = graph.node('DequantizeLinear', constants, alpha_name)
  return graph.node('PRelu', [_real(source), slope], name)


def _average_pool(graph, operator: ops.AveragePool, inputs, name):
  return graph.node(
    'AveragePool',
    [_real(inputs[0])],
    name,
    kernel_shape=list(operator.window),
    count_include_pad=0,
    **window_attributes(operator),
  )


def _max_pool(graph, operator: ops.MaxPool, inputs, name):
  return graph.node(
    'MaxPool',
    [_real(inputs[0])],
    name,
    kernel_shape=list(operator.window),
    **window_attributes(operator),
  )


def _square_root(graph, operator: ops.SquareRoot, inputs, name):
  (source,) = inputs
  value = _real(source)
  if source.zero_point > source.qmin:
    value = graph.node('Relu', [value], f'{operator.name}:not_negative')
  return graph.node('Sqrt', [value], name)


def _simple(kind: str, **attributes):
  """A writer of what is one float operator without constants."""

  def write(graph, operator, inputs, name):
    values = [_real(tensor) for tensor in inputs]
    return graph.node(kind, values, name, **attributes)

  return write


def _unchanged(graph, operator, inputs, name):
  """What the quantizer does alone."""
  return _real(inputs[0])


def _reshape(graph, operator: ops.Reshape, inputs, name):
  value = _real(inputs[0])
  if len(inputs[0].shape) == 3:
    nhwc = f'{operator.name}:nhwc_input'
    value = graph.node('Transpose', [value], nhwc, perm=NHWC)
  return graph.node('Flatten', [value], name, axis=1)


_WRITERS = {
  ops.Conv2D: _conv2d,
  ops.Dense: _dense,
  ops.Add: _simple('Add'),
  ops.Mul: _mul,
  ops.Concat: _simple('Concat', axis=1),
  ops.Requantize: _unchanged,
  ops.PReLU: _prelu,
  ops.Logistic: _simple('Sigmoid'),
  ops.SquareRoot: _square_root,
  ops.Mean: _simple('GlobalAveragePool'),
  ops.MaxPool: _max_pool,
  ops.AveragePool: _average_pool,
  ops.Clamp: _unchanged,
  ops.Reshape: _reshape,
  ops.L2Normalize: _simple('LpNormalization', axis=1, p=2),
}
