"""Integer programs as ONNX graphs of integers: the evaluator's bits.

ConvInteger and MatMulInteger give int32 sums; the rescaling of the contract
`tflite_ref` is written out in 64-bit integers (see `onnx_fixed_point`). No
float occurs, so a runtime has nothing to choose.

Activations are uint8 inside, `q + 128`, and so are weights: products of two
unsigned bytes are exact in ONNX Runtime on any processor, while its
unsigned-by-signed kernels saturate on x86 without VNNI. (C, H, W) is the
order inside, NHWC outside.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from faceqat.export.onnx_graph import NCHW, NHWC, OnnxGraph, metadata_of
from faceqat.export.onnx_integer_operators import inside, write
from faceqat.integer.operators import Operator
from faceqat.integer.program import IntegerProgram, check_accumulators
from faceqat.integer.tensors import Tensor

__all__ = ['operators_to_model', 'to_model']


def to_model(program: IntegerProgram, *, taps: bool = False) -> onnx.ModelProto:
  """Writes a program as an ONNX graph of integer operators.

  Args:
    program: under the contract 'tflite_ref'.
    taps: make every activation an output under its name in the program, not
      the embedding alone; the input is then called '<image>:uint8'.

  Returns:
    A checked model from uint8 images [B, H, W, 3] to the int8 embedding
    [B, D]; opset 17, or 21 where weights of up to 4 bits are stored as such.
    Its `metadata_props` are contract, input and the program's own.

  Raises:
    ValueError: another contract, or an int32 that could overflow.
  """
  if program.contract != 'tflite_ref':
    raise ValueError(
      f"The program's contract is {program.contract!r}, which rescales in "
      "float32; the integer graph keeps 'tflite_ref' alone. Use "
      "dataclasses.replace(program, contract='tflite_ref'), or write .tflite."
    )
  check_accumulators(program)
  graph = OnnxGraph()
  image = program.tensors[program.input]
  pixels = f'{image.name}:uint8' if taps else image.name
  # A pixel is q + 128 already.
  graph.node('Transpose', [pixels], inside(image), perm=NCHW)
  for operator in program.operators:
    write(graph, operator, program.tensors)
  outputs = program.tensors if taps else [program.output]
  for name in outputs:
    _write_output(graph, program.tensors[name])
  return graph.finish(
    {pixels: (image.shape, 'uint8')},
    {name: program.tensors[name].shape for name in outputs},
    {**metadata_of(program), 'contract': program.contract},
  )


def operators_to_model(
  tensors: Mapping[str, Tensor],
  operators: Sequence[Operator],
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
    _write_input(graph, tensors[name])
  for operator in operators:
    write(graph, operator, tensors)
  for name in outputs:
    _write_output(graph, tensors[name])
  return graph.finish(
    {name: (tensors[name].shape, 'int8') for name in inputs},
    {name: tensors[name].shape for name in outputs},
    {'contract': 'tflite_ref'},
  )


def _write_input(graph, tensor: Tensor):
  value, name = tensor.name, f'{tensor.name}:'
  if len(tensor.shape) == 3:
    value = graph.node('Transpose', [value], f'{name}transposed', perm=NCHW)
  value = graph.cast(value, np.int32, f'{name}signed')
  offset = graph.constant(128, np.int32)
  value = graph.node('Add', [value, offset], f'{name}byte')
  graph.cast(value, np.uint8, inside(tensor))


def _write_output(graph, tensor: Tensor):
  value, name = inside(tensor), f'{tensor.name}:'
  if len(tensor.shape) == 3:
    value = graph.node('Transpose', [value], f'{name}nhwc', perm=NHWC)
  value = graph.cast(value, np.int32, f'{name}wide_output')
  offset = graph.constant(128, np.int32)
  value = graph.node('Sub', [value, offset], f'{name}signed_output')
  graph.cast(value, np.int8, tensor.name)
