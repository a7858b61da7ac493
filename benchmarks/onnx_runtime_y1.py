"""Evaluates MXNet's float y1 in ONNX Runtime, and compares our import of it.

  python -m benchmarks.onnx_runtime_y1 --weights=y1/model-0000.params \
    --path=lfw/images --pairs=lfw/pairs.txt

The ONNX model is made of MXNet's two files. Each node becomes the ONNX node of
the same meaning; nothing is folded or rearranged, and no layer of ours takes
part. So its accuracy is the target for our import.
"""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np
import onnx
from absl import flags
from onnx import TensorProto, helper, numpy_helper

from benchmarks import timing
from configs import mobilefacenet_int8
from faceqat import command
from faceqat.data.benchmarks.pair_lists import read_list
from faceqat.evaluators import verification
from faceqat.evaluators.predict import make_predict
from faceqat.export import onnx_runtime
from faceqat.models.build import make_model
from faceqat.models.network import variable_shapes
from faceqat.models.weights import mxnet_params, mxnet_symbol
from faceqat.models.weights.mxnet_symbol import VARIABLE, Node
from faceqat.models.weights.pretrained import load_pretrained
from faceqat.quant.spec import FLOAT
from faceqat.report.results_tables import results_table

IMAGE_SIZE = 112
_IMAGE = 'data'
# The operators used here have not changed since.
_OPSET, _IR_VERSION = 17, 8


def build(weights: str | os.PathLike) -> onnx.ModelProto:
  """Writes an MXNet network as an ONNX model, node by node.

  Args:
    weights: a `.params` file with its `-symbol.json` beside it.

  Returns:
    A model from 'data', `[B, 3, H, W]` float32, pixels 0 to 255, to the last
    node's output; any B.

  Raises:
    ValueError: as the readers of the two files do; an operator, or a setting
      of one, that has no translation here; a tensor that is missing.
  """
  path = mxnet_symbol.symbol_path(weights)
  # MXNet prefixes each name with the kind of its tensor.
  tensors = {
    name.partition(':')[2]: array
    for name, array in mxnet_params.read_params(weights).items()
  }
  nodes, constants = [], {}
  for node in mxnet_symbol.read_symbol(path):
    if node.name == _IMAGE:
      continue
    if node.operator == VARIABLE:
      if node.name not in tensors:
        raise ValueError(
          f'{weights} lacks the tensor {node.name} of {path}; wanted the two '
          'files of one network'
        )
      constants[node.name] = tensors[node.name]
    elif node.operator in _TRANSLATIONS:
      nodes += _TRANSLATIONS[node.operator](node, constants)
    else:
      raise ValueError(
        f'{path}: {node.name} is a {node.operator}; wanted '
        f'{", ".join(sorted(_TRANSLATIONS))}'
      )
  graph = helper.make_graph(
    nodes,
    'mxnet',
    [_value(_IMAGE, ['B', 3, 'H', 'W'])],
    [_value(nodes[-1].output[0], ['B', 'D'])],
    [numpy_helper.from_array(array, n) for n, array in constants.items()],
  )
  model = helper.make_model(
    graph,
    opset_imports=[helper.make_opsetid('', _OPSET)],
    ir_version=_IR_VERSION,
  )
  onnx.checker.check_model(model)
  return model


