"""Integer programs as TFLite files: the same operators, the same integers.

Under `tflite_ref` the file gives the evaluator's bits in LiteRT's reference
kernels, under `xnnpack` in LiteRT as it runs by default. Vectors (C,) are
images [B, 1, 1, C] there, for then a dense layer is a 1x1 convolution, which
is integer arithmetic where FULLY_CONNECTED is not; only the embedding is
written as [B, D].
"""

from collections.abc import Mapping, Sequence

from faceqat.export import (
  digests,
  tflite_builder,
  tflite_metadata,
  tflite_operators,
)
from faceqat.export.tflite_builder import ModelBuilder
from faceqat.integer.operators import Operator
from faceqat.integer.program import IntegerProgram, check_accumulators
from faceqat.integer.tensors import Tensor

_INPUTS = {
  'uint8': 'uint8 pixels',
  'int8': 'int8: pixel - 128, at scale 1/128',
}
OUTPUTS = ('int8', 'uint8', 'float32')


class Graph:
  """A model under construction and the tensors of the program in it.

  Attributes:
    builder: the file.
    indices: TFLite tensors of the program's, by name.
    contract: whose rules the file is run by.
    pack_int4: store weights of up to 4 bits two in a byte.
  """

  def __init__(
    self, contract: str, pack_int4: bool | None, batch: int | None = None
  ):
    self.builder = ModelBuilder(batch)
    self.indices = {}
    self.contract = contract
    self.pack_int4 = (
      contract == 'tflite_ref' if pack_int4 is None else pack_int4
    )

  def add(self, tensor: Tensor, name: str | None = None) -> int:
    """Adds a tensor of the program, under `name` or its own."""
    index = self.activation(tensor, name or tensor.name)
    self.indices[tensor.name] = index
    return index

  def activation(self, tensor: Tensor, name: str, shape=None) -> int:
    """Adds an int8 tensor that is quantized as `tensor`."""
    shape = image_shape(tensor) if shape is None else shape
    return self.builder.activation(
      name, shape, 'int8', tensor.scale, tensor.zero_point
    )

  def integers(self, tensor: Tensor, name: str) -> int:
    """Adds an int32 tensor in the shape of `tensor`."""
    return self.builder.activation(name, image_shape(tensor), 'int32')

  def write(self, operator: Operator, tensors: Mapping[str, Tensor]):
    """Appends an operator; its output tensor is there already."""
    writer = tflite_operators.WRITERS[type(operator)]
    inputs = [tensors[name] for name in operator.inputs]
    writer(self, operator, inputs, tensors[operator.output])


def image_shape(tensor: Tensor) -> tuple[int, int, int]:
  """(H, W, C); (1, 1, C) of a vector."""
  return tensor.shape if len(tensor.shape) == 3 else (1, 1, *tensor.shape)


def operators_to_bytes(
  tensors: Mapping[str, Tensor],
  operators: Sequence[Operator],
  inputs: Sequence[str],
  outputs: Sequence[str],
  *,
  contract: str = 'tflite_ref',
  pack_int4: bool | None = None,
) -> bytes:
  """Writes operators as a TFLite graph with int8 inputs and outputs.

  Args:
    tensors: every activation by name.
    operators: in the order they run.
    inputs, outputs: names of the graph's own, in its order. The batch is
      open; a vector (C,) is [B, 1, 1, C].
    contract: 'tflite_ref' or 'xnnpack'.
    pack_int4: store weights of up to 4 bits two in a byte; None does so where
      the contract's kernels take them. The results are the same.

  Returns:
    The file's content.

  Raises:
    ValueError: packed int4 weights under 'xnnpack', or names that clash.
  """
  graph = Graph(contract, pack_int4)
  for name in inputs:
    graph.add(tensors[name])
  for operator in operators:
    graph.add(tensors[operator.output])
    graph.write(operator, tensors)
  return graph.builder.finish(
    {name: graph.indices[name] for name in inputs},
    {name: graph.indices[name] for name in outputs},
    {
      'contract': contract,
      'shapes': {name: tensors[name].shape for name in outputs},
    },
  )


