"""Integer programs as QDQ graphs: the form that accelerators compile.

Every activation is a QuantizeLinear and a DequantizeLinear, weights and biases
are integers behind a DequantizeLinear, and the operators between are float32.
A compiler may fuse each group into an integer kernel of its own.

So the numbers are the program's, the rounding is the runtime's: QuantizeLinear
divides in float32 and rounds halves to even, sums may be rounded to float32,
and a fused kernel may do anything near it. Outputs differ here and there by a
step; for the same bits there is the integer graph.
"""

import dataclasses

import numpy as np
import onnx

from faceqat.export.onnx_graph import (
  NCHW,
  NHWC,
  GraphInput,
  ProgramGraph,
  read_pixels,
)
from faceqat.export.onnx_operators import WRITERS
from faceqat.integer import operators as ops
from faceqat.integer.program import IntegerProgram
from faceqat.integer.tensors import Tensor

ROUNDING = (
  'float32, rounded half to even by QuantizeLinear; the runtime may fuse and '
  'round in its own way, so outputs may differ by steps from the program'
)


@dataclasses.dataclass(frozen=True)
class QdqForm:
  """What a runtime wants of a QDQ graph. All zero points are written out.

  Attributes:
    activations: 'uint8', as q + 128, or 'int8'.
    pixels: 'uint8' for images [B, H, W, 3]; 'float32' for [B, 3, H, W] of
      (pixel - 128) / 128.
    embedding: 'int8', or 'float32' for real numbers.
    bias: 'int32' behind a DequantizeLinear, or 'float32'.
    flatten: what a mean over the image is flattened as. 'integers' keeps it and
      its quantizer neighbours, for runtimes that join these; or 'float32'.
    opset: 18 or 21.
    batch: images at a time; a name leaves it open.
  """

  activations: str = 'uint8'
  pixels: str = 'uint8'
  embedding: str = 'int8'
  bias: str = 'int32'
  flatten: str = 'integers'
  opset: int = 18
  batch: int | str = 'batch'


# For ONNX Runtime and OpenVINO. With opset 21, ONNX Runtime 1.32 refuses uint8
# that it moves through a Transpose: it forgets what QuantizeLinear is to give.
DEFAULT = QdqForm()


def to_model(
  program: IntegerProgram, form: QdqForm = DEFAULT, *, taps: bool = False
) -> onnx.ModelProto:
  """Writes a program as an ONNX graph in QDQ form.

  Args:
    program: of any contract; the graph keeps none.
    form: of the graph.
    taps: make every activation an int8 output under its name in the program,
      not the embedding alone; the input is then called '<image>:uint8'.

  Returns:
    A checked model from images to the embedding [B, D]. Its
    `metadata_props` are its rounding, input and the program's own.
  """
  return QdqGraph(form).program_model(program, taps)


class QdqGraph(ProgramGraph):
  """Values between operators are float32, each behind a DequantizeLinear."""

  METADATA = {'contract': 'none', 'rounding': ROUNDING}  # noqa: RUF012

  def __init__(self, form: QdqForm = DEFAULT):
    super().__init__()
    self.form = form
    self.opset, self.batch = form.opset, form.batch

  def value(self, tensor):
    return f'{tensor.name}:real'

  def read_image(self, image, taps):
    if self.form.pixels == 'float32':
      name = f'{image.name}:float32' if taps else image.name
      self._quantize(name, image, _quantized(image))
      self._dequantize(_quantized(image), image, self.form.activations)
      height, width, channels = image.shape
      return GraphInput(
        name,
        (channels, height, width),
        'float32',
        'float32 (pixel - 128) / 128 [B, 3, H, W]',
      )
    pixels, read = read_pixels(self, image, taps)
    # A pixel is q + 128 already.
    self._dequantize(pixels, image, 'uint8')
    if taps:
      self._quantize(self.value(image), image, _quantized(image))
    return read

  def read_int8(self, tensor: Tensor):
    value = tensor.name
    if len(tensor.shape) == 3:
      name = f'{tensor.name}:transposed'
      value = self.node('Transpose', [value], name, perm=NCHW)
    self._shift(value, 128, self.form.activations, _quantized(tensor))
    self._dequantize(_quantized(tensor), tensor, self.form.activations)

  def write(self, operator, inputs, output):
    """Appends an operator, what quantizes its output and what reads it."""
    writer = WRITERS[type(operator)].real
    value = writer(self, operator, inputs, output, f'{operator.name}:exact')
    value = self._cut(value, operator.limits_of(output), output)
    pooled = isinstance(operator, ops.Mean)
    if pooled and self.form.flatten == 'float32':
      value = self.node('Flatten', [value], f'{operator.name}:flat', axis=1)
      pooled = False
    name = f'{operator.name}:pooled' if pooled else _quantized(output)
    self._quantize(value, output, name)
    if pooled:
      self.node('Flatten', [name], _quantized(output), axis=1)
    self._dequantize(_quantized(output), output, self.form.activations)

  def write_int8(self, tensor: Tensor):
    value = _quantized(tensor)
    if len(tensor.shape) == 3:
      name = f'{tensor.name}:nhwc'
      value = self.node('Transpose', [value], name, perm=NHWC)
    self._shift(value, -128, 'int8', tensor.name)

  def write_embedding(self, tensor):
    if self.form.embedding == 'int8':
      return super().write_embedding(tensor)
    self.node('Identity', [self.value(tensor)], tensor.name)
    return 'float32'

  def _shift(self, value: str, offset: int, dtype: str, name: str):
    """Appends integers of `dtype` of the form's, or for the form's of int8."""
    if self.form.activations == 'uint8':
      value = self.cast(value, np.int32, f'{name}:wide')
      offset = self.constant(offset, np.int32)
      value = self.node('Add', [value, offset], f'{name}:shifted')
    self.cast(value, dtype, name)

  def constant_reals(self, values, scale, name: str, axis: int | None = None):
    """Appends float32 of integer constants that have zero point 0.

    Args:
      values: int8 or int32.
      scale: float32, one or one for each index of `axis`.
      name: of the result.
      axis: None: `scale` is one number.
    """
    zeros = np.zeros(np.shape(scale), values.dtype)
    inputs = [
      self.constant(values, values.dtype, f'{name}_quantized'),
      self.constant(scale, np.float32, f'{name}_scale'),
      self.constant(zeros, values.dtype, f'{name}_zero'),
    ]
    attributes = {} if axis is None else {'axis': axis}
    return self.node('DequantizeLinear', inputs, name, **attributes)

  def _parameters(self, tensor: Tensor, dtype: str) -> list[str]:
    """Names of a tensor's scale and zero point."""
    zero_point = tensor.zero_point + (128 if dtype == 'uint8' else 0)
    return [
      self.constant(tensor.scale, np.float32),
      self.constant(zero_point, dtype),
    ]

  def _quantize(self, value: str, tensor: Tensor, name: str):
    parameters = self._parameters(tensor, self.form.activations)
    self.node('QuantizeLinear', [value, *parameters], name)

  def _dequantize(self, value: str, tensor: Tensor, dtype: str):
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
  """Name of the integers, channels first."""
  return f'{tensor.name}:quantized'
