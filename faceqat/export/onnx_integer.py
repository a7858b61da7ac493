"""Integer programs as ONNX graphs of integers: the evaluator's bits.

ConvInteger and MatMulInteger give int32 sums; the rescaling of the contract
`tflite_ref` is written out in 32-bit integers (see `onnx_fixed_point`). No
float occurs, so a runtime has nothing to choose.

Activations are uint8 inside, `q + 128`, and so are weights: products of two
unsigned bytes are exact in ONNX Runtime on any processor, while its
unsigned-by-signed kernels saturate on x86 without VNNI.
"""

import numpy as np
import onnx

from faceqat.export.onnx_graph import NCHW, NHWC, ProgramGraph, read_pixels
from faceqat.export.onnx_operators import WRITERS
from faceqat.integer.program import IntegerProgram, check_accumulators
from faceqat.integer.tensors import Tensor


def to_model(
  program: IntegerProgram,
  *,
  taps: bool = False,
  widest_sum: int | None = None,
  least_bits: int = 2,
) -> onnx.ModelProto:
  """Writes a program as an ONNX graph of integer operators.

  Args:
    program: under the contract 'tflite_ref'.
    taps: make every activation an output under its name in the program, not
      the embedding alone; the input is then called '<image>:uint8'.
    widest_sum: the largest integer that the runtime adds exactly; None: int32.
    least_bits: of the integers that the runtime takes as weights: 2, 4 or 8.

  Returns:
    A checked model from uint8 images [B, H, W, 3] to the int8 embedding
    [B, D]; opset 18, or 21 where weights of up to 4 bits are stored as such,
    or 25 with weights of 2 bits.
    Its `metadata_props` are contract, input and the program's own.

  Raises:
    ValueError: another contract, or an int32 that could overflow; a sum that no
      part keeps below `widest_sum`.
  """
  if program.contract != 'tflite_ref':
    raise ValueError(
      f"the program's contract is {program.contract!r}, which rescales in "
      "float32; the integer graph keeps 'tflite_ref' alone. Use "
      "dataclasses.replace(program, contract='tflite_ref'), or write .tflite"
    )
  check_accumulators(program)
  return IntegerGraph(widest_sum, least_bits).program_model(program, taps)


class IntegerGraph(ProgramGraph):
  """Values between operators are uint8 `q + 128`."""

  # The base class declares it a ClassVar, which ruff does not see.
  METADATA = {'contract': 'tflite_ref'}  # noqa: RUF012

  def __init__(self, widest_sum: int | None = None, least_bits: int = 2):
    super().__init__()
    self.widest_sum = widest_sum
    self.least_bits = least_bits

  def value(self, tensor):
    return f'{tensor.name}:nchw'

  def read_image(self, image, taps):
    # A pixel is q + 128 already.
    pixels, read = read_pixels(self, image, taps)
    self.node('Identity', [pixels], self.value(image))
    return read

  def read_int8(self, tensor: Tensor):
    value, name = tensor.name, f'{tensor.name}:'
    if len(tensor.shape) == 3:
      value = self.node('Transpose', [value], f'{name}transposed', perm=NCHW)
    value = self.cast(value, np.int32, f'{name}signed')
    offset = self.constant(128, np.int32)
    value = self.node('Add', [value, offset], f'{name}byte')
    self.cast(value, np.uint8, self.value(tensor))

  def write(self, operator, inputs, output):
    writer = WRITERS[type(operator)].integer
    writer(self, operator, inputs, output, self.value(output))

  def write_int8(self, tensor: Tensor):
    value, name = self.value(tensor), f'{tensor.name}:'
    if len(tensor.shape) == 3:
      value = self.node('Transpose', [value], f'{name}nhwc', perm=NHWC)
    value = self.cast(value, np.int32, f'{name}wide_output')
    offset = self.constant(128, np.int32)
    value = self.node('Sub', [value, offset], f'{name}signed_output')
    self.cast(value, np.int8, tensor.name)