def to_bytes(
  program: IntegerProgram,
  *,
  input_type: str = 'uint8',
  output_type: str = 'int8',
  batch: int | None = None,
  taps: bool = False,
  pack_int4: bool | None = None,
) -> bytes:
  """Writes a program as a TFLite file.

  Args:
    program: its contract says which kernels the file is for.
    input_type: 'uint8' images [B, H, W, 3] of pixels, or 'int8' ones of
      pixel - 128.
    output_type: of the embedding: 'int8', as in the program; 'uint8', q + 128
      with a zero point so much higher; or 'float32', its real numbers.
    batch: how many images a call takes; None leaves it open.
    taps: make every activation an int8 output under its name in the program,
      not the embedding alone.
    pack_int4: see `operators_to_bytes`.

  Returns:
    The file's content. Its one output is the embedding [B, D]; the signature
    'serving_default' calls it 'embedding' and the input 'image'. The metadata
    entry 'faceqat' is JSON: contract, input, the outputs' shapes, the program's
    own, and the digests of `digests`; beside it is TFLite's standard one.

  Raises:
    ValueError: an unknown type or batch, an operator that the runtime cannot
      compute exactly, or one whose integers could overflow.
  """
  _check_ends(input_type, output_type, batch)
  check_accumulators(program)
  if program.contract == 'xnnpack':
    # Its kernels, and so JAX, are of no use to the other contract.
    from faceqat.integer import xnnpack

    xnnpack.check_program(program)
  graph = Graph(program.contract, pack_int4, batch)
  pixels = _write_image(graph, program.tensors[program.input], input_type)
  _write_operators(graph, program)
  if taps:
    outputs = {name: graph.indices[name] for name in program.tensors}
  else:
    embedding = _write_output(
      graph, program.tensors[program.output], output_type
    )
    outputs = {'embedding': embedding}
  shown = program.tensors if taps else [program.output]
  metadata = {
    **digests.of_program(program),
    **program.metadata,
    'input': _INPUTS[input_type],
    'contract': program.contract,
    'shapes': {name: program.tensors[name].shape for name in shown},
  }
  standard = None if taps else tflite_metadata.to_bytes('image', 'embedding')
  return graph.builder.finish({'image': pixels}, outputs, metadata, standard)


def _check_ends(input_type: str, output_type: str, batch: int | None):
  choices = (
    ('input_type', input_type, _INPUTS),
    ('output_type', output_type, OUTPUTS),
  )
  for name, value, known in choices:
    if value not in known:
      raise ValueError(
        f'{name} is {value!r}; it must be one of {sorted(known)}'
      )
  if batch is not None and batch < 1:
    raise ValueError(
      f'batch is {batch}; it must be at least 1, or None to leave it open'
    )


def _write_operators(graph: Graph, program: IntegerProgram):
  """Adds all operators, and what makes a vector of the last one's image."""
  embedding = program.tensors[program.output]
  # Only the last tensor is a vector for the reader of the file too.
  flattened = len(embedding.shape) == 1
  for operator in program.operators:
    last = flattened and operator.output == program.output
    name = f'{operator.output}:image' if last else None
    graph.add(program.tensors[operator.output], name)
    graph.write(operator, program.tensors)
  if flattened:
    source = graph.indices[embedding.name]
    result = graph.activation(embedding, embedding.name, embedding.shape)
    # Named apart: the operator that makes it may be a reshape of its own.
    name = f'{embedding.name}:vector_shape'
    tflite_operators.write_reshape(graph, source, result, embedding.shape, name)
    graph.indices[embedding.name] = result


def _write_image(graph: Graph, image: Tensor, input_type: str) -> int:
  """Adds the image and what makes it of the file's input; that one's index."""
  result = graph.add(image)
  if input_type == 'int8':
    return result
  pixels = graph.builder.activation(
    f'{image.name}:{input_type}',
    image.shape,
    input_type,
    image.scale,
    image.zero_point + 128,
  )
  graph.builder.operator(
    'QUANTIZE',
    1,
    [pixels],
    result,
    tflite_builder.schema.QuantizeOptionsT(),
  )
  return pixels


def _write_output(graph: Graph, embedding: Tensor, output_type: str) -> int:
  """Adds what makes the file's output of the embedding; its index."""
  source = graph.indices[embedding.name]
  if output_type == 'int8':
    return source
  scale, zero_point = embedding.scale, embedding.zero_point + 128
  code, options = 'QUANTIZE', tflite_builder.schema.QuantizeOptionsT()
  if output_type == 'float32':
    scale, zero_point = None, 0
    code, options = 'DEQUANTIZE', tflite_builder.schema.DequantizeOptionsT()
  result = graph.builder.activation(
    f'{embedding.name}:{output_type}',
    embedding.shape,
    output_type,
    scale,
    zero_point,
  )
  # The second version is the first of DEQUANTIZE with int8.
  version = {'QUANTIZE': 1, 'DEQUANTIZE': 2}[code]
  graph.builder.operator(code, version, [source], result, options)
  return result
