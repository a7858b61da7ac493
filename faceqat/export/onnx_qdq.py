"""Integer programs as QDQ graphs: the form that accelerators compile.

Every activation is a QuantizeLinear and a DequantizeLinear, weights and biases
are integers behind a DequantizeLinear, and the operators between are float32.
A compiler may fuse each group into an integer kernel of its own.

So the numbers are the program's, the rounding is the runtime's: QuantizeLinear
divides in float32 and rounds halves to even, sums may be rounded to float32,
and a fused kernel may do anything near it. Outputs differ here and there by a
step; for the same bits there is the integer graph.
"""

import numpy as np
import onnx

from faceqat.export.onnx_graph import NCHW, NHWC, ProgramGraph
from faceqat.export.onnx_operators import WRITERS
from faceqat.integer import operators as ops
from faceqat.integer.program import IntegerProgram
from faceqat.integer.tensors import Tensor

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
    [B, D]; opset 18. Its `metadata_props` are its rounding, input and the
    program's own.
  """
  return QdqGraph().program_model(program, taps)


class QdqGraph(ProgramGraph):
  """Values between operators are float32, each behind a DequantizeLinear."""

  # The base class declares it a ClassVar, which ruff does not see.
  METADATA = {'contract': 'none', 'rounding': ROUNDING}  # noqa: RUF012

  def value(self, tensor):
    return f'{tensor.name}:real'

  def read_pixels(self, pixels, image, taps):
    if taps:
      # `pixel - 128`, which is an output of the tapped graph alone.
      wide = self.cast(pixels, np.int32, f'{image.name}:wide')
      offset = self.constant(128, np.int32)
      signed = self.node('Sub', [wide, offset], f'{image.name}:signed')
      self.cast(signed, np.int8, _quantized(image))
    # A pixel is q + 128 already.
    self._dequantize(pixels, image, np.uint8)

  def read_int8(self, tensor: Tensor):
    value = tensor.name
    if len(tensor.shape) == 3:
      value = self.node('Transpose', [value], _quantized(tensor), perm=NCHW)
    self._dequantize(value, tensor, np.int8)

  def write(self, operator, inputs, output):
    """Appends an operator, what quantizes its output and what reads it."""
    writer = WRITERS[type(operator)].real
    value = writer(self, operator, inputs, output, f'{operator.name}:exact')
    value = self._cut(value, operator.limits_of(output), output)
    # Flattened behind the quantizer: pooling and quantizer stay neighbours.
    pooled = isinstance(operator, ops.Mean)
    name = f'{operator.name}:pooled' if pooled else _quantized(output)
    parameters = self._parameters(output, np.int8)
    self.node('QuantizeLinear', [value, *parameters], name)
    if pooled:
      self.node('Flatten', [name], _quantized(output), axis=1)
    self._dequantize(_quantized(output), output, np.int8)

  def write_int8(self, tensor: Tensor):
    if len(tensor.shape) == 3:
      self.node('Transpose', [_quantized(tensor)], tensor.name, perm=NHWC)
    else:
      self.node('Identity', [_quantized(tensor)], tensor.name)

  def _parameters(self, tensor: Tensor, dtype) -> list[str]:
    """Names of a tensor's scale and zero point."""
    zero_point = tensor.zero_point + (128 if dtype == np.uint8 else 0)
    return [
      self.constant(tensor.scale, np.float32),
      self.constant(zero_point, dtype),
    ]

  def _dequantize(self, value: str, tensor: Tensor, dtype):
    parameters = self._parameters(tensor, dtype)
    self.node('DequantizeLinear', [value, *parameters], self.value(tensor))

  def _cut(self, value: str, limits, output: Tensor) -> str:
    """Appends the cut that quantizing to int8 does not do by itself."""
    if limits == (-128, 127):
      return value
    name = f'{output.name}:activation'
    if limits == (output.zero_point, 127):
      return self.node('Relu', [value], name)
    reals = [(limit - output.zero_point) * output.scale for limit in limits]
    limits = [self.constant(real, np.float32) for real in reals]
    return self.node('Clip', [value, *limits], name)


def _quantized(tensor: Tensor) -> str:
  """Name of the int8 value, channels first."""
  return f'{tensor.name}:quantized'
