"""Rockchip's NPUs, by a QDQ graph for RKNN-Toolkit2."""

import onnx
from onnx import TensorProto

from faceqat.export import onnx_graph, onnx_qdq
from faceqat.export.targets.target import Target

_FORM = onnx_qdq.QdqForm(
  activations='int8', pixels='float32', embedding='float32', batch=1
)
_NEWEST_OPSET = 19


def check_model(model: onnx.ModelProto):
  """Raises ValueError where a graph breaks a rule of RKNN-Toolkit2 2.5."""
  (version,) = (x.version for x in model.opset_import)
  if version > _NEWEST_OPSET:
    raise ValueError(
      f'RKNN-Toolkit2 takes opset {_NEWEST_OPSET}, not {version}'
    )
  for value in model.graph.input:
    kind = value.type.tensor_type
    shape = [x.dim_value for x in kind.shape.dim]
    if kind.elem_type != TensorProto.FLOAT or 0 in shape or shape[1] != 3:
      raise ValueError(
        f'{value.name}: RKNN-Toolkit2 takes float32 [N, 3, H, W], N fixed'
      )
  for node in model.graph.node:
    linear = node.op_type in ('QuantizeLinear', 'DequantizeLinear')
    if linear and len(node.input) < 3:
      raise ValueError(f'{node.name}: RKNN-Toolkit2 wants a zero point')


def _write(program, network):
  model = onnx_qdq.to_model(program, _FORM)
  check_model(model)
  return {'model_qdq.onnx': onnx_graph.to_bytes(model)}


TARGET = Target(
  promise='a graph for NPUs of Rockchip, by RKNN-Toolkit2; images are float32 '
  '(pixel - 128) / 128 [1, 3, H, W]',
  write=_write,
  not_run='RKNN-Toolkit2 wants older packages than faceqat; '
  'benchmarks/rknn_simulator.py runs the file in an environment of its own',
)
