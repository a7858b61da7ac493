"""The packaged YuNet as an .onnx file that ONNX Runtime takes.

The packaged file has its weights in blocks of int8, some of which ONNX Runtime
refuses, and images of 640x640 pixels. Here the weights are floats, those that
OpenCV computes from the blocks, and images are of any size.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from faceqat.faces import detection
from faceqat.models.weights.sface_onnx import dequantize

# Above this a size of an input or output is that of the image.
_MOST_CHANNELS = 10


def to_bytes() -> bytes:
  """The file's content.

  Raises:
    ValueError: the packaged weights are missing, or of another version.
  """
  model = onnx.load(detection.packaged_weights())
  graph = model.graph
  stored = {x.name: numpy_helper.to_array(x) for x in graph.initializer}
  weights, nodes = {}, []
  for node in graph.node:
    if node.op_type == 'DequantizeLinear':
      parts = (np.atleast_1d(stored[name]) for name in node.input)
      weights[node.output[0]] = np.float32(dequantize(*parts))
    elif node.op_type == 'Reshape' and node.input[0] in weights:
      values, shape = weights[node.input[0]], stored[node.input[1]]
      weights[node.output[0]] = values.reshape(shape)
    else:
      nodes.append(node)
  read = {name for node in nodes for name in node.input}
  constants = [x for x in graph.initializer if x.name in read]
  constants += [
    numpy_helper.from_array(values, name)
    for name, values in weights.items()
    if name in read
  ]
  for field, values in (
    (graph.node, nodes),
    (graph.initializer, constants),
    (graph.value_info, ()),
  ):
    del field[:]
    field.extend(values)
  for tensor in (*graph.input, *graph.output):
    for axis, size in enumerate(tensor.type.tensor_type.shape.dim):
      if size.dim_value > _MOST_CHANNELS:
        size.dim_param = f'{tensor.name}:{axis}'
  onnx.checker.check_model(model, full_check=True)
  return model.SerializeToString()
