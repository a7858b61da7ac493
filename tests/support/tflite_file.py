"""Reads what stands in a TFLite file, and writes files of one operator."""

import dataclasses

from ai_edge_litert import schema_py_generated as schema

from faceqat.export import tflite
from faceqat.integer.tensors import Tensor


def read(content):
  """(operators, tensors): (code, version, operator) and tensors by name."""
  model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
  graph = model.subgraphs[0]
  names = {
    number: name
    for name, number in vars(schema.BuiltinOperator).items()
    if not name.startswith('_')
  }
  operators = []
  for operator in graph.operators:
    code = model.operatorCodes[operator.opcodeIndex]
    operators.append((names[code.builtinCode], code.version, operator))
  return operators, {tensor.name.decode(): tensor for tensor in graph.tensors}


def write(operator, source, qparams, **options):
  """A file of one operator, which reads `source`."""
  shape = operator.output_shape([source])
  output = Tensor(operator.name, shape, **dataclasses.asdict(qparams))
  tensors = {source.name: source, output.name: output}
  return tflite.operators_to_bytes(
    tensors, [operator], [source.name], [operator.name], **options
  )
