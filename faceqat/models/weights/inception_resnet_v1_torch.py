"""facenet-pytorch's InceptionResnetV1, as weights of `inception_resnet_v1`.

Its modules are the model's layers under other names: `repeat_1.0.branch1.1` is
`block35_1/branch_1/conv2d_0b_3x3`, `last_linear` with `last_bn` the embedding.
The classifier `logits`, which its published files have too, is left out.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from faceqat.models import inception_resnet_v1
from faceqat.models.weights import pixels, projects, torch_layers
from faceqat.models.weights.pixels import Imported
from faceqat.models.weights.torch_layers import State

STEM = (
  'conv2d_1a_3x3',
  'conv2d_2a_3x3',
  'conv2d_2b_3x3',
  'conv2d_3b_1x1',
  'conv2d_4a_3x3',
  'conv2d_4b_3x3',
)
_FIRST = 'conv2d_1a.conv.weight'
_LAST = 'last_bn'
_HEAD = 'logits'


def read(
  path: str | os.PathLike, given: Mapping[str, Any] | None = None
) -> Imported:
  """Reads a weight file, for `assign.assign`.

  Args:
    path: see `torch_layers.read_network`.
    given: see `convert`.

  Returns:
    See `convert`.

  Raises:
    ValueError: names the file: it is damaged, or of another network.
  """
  return torch_layers.read_network(
    path, lambda state: convert(state, given), 'Inception-ResNet-v1'
  )


def convert(state: State, given: Mapping[str, Any] | None = None) -> Imported:
  """Renames a state dictionary's tensors and brings them into our layout.

  Args:
    state: arrays by PyTorch's names, of any number of blocks and embedding
      size.
    given: fields of `pixels.Pixels` that are known of the network; the others
      are facenet's.

  Returns:
    float32 arrays by path in `inception_resnet_v1.Model`'s variables.

  Raises:
    ValueError: lists the tensors that are missing and those that the network
      has no place for; or names one of a wrong shape.
  """
  prefixes = torch_layers.prefixes(state, _FIRST)
  prefix = next((p for p in prefixes if f'{p}{_FIRST}' in state), '')
  state = {
    name: array
    for name, array in torch_layers.network_state(state, prefix).items()
    if not name.startswith(f'{_HEAD}.')
  }
  units = dict(_units(state))
  wanted = {'last_linear.weight', *torch_layers.batch_norm_names(_LAST)}
  for name in units.values():
    if _is_sum(name):
      wanted |= {f'{name}.weight', f'{name}.bias'}
    else:
      wanted.add(f'{name}.conv.weight')
      wanted |= torch_layers.batch_norm_names(f'{name}.bn')
  torch_layers.check_names(state, wanted, _LAST)
  project = pixels.choose([projects.FACENET_PYTORCH], given)
  values = {}
  for layer, name in units.items():
    if _is_sum(name):
      kernel = torch_layers.kernel(f'{name}.weight', state)
      values[f'{layer}/bias'] = state[f'{name}.bias']
    else:
      kernel, shift = torch_layers.kernel(f'{name}.conv.weight', state), 0.0
      if layer == STEM[0]:
        kernel, shift = project.pixels.fold(kernel)
      values |= torch_layers.batch_norm(
        f'{name}.bn', state, layer, kernel.shape[-1], project.epsilon, shift
      )
    values[f'{layer}/kernel'] = kernel
  dense = state['last_linear.weight']
  if dense.ndim != 2:
    raise torch_layers.wrong_shape('last_linear.weight', dense, '[O, I]')
  values['embedding/kernel'] = dense.T
  values |= torch_layers.batch_norm(
    _LAST, state, 'embedding', len(dense), project.epsilon
  )
  values = {name: np.float32(value) for name, value in values.items()}
  return Imported(values, project)


def _is_sum(name: str) -> bool:
  """Whether it is the convolution that is added to a block's input."""
  return name.endswith('.conv2d')


def _units(state: State) -> Iterator[tuple[str, str]]:
  """Yields our layers with convolutions, and the modules that they are."""
  for layer in STEM:
    yield layer, layer.rpartition('_')[0]
  for number, stage in enumerate(inception_resnet_v1.STAGES, 1):
    name, _, branches, _, reduction = stage
    index = 0
    # Without any block the first one is missing.
    while not index or f'repeat_{number}.{index}.conv2d.weight' in state:
      yield from _block(
        f'{name}_{index + 1}', f'repeat_{number}.{index}', branches
      )
      index += 1
    if reduction:
      yield from _branches(reduction[0], reduction[0], reduction[1])
  yield from _block('block8', 'block8', inception_resnet_v1.BLOCK8)


def _block(layer: str, module: str, branches) -> Iterator[tuple[str, str]]:
  yield from _branches(layer, module, branches)
  yield f'{layer}/conv2d_1x1', f'{module}.conv2d'


def _branches(layer: str, module: str, branches) -> Iterator[tuple[str, str]]:
  for number, convolutions in enumerate(branches):
    for index, (name, _, _) in enumerate(convolutions):
      # A branch of one convolution is that module itself.
      place = f'.{index}' if len(convolutions) > 1 else ''
      yield f'{layer}/branch_{number}/{name}', f'{module}.branch{number}{place}'
