"""TensorRT, NVIDIA's compiler, by a QDQ graph.

Nothing here can run it. Its rules are those of its ONNX parser, onnx-tensorrt:
docs/operators.md there, and what it says when it refuses a file.
"""

import onnx
from onnx import TensorProto, numpy_helper

from faceqat.export import onnx_graph, onnx_qdq
from faceqat.export.targets.target import Target
from faceqat.integer.operators import SumPReLU
from faceqat.integer.program import IntegerProgram

_FORM = onnx_qdq.QdqForm(
  activations='int8',
  pixels='float32',
  embedding='float32',
  bias='float32',
  flatten='float32',
  opset=21,
)
# Of the operators that it takes, those that there are here, and the types of
# what they read.
_INTEGERS = {'DequantizeLinear', 'Transpose', 'Identity'}
_REALS = {
  *('Add', 'AveragePool', 'Clip', 'Concat', 'Conv', 'Flatten', 'Gemm'),
  *('GlobalAveragePool', 'Identity', 'LpNormalization', 'MaxPool', 'Mul'),
  *('PRelu', 'QuantizeLinear', 'Relu', 'Sigmoid', 'Sqrt', 'Transpose'),
  'Unsqueeze',
}


def check_model(model: onnx.ModelProto):
  """Raises ValueError where a graph breaks a rule of TensorRT's parser."""
  graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
  constants = {c.name: c for c in graph.initializer}
  kinds = {c.name: c.data_type for c in graph.initializer}
  values = (*graph.input, *graph.value_info, *graph.output)
  kinds |= {value.name: value.type.tensor_type.elem_type for value in values}
  for value in graph.input:
    if kinds[value.name] != TensorProto.FLOAT:
      raise ValueError(f'{value.name}: TensorRT takes float32 images here')
  for node in graph.node:
    first = kinds[node.input[0]]
    allowed = _REALS if first == TensorProto.FLOAT else _INTEGERS
    if node.op_type not in allowed:
      kind = TensorProto.DataType.Name(first)
      raise ValueError(f'{node.name}: TensorRT has no {node.op_type} of {kind}')
    if node.op_type in ('QuantizeLinear', 'DequantizeLinear'):
      zero = constants[node.input[2]]
      if zero.data_type != TensorProto.INT8:
        raise ValueError(f'{node.name}: TensorRT quantizes to int8 alone')
      if numpy_helper.to_array(zero).any():
        raise ValueError(f'{node.name}: TensorRT wants zero points of 0')


def _check_symmetric(program: IntegerProgram):
  """Raises ValueError that names the first layer with a zero point."""
  for operator in program.operators:
    output = program.tensors[operator.output]
    if isinstance(operator, SumPReLU):
      operator.fail(
        'a PReLU as a sum has a zero point of -128 inside, and TensorRT takes '
        '0 alone; train with --config.quant.default.prelu=operator'
      )
    if output.zero_point and operator.OUTPUT is None:
      operator.fail(
        f'its zero point is {output.zero_point}, and TensorRT takes 0 alone; '
        'train with --config.quant.default.symmetric=True'
      )
    if output.zero_point:
      operator.fail(
        f'its zero point is always {output.zero_point}, and TensorRT takes 0 '
        'alone; take a network without it'
      )


def _write(program, network):
  _check_symmetric(program)
  model = onnx_qdq.to_model(program, _FORM)
  check_model(model)
  return {'model_qdq.onnx': onnx_graph.to_bytes(model)}


TARGET = Target(
  promise='a graph for GPUs of NVIDIA: int8, zero points of 0; images are '
  'float32 (pixel - 128) / 128 [B, 3, H, W]',
  write=_write,
  not_run='TensorRT needs a GPU of NVIDIA; the graph was checked against the '
  'rules of its parser',
)
