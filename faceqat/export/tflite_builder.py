"""A TFLite flatbuffer under construction: tensors, buffers, operators.

It knows the file format and nothing of programs.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

try:
  import flatbuffers
  from ai_edge_litert import schema_py_generated as schema
except ImportError as error:
  raise ImportError(
    "Writing .tflite files needs the packages 'ai-edge-litert' (its schema) "
    "and 'flatbuffers': pip install ai-edge-litert flatbuffers"
  ) from error

from faceqat.export import digests, tflite_metadata
from faceqat.export.byte_counts import Constant
from faceqat.files import strict_json
from faceqat.integer import packing

# A file's metadata entry that holds what a reader of a face network asks.
_METADATA = 'faceqat'

_FILE_IDENTIFIER = b'TFL3'
_SCHEMA_VERSION = 3
# Kernels map constants in place and read them with vector instructions.
_ALIGNMENT = 16

_TYPES = {
  'int4': schema.TensorType.INT4,
  'int8': schema.TensorType.INT8,
  'int32': schema.TensorType.INT32,
  'uint8': schema.TensorType.UINT8,
  'float32': schema.TensorType.FLOAT32,
}


class _Buffer(schema.BufferT):
  """Bytes that are stored aligned, which the generated class does not do."""

  # It takes the place of the generated method of that name.
  def Pack(self, builder):  # noqa: N802
    data = None
    if self.data is not None:
      builder.StartVector(1, len(self.data), _ALIGNMENT)
      end = builder.head
      builder.head = end - len(self.data)
      builder.Bytes[builder.head : end] = self.data
      data = builder.EndVector()
    schema.BufferStart(builder)
    if data is not None:
      schema.BufferAddData(builder, data)
    return schema.BufferEnd(builder)


class _Builder(flatbuffers.Builder):
  """Stores equal vectors once: most are zero points, all of them zeros."""

  def __init__(self):
    super().__init__(1 << 20)
    self._vectors = {}

  def CreateNumpyVector(self, x):  # noqa: N802
    key = (x.dtype, x.tobytes())
    if key not in self._vectors:
      self._vectors[key] = super().CreateNumpyVector(x)
    return self._vectors[key]


class ModelBuilder:
  """Collects one graph, whose first dimension is the batch.

  Args:
    batch: its size; None leaves it open.
  """

  def __init__(self, batch: int | None = None):
    self._batch = batch
    # The format wants an empty buffer first, for tensors without constants.
    self._buffers = [_Buffer()]
    self._tensors = []
    self._operators = []
    self._codes = {}
    self._names = set()

  def activation(
    self,
    name: str,
    shape: Sequence[int],
    kind: str,
    scale: float | None = None,
    zero_point: int = 0,
  ) -> int:
    """Adds a tensor [B, *shape]; without a scale, of plain integers.

    Returns:
      Its index.
    """
    scales = [] if scale is None else [scale]
    zero_points = [zero_point] * len(scales)
    batch = self._batch or 1
    tensor = self._tensor(name, (batch, *shape), kind, scales, zero_points, 0)
    if self._batch is None:
      tensor.shapeSignature = np.array([-1, *shape], np.int32)
    return len(self._tensors) - 1

  def constant(
    self,
    name: str,
    values: np.ndarray,
    *,
    kind: str | None = None,
    scale=(),
    zero_point: int = 0,
    axis: int = 0,
  ) -> int:
    """Adds a constant tensor; returns its index.

    Args:
      name: of the tensor.
      values: any shape.
      kind: 'int4' to pack int8 values; None stores them as they are.
      scale: one, or one for each index along `axis`; none: not quantized.
      zero_point: the same for all.
      axis: of the scales.
    """
    kind = kind or values.dtype.name
    scale = np.atleast_1d(scale)
    zero_points = [zero_point] * len(scale)
    tensor = self._tensor(name, values.shape, kind, scale, zero_points, axis)
    if kind == 'int4':
      values = packing.pack(values, 4)
    little = values.astype(values.dtype.newbyteorder('<'))
    tensor.buffer = self._buffer(little.tobytes())
    return len(self._tensors) - 1

  def _tensor(self, name, shape, kind, scale, zero_points, axis):
    if name in self._names:
      raise ValueError(
        f'Two tensors of the TFLite graph are named {name!r}; rename the layer'
      )
    self._names.add(name)
    quantization = None
    if len(scale):
      quantization = schema.QuantizationParametersT(
        scale=np.asarray(scale, np.float32),
        zeroPoint=np.asarray(zero_points, np.int64),
        quantizedDimension=axis,
      )
    tensor = schema.TensorT(
      name=name,
      shape=np.array(shape, np.int32),
      type=_TYPES[kind],
      quantization=quantization,
      hasRank=True,
    )
    self._tensors.append(tensor)
    return tensor

  def _buffer(self, content: bytes) -> int:
    self._buffers.append(_Buffer(data=content))
    return len(self._buffers) - 1

  def operator(
    self, code: str, version: int, inputs, output: int, options=None
  ):
    """Appends a built-in operator.

    Args:
      code: its name, 'CONV_2D'.
      version: the first that has the types it is used with.
      inputs: tensor indices.
      output: a tensor index.
      options: a schema object, Conv2DOptionsT for example.
    """
    index = self._codes.setdefault((code, version), len(self._codes))
    operator = schema.OperatorT(
      opcodeIndex=index, inputs=list(inputs), outputs=[output]
    )
    if options is not None:
      kind = type(options).__name__.removesuffix('T')
      operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
      operator.builtinOptions = options
    self._operators.append(operator)

  def finish(
    self,
    inputs: Mapping[str, int],
    outputs: Mapping[str, int],
    metadata: Mapping,
    standard: bytes | None = None,
  ) -> bytes:
    """The file's content.

    Args:
      inputs, outputs: tensor indices by their names in the signature
        'serving_default'.
      metadata: JSON-able; stored under the name 'faceqat', with the file's
        digest.
      standard: the content of the standard entry, of `tflite_metadata`.
    """
    text = json.dumps({**digests.BLANK, **metadata}, allow_nan=False)
    entries = {_METADATA: text.encode()}
    if standard:
      entries[tflite_metadata.NAME] = standard
    signature = schema.SignatureDefT(
      inputs=_tensor_maps(inputs),
      outputs=_tensor_maps(outputs),
      signatureKey='serving_default',
    )
    graph = schema.SubGraphT(
      name='main',
      tensors=self._tensors,
      inputs=list(inputs.values()),
      outputs=list(outputs.values()),
      operators=self._operators,
    )
    model = schema.ModelT(
      version=_SCHEMA_VERSION,
      description='faceqat',
      operatorCodes=[_operator_code(*pair) for pair in self._codes],
      subgraphs=[graph],
      metadata=[
        schema.MetadataT(name=name, buffer=self._buffer(entry))
        for name, entry in entries.items()
      ],
      signatureDefs=[signature],
      buffers=self._buffers,
    )
    builder = _Builder()
    builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
    return digests.close(bytes(builder.Output()))


def _operator_code(code: str, version: int):
  number = getattr(schema.BuiltinOperator, code)
  return schema.OperatorCodeT(
    builtinCode=number,
    # One byte, for readers from before there were more than 127.
    deprecatedBuiltinCode=min(number, 127),
    version=version,
  )


def _tensor_maps(indices: Mapping[str, int]):
  return [
    schema.TensorMapT(name=name, tensorIndex=index)
    for name, index in indices.items()
  ]


def read_metadata(content: bytes) -> dict:
  """The 'faceqat' metadata of a file's content; {} where it has none.

  Raises:
    ValueError: the file is damaged.
  """
  with _reading():
    model = schema.Model.GetRootAs(content)
    for index in range(model.MetadataLength()):
      entry = model.Metadata(index)
      if entry.Name() == _METADATA.encode():
        data = model.Buffers(entry.Buffer()).DataAsNumpy()
        return strict_json.parse(data.tobytes(), dict)
  return {}


def read_constants(content: bytes) -> list[Constant]:
  """The constant tensors of a file's graph, and the scales of all tensors.

  Raises:
    ValueError: the file is damaged.
  """
  names = {number: name for name, number in _TYPES.items()}
  found, scales = [], {}
  with _reading():
    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    for index in range(graph.TensorsLength()):
      tensor = graph.Tensors(index)
      if size := model.Buffers(tensor.Buffer()).DataLength():
        bits = int(re.sub(r'\D', '', names[tensor.Type()]))
        found.append(Constant(tensor.Name().decode(), bits, size))
      if (quantization := tensor.Quantization()) is not None:
        # Equal ones are one vector.
        scale = quantization.ScaleAsNumpy().tobytes()
        scales[scale] = Constant(':weight_scale', 32, len(scale))
  return [*found, *scales.values()]


def read_operators(content: bytes) -> list[str]:
  """The operators of a file's graph, as they run; others by their own names.

  Raises:
    ValueError: the file is damaged.
  """
  names = {
    number: name
    for name, number in vars(schema.BuiltinOperator).items()
    if isinstance(number, int)
  }
  with _reading():
    model = schema.Model.GetRootAs(content)
    codes = []
    for index in range(model.OperatorCodesLength()):
      code = model.OperatorCodes(index)
      custom = code.CustomCode()
      # Files from before there were more than 127 have the other field alone.
      number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
      codes.append(custom.decode() if custom else names[number])
    graph = model.Subgraphs(0)
    return [
      codes[graph.Operators(index).OpcodeIndex()]
      for index in range(graph.OperatorsLength())
    ]


class Ends(NamedTuple):
  """The inputs and outputs of a graph.

  Attributes:
    input_kind: 'uint8' or 'int8'; other types are numbers, as text.
    image_size: height and width of the images.
    output_kind: 'int8', 'uint8' or 'float32'.
    scale, zero_point: of the embeddings; of real ones, those that they were
      made of.
  """

  input_kind: str
  image_size: tuple[int, int]
  output_kind: str
  scale: float
  zero_point: int


def read_ends(content: bytes) -> Ends:
  """The ends of a graph from images to quantized embeddings.

  Raises:
    ValueError: the file is damaged, or has another graph.
  """
  names = {number: name for name, number in _TYPES.items()}
  with _reading():
    graph = schema.Model.GetRootAs(content).Subgraphs(0)
    image = graph.Tensors(graph.Inputs(0))
    output = graph.Tensors(graph.Outputs(0))
    integers = output
    if names.get(output.Type()) == 'float32':
      last = graph.Operators(graph.OperatorsLength() - 1)
      integers = graph.Tensors(last.Inputs(0))
    quantization = integers.Quantization()
    return Ends(
      names.get(image.Type(), str(image.Type())),
      (int(image.Shape(1)), int(image.Shape(2))),
      names.get(output.Type(), str(output.Type())),
      float(quantization.Scale(0)),
      int(quantization.ZeroPoint(0)),
    )


@contextlib.contextmanager
def _reading() -> Iterator[None]:
  """FlatBuffers follows offsets anywhere, and raises what the place gives."""
  try:
    yield
  except Exception as error:
    raise ValueError(
      f'its description is damaged ({type(error).__name__}: {error}); export '
      'the network again'
    ) from error