def make_onnx_predict(
  model: onnx.ModelProto, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
  """From uint8 `[B, H, W, 3]` to float32 `[B, D]`, in ONNX Runtime."""
  run = onnx_runtime.make_runner(model.SerializeToString(), threads=threads)
  (output,) = model.graph.output

  def predict(images: np.ndarray) -> np.ndarray:
    channels_first = np.transpose(images, (0, 3, 1, 2)).astype(np.float32)
    return run(channels_first)[output.name]

  return predict


def _value(name, shape) -> onnx.ValueInfoProto:
  return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _node(node: Node, operator: str, inputs=None, **attributes):
  return helper.make_node(
    operator, inputs or node.inputs, [node.name], node.name, **attributes
  )


def _convolution(node: Node, constants: Mapping[str, np.ndarray]) -> list:
  pads = node.pair('pad', 0)
  return [
    _node(
      node,
      'Conv',
      strides=node.pair('stride', 1),
      pads=pads + pads,
      dilations=node.pair('dilate', 1),
      group=int(node.number('num_group', 1)),
    )
  ]


def _batch_norm(node: Node, constants: dict[str, np.ndarray]) -> list:
  image, gamma, *others = node.inputs
  # With fix_gamma, the default, MXNet computes with 1 and ignores the file.
  if node.flag('fix_gamma', True):
    constants[gamma] = np.ones_like(constants[gamma])
  return [
    _node(
      node,
      'BatchNormalization',
      [image, gamma, *others],
      epsilon=node.number('eps', 1e-3),
    )
  ]


def _leaky_relu(node: Node, constants: dict[str, np.ndarray]) -> list:
  kind = node.attributes.get('act_type', 'leaky')
  if kind != 'prelu':
    raise ValueError(f'{node.name} is a LeakyReLU {kind}, wanted prelu')
  # MXNet has a slope for each channel; ONNX broadcasts from the right.
  slopes = node.inputs[1]
  constants[slopes] = constants[slopes].reshape(-1, 1, 1)
  return [_node(node, 'PRelu')]


def _fully_connected(node: Node, constants: Mapping[str, np.ndarray]) -> list:
  image, *others = node.inputs
  flat = f'{node.name}_flat'
  return [
    helper.make_node('Flatten', [image], [flat], flat),
    _node(node, 'Gemm', [flat, *others], transB=1),
  ]


def _with_scalar(operator: str) -> Callable[..., list]:
  def translate(node: Node, constants: dict[str, np.ndarray]) -> list:
    scalar = f'{node.name}_scalar'
    constants[scalar] = np.float32(node.number('scalar', 0))
    return [_node(node, operator, [*node.inputs, scalar])]

  return translate


_TRANSLATIONS = {
  'BatchNorm': _batch_norm,
  'Convolution': _convolution,
  'FullyConnected': _fully_connected,
  'LeakyReLU': _leaky_relu,
  '_minus_scalar': _with_scalar('Sub'),
  '_mul_scalar': _with_scalar('Mul'),
  'elemwise_add': lambda node, constants: [_node(node, 'Add')],
}


def _make_our_predict(weights: str) -> Callable[[np.ndarray], np.ndarray]:
  model = make_model(mobilefacenet_int8.get_config())
  empty = jax.tree.map(
    lambda leaf: np.zeros(leaf.shape, leaf.dtype),
    variable_shapes(model, IMAGE_SIZE),
  )
  variables = load_pretrained(weights, model, empty).variables
  return make_predict(model, variables, FLOAT)


def main():
  args = flags.FLAGS
  timing.limit_threads(args.threads)
  pair_set = read_list(args.path, args.pairs, IMAGE_SIZE)
  model = build(args.weights)
  predict = make_onnx_predict(model, args.threads)
  images = pair_set.images
  print(f'{len(pair_set)} pairs of {len(images)} images', flush=True)
  start = time.perf_counter()
  embeddings = verification.embed(predict, images, args.batch_size)
  seconds = time.perf_counter() - start
  scores = verification.cosine(
    embeddings[pair_set.first], embeddings[pair_set.second]
  )
  results = dict(verification.summarize(scores, pair_set.same, pair_set.fold))
  results['bytes'] = pathlib.Path(args.weights).stat().st_size
  # The notes are about intervals, and none was computed.
  table = results_table({'ONNX Runtime': results})
  print(dataclasses.replace(table, notes=()))
  per_image = 1e3 * seconds / len(images)
  print(f'{per_image:.1f} ms for an image, its mirror image and the decoding')

  count = min(args.compared_images, len(images))
  ours = verification.embed(
    _make_our_predict(args.weights),
    [images[index] for index in range(count)],
    args.batch_size,
  )
  cosines = verification.cosine(embeddings[:count], ours)
  print(
    f'cosine to our float embeddings of {count} images: 1 - '
    f'{1 - cosines.mean():.1e} on average, 1 - {1 - cosines.min():.1e} at least'
  )


if __name__ == '__main__':
  flags.DEFINE_string('weights', None, "MXNet's .params file.")
  flags.DEFINE_string('path', None, 'Folder of images, one of each person.')
  flags.DEFINE_string('pairs', None, 'The list of pairs, pairs.txt.')
  flags.DEFINE_integer('batch_size', 32, 'Images.', lower_bound=1)
  flags.DEFINE_integer('threads', 2, 'Processors to use.', lower_bound=1)
  flags.DEFINE_integer(
    'compared_images', 200, 'Embedded by our model too.', lower_bound=1
  )
  flags.mark_flags_as_required(['weights', 'path', 'pairs'])
  command.run(main)
