"""An ONNX graph under construction: nodes, constants, inputs and outputs.

`OnnxGraph` knows the file format alone. `ProgramGraph` has what the two forms
of a program have in common: its inputs, operators and outputs, in this order.
"""

import abc
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from faceqat.export import digests
from faceqat.export.byte_counts import Constant
from faceqat.integer import packing
from faceqat.integer.operators import Operator
from faceqat.integer.program import IntegerProgram
from faceqat.integer.tensors import Tensor

try:
  import onnx
  from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
  raise ImportError(
    "Writing .onnx files needs the package 'onnx': pip install onnx"
  ) from error

# The file format's version for each of the operators. 18 (2022) is old enough
# for every runtime in use and has what integers need, BitwiseAnd last; 4-bit
# integers came with 21 (2024), those of 2 bits with 25 (2025).
_IR_VERSIONS = {18: 8, 21: 10, 25: 13}
# Types of few bits, and the first version that has them.
_PACKED = {2: (TensorProto.UINT2, 25), 4: (TensorProto.UINT4, 21)}

NCHW = (0, 3, 1, 2)
NHWC = (0, 2, 3, 1)


def channel_shape(values: np.ndarray, tensor: Tensor) -> np.ndarray:
  """Values [C] shaped to broadcast against `tensor` as [B, C] or [B, C, H, W].

  Equal values become one.
  """
  values = np.atleast_1d(values)
  if (values == values[0]).all():
    return values[0]
  return values.reshape(-1, *(1,) * (len(tensor.shape) - 1))


def to_bytes(model: onnx.ModelProto) -> bytes:
  """The content of a model's file, with its digest in the metadata."""
  metadata = {entry.key: entry.value for entry in model.metadata_props}
  sealed = onnx.ModelProto()
  sealed.CopyFrom(model)
  helper.set_model_props(sealed, {**digests.BLANK, **metadata})
  return digests.close(sealed.SerializeToString())


def read_constants(content: bytes) -> list[Constant]:
  """The constants of the graph in a file that this package wrote."""
  graph = onnx.load_from_string(content).graph
  return [
    Constant(
      constant.name,
      # 'UINT4' has 4; 'FLOAT' has none, and is of 32.
      int(re.sub(r'\D', '', kind) or 32),
      len(constant.raw_data),
    )
    for constant in graph.initializer
    for kind in [TensorProto.DataType.Name(constant.data_type)]
  ]


