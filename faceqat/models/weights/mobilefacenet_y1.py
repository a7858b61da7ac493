"""InsightFace's MobileFaceNet "y1" (MXNet), as weights of `mobilefacenet`.

The layers are those of the paper, and of the model. Three things differ, and
are folded into the weights:

* **The pixels.** The graph computes (p - 127.5) / 128, the model
  (p - 128) / 128. The difference, 1/256 times the sum of a channel's weights,
  is taken off the mean of the first batch norm.
* **The epsilon** of the last batch norm, 2e-5: `assign.at_epsilon`.
* **The bias** before the last batch norm, taken off its mean.

The fold is exact within the image, not at its border: the graph pads with pixel
127.5, the model with 128, and int8 has nothing nearer. That concerns 111 of the
3136 positions of an image of 112. On 48 faces it makes 1 - cosine of the
embeddings 4e-8 on average and 4e-7 at most; without the fold, 2e-6 and 9e-6.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from faceqat.models.mobilefacenet import STAGES
from faceqat.models.weights import mxnet_params, mxnet_symbol
from faceqat.models.weights.assign import EPSILON, at_epsilon, listed
from faceqat.models.weights.mxnet_symbol import VARIABLE, Node
from faceqat.models.weights.pixels import Imported, Pixels, Project

# The first of a stage halves the image or widens it.
_BLOCKS = (
  'dconv_23',
  *(f'res_3_block{index}' for index in range(4)),
  'dconv_34',
  *(f'res_4_block{index}' for index in range(6)),
  'dconv_45',
  *(f'res_5_block{index}' for index in range(2)),
)
_STRIDES = tuple(
  stride if repeat == 0 else 1
  for _, _, repeats, stride in STAGES
  for repeat in range(repeats)
)
_PARTS = {'sep': 'expand', 'dw': 'depthwise', 'proj': 'project'}
# The graph's names of the model's layers.
LAYERS = {
  'conv_1_conv2d': 'stem',
  'conv_2_dw_conv2d': 'stem_depthwise',
  **{
    f'{block}_conv_{part}_conv2d': f'block_{index}/{layer}'
    for index, block in enumerate(_BLOCKS)
    for part, layer in _PARTS.items()
  },
  'conv_6sep_conv2d': 'last',
  'conv_6dw7_7_conv2d': 'global_depthwise',
  'pre_fc1': 'embedding',
}
_OPERATORS = {
  VARIABLE,
  '_minus_scalar',
  '_mul_scalar',
  'Convolution',
  'BatchNorm',
  'LeakyReLU',
  'elemwise_add',
  'Flatten',
  'FullyConnected',
}
# One pixel level.
_MOST_OFFSET = 1 / 128


def read_y1(
  path: str | os.PathLike, given: Mapping[str, Any] | None = None
) -> Imported:
  """Reads a network, for `assign.assign`.

  Args:
    path: `prefix-0000.params`; `prefix-symbol.json` lies beside it.
    given: `channels` of `pixels.Pixels`, if they are not RGB, as MXNet decodes
      images; the graph has the rest.

  Returns:
    float32 arrays by path in `mobilefacenet.Model`'s variables.

  Raises:
    ValueError: a file is missing or damaged; the graph is of another network;
      graph and file have other tensors; or `given` has more than `channels`.
  """
  channels = {'channels': 'RGB', **(given or {})}
  if len(channels) > 1:
    raise ValueError(
      f'{os.fspath(path)} comes with its graph, which says what it takes from '
      'a pixel: leave pretrained_pixels.mean and .scale out'
    )
  tensors = {
    name.removeprefix('arg:').removeprefix('aux:'): tensor
    for name, tensor in mxnet_params.read_params(path).items()
  }
  graph = mxnet_symbol.symbol_path(path)
  nodes = mxnet_symbol.read_symbol(graph)
  try:
    _check_nodes(nodes)
    _check_tensors(nodes, tensors, os.fspath(path))
    return _values(nodes, tensors, **channels)
  except (ValueError, LookupError) as error:
    raise ValueError(
      f'{graph} is not of the MobileFaceNet y1 that this model is: {error}. '
      'Give the .params and the -symbol.json that were saved together'
    ) from None


def _values(
  nodes: Iterable[Node], tensors: Mapping[str, np.ndarray], channels: str
) -> Imported:
  image, factor, offset = mxnet_symbol.input_scaling(nodes)
  pixels = Pixels(channels, (-offset / factor,), (1 / factor,))
  # The pixel is 128 * image + 128, with the model's image.
  factor, offset = 128 * factor, 128 * factor + offset
  if abs(offset) > _MOST_OFFSET:
    raise ValueError(
      f'pixel 128 enters the first layer as {offset:g}, wanted at most 1/128 '
      'from 0, since the model pads with it and the graph with 0'
    )
  followers = {
    (node.operator, node.inputs[0]): node for node in nodes if node.inputs
  }
  values = {}
  for node in nodes:
    if node.name not in LAYERS:
      continue
    layer = LAYERS[node.name]
    kernel, *bias = (np.float64(tensors[name]) for name in node.inputs[1:])
    # [O, I, kh, kw] to [kh, kw, I, O]; a dense [O, I] to [I, O].
    kernel = kernel.transpose((2, 3, 1, 0) if kernel.ndim == 4 else (1, 0))
    shift = sum(bias, 0.0)
    if node.inputs[0] == image:
      shift = shift + offset * kernel.sum((0, 1, 2))
      kernel = kernel[:, :, :: 1 if channels == 'RGB' else -1] * factor
    norm = followers.get(('BatchNorm', node.name))
    if norm is None:
      raise ValueError(f'no BatchNorm follows {node.name}')
    values[f'{layer}/kernel'] = kernel
    for name, value in _batch_norm(norm, tensors, shift).items():
      values[f'{layer}/bn/{name}'] = value
    prelu = followers.get(('LeakyReLU', norm.name))
    if prelu is not None:
      values[f'{layer}_prelu/alpha'] = tensors[prelu.inputs[1]]
  values = {name: np.float32(value) for name, value in values.items()}
  return Imported(values, Project('insightface', pixels))


def _batch_norm(
  norm: Node, tensors: Mapping[str, np.ndarray], shift: np.ndarray | float
) -> dict[str, np.ndarray]:
  """The batch norm of a layer whose output lacks `shift`."""
  gamma, beta, mean, var = (tensors[name] for name in norm.inputs[1:])
  if norm.flag('fix_gamma', True):
    gamma = np.ones_like(gamma)
  epsilon = norm.number('eps', 1e-3)
  return {
    'scale': at_epsilon(gamma, var, epsilon, EPSILON),
    'bias': beta,
    'mean': mean - shift,
    'var': var,
  }


def _check_nodes(nodes: Iterable[Node]):
  """Refuses a graph that differs from the model in more than shapes."""
  convolutions = {'Convolution', 'FullyConnected'}
  found = {node.name for node in nodes if node.operator in convolutions}
  if found != LAYERS.keys():
    raise ValueError(
      f'it lacks the layers {listed(LAYERS.keys() - found)}; it has besides '
      f'{listed(found - LAYERS.keys())}'
    )
  for node in nodes:
    if node.operator not in _OPERATORS:
      raise ValueError(f'{node.name} is a {node.operator}')
    kind = node.attributes.get('act_type', 'leaky')
    if node.operator == 'LeakyReLU' and kind != 'prelu':
      raise ValueError(f'{node.name} is of type {kind}, wanted prelu')
    if node.operator == 'Convolution':
      kernel, stride = node.pair('kernel', 1), _stride(LAYERS[node.name])
      wanted = {
        'stride': (stride, stride),
        'pad': (1, 1) if kernel == (3, 3) else (0, 0),
        'dilate': (1, 1),
      }
      for key, want in wanted.items():
        got = node.pair(key, 0 if key == 'pad' else 1)
        if got != want:
          raise ValueError(f'{node.name} has {key} {got}, wanted {want}')


def _stride(layer: str) -> int:
  block, _, part = layer.partition('/')
  if part == 'depthwise':
    return _STRIDES[int(block.removeprefix('block_'))]
  return 2 if layer == 'stem' else 1


def _check_tensors(
  nodes: Iterable[Node], tensors: Mapping[str, np.ndarray], path: str
):
  wanted = {node.name for node in nodes if node.operator == VARIABLE}
  wanted.discard('data')
  if wanted != tensors.keys():
    raise ValueError(
      f'{path} lacks its tensors {listed(wanted - tensors.keys())}; it has '
      f'besides {listed(tensors.keys() - wanted)}'
    )