class OnnxGraph:
  """Collects one graph.

  A name that is not a tensor's of the program has a colon.

  Attributes:
    opset: the version of the operators.
    batch: the first dimension; a name leaves it open.
  """

  def __init__(self):
    self._nodes = []
    self._constants = {}
    self.opset = 18
    self.batch: int | str = 'batch'

  def node(self, kind: str, inputs: Sequence[str], name: str, **attributes):
    """Appends a node; returns the name of its one output, which is its own."""
    return self.nodes(kind, inputs, [name], **attributes)[0]

  def nodes(
    self, kind: str, inputs: Sequence[str], names: list[str], **attributes
  ) -> list[str]:
    """Appends a node of several outputs, named after the first."""
    self._nodes.append(
      helper.make_node(kind, list(inputs), names, name=names[0], **attributes)
    )
    return names

  def cast(self, value: str, dtype, name: str) -> str:
    """Appends a Cast."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return self.node('Cast', [value], name, to=kind)

  def constant(self, values, dtype, name: str | None = None) -> str:
    """Adds a constant; one without a name must be a single number."""
    values = np.asarray(values, dtype)
    if name is None or values.ndim == 0:
      name = f'{values.dtype}:{values.item()}'
    self._constants[name] = numpy_helper.from_array(values, name)
    return name

  def packed_constant(self, values: np.ndarray, bits: int, name: str) -> str:
    """Adds integers in [0, 2^bits), of 2 or 4 bits."""
    kind, opset = _PACKED[bits]
    packed = packing.pack(values, bits).tobytes()
    self._constants[name] = helper.make_tensor(
      name, kind, values.shape, packed, raw=True
    )
    self.opset = max(self.opset, opset)
    return name

  def model(
    self,
    inputs: Mapping[str, tuple[Sequence[int], str]],
    outputs: Mapping[str, tuple[Sequence[int], str]],
    metadata: Mapping[str, str],
  ) -> onnx.ModelProto:
    """The checked model.

    Args:
      inputs, outputs: shape without the batch and dtype, by name.
      metadata: the file's `metadata_props`.
    """

    def describe(name, shape, dtype):
      kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
      return helper.make_tensor_value_info(name, kind, [self.batch, *shape])

    model = helper.make_model(
      helper.make_graph(
        self._nodes,
        'faceqat',
        [describe(name, *kind) for name, kind in inputs.items()],
        [describe(name, *kind) for name, kind in outputs.items()],
        list(self._constants.values()),
      ),
      opset_imports=[helper.make_opsetid('', self.opset)],
      ir_version=_IR_VERSIONS[self.opset],
      producer_name='faceqat',
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


class ProgramGraph(OnnxGraph, abc.ABC):
  """A graph that computes a program; images are (C, H, W) inside.

  Attributes:
    METADATA: what the file says of its form.
  """

  METADATA: ClassVar[Mapping[str, str]]

  @abc.abstractmethod
  def value(self, tensor: Tensor) -> str:
    """The name of what stands for a tensor between operators."""

  @abc.abstractmethod
  def read_image(self, image: Tensor, taps: bool) -> 'GraphInput':
    """Appends what makes the image's `value` of the graph's input."""

  @abc.abstractmethod
  def read_int8(self, tensor: Tensor):
    """Appends what makes a tensor's `value` of an int8 input of its name."""

  @abc.abstractmethod
  def write(self, operator: Operator, inputs: list[Tensor], output: Tensor):
    """Appends what makes the output's `value` of those of the inputs."""

  @abc.abstractmethod
  def write_int8(self, tensor: Tensor):
    """Appends what makes an int8 output of a tensor's `value`."""

  def write_embedding(self, tensor: Tensor) -> str:
    """Appends what makes the output of a program; returns its dtype."""
    self.write_int8(tensor)
    return 'int8'

  def program_model(
    self, program: IntegerProgram, taps: bool
  ) -> onnx.ModelProto:
    """The model of a program; `to_model` of either form says what it takes."""
    read = self.read_image(program.tensors[program.input], taps)
    metadata = {
      **digests.of_program(program),
      **program.metadata,
      'input': read.description,
    }
    self._write_all(program.tensors, program.operators)
    if taps:
      outputs = self._int8_outputs(program.tensors, program.tensors)
    else:
      embedding = program.tensors[program.output]
      dtype = self.write_embedding(embedding)
      outputs = {embedding.name: (embedding.shape, dtype)}
    inputs = {read.name: (read.shape, read.dtype)}
    return self.model(inputs, outputs, {**metadata, **self.METADATA})

  def operators_model(
    self,
    tensors: Mapping[str, Tensor],
    operators: Sequence[Operator],
    inputs: Sequence[str],
    outputs: Sequence[str],
  ) -> onnx.ModelProto:
    """The model of some operators, with int8 inputs and outputs [B, *shape].

    Args:
      tensors: every activation by name.
      operators: in the order they run.
      inputs, outputs: names of the graph's own, in its order.
    """
    for name in inputs:
      self.read_int8(tensors[name])
    self._write_all(tensors, operators)
    return self.model(
      {name: (tensors[name].shape, 'int8') for name in inputs},
      self._int8_outputs(tensors, outputs),
      self.METADATA,
    )

  def _write_all(self, tensors, operators):
    for operator in operators:
      read = [tensors[name] for name in operator.inputs]
      self.write(operator, read, tensors[operator.output])

  def _int8_outputs(self, tensors, names):
    for name in names:
      self.write_int8(tensors[name])
    return {name: (tensors[name].shape, 'int8') for name in names}


class GraphInput(NamedTuple):
  """The images that a graph takes.

  Attributes:
    name: of the input.
    shape, dtype: of an image.
    description: of all, for the metadata.
  """

  name: str
  shape: tuple[int, ...]
  dtype: str
  description: str


def read_pixels(graph: OnnxGraph, image: Tensor, taps: bool):
  """Appends uint8 [B, 3, H, W] of uint8 images; its name, and the input."""
  # The name of the image is that of the tap.
  name = f'{image.name}:uint8' if taps else image.name
  pixels = graph.node('Transpose', [name], f'{image.name}:pixels', perm=NCHW)
  description = 'uint8 pixels [B, H, W, 3]'
  return pixels, GraphInput(name, image.shape, 'uint8', description)


def window_attributes(operator: Operator) -> dict[str, list[int]]:
  """Strides and padding as ONNX's windowed operators take them."""
  (top, bottom), (left, right) = operator.padding
  return {
    'strides': list(operator.strides),
    'pads': [top, left, bottom, right],
  }
