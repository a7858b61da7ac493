"""PyTorch's MobileFaceNets, as weights of `mobilefacenet`.

The network of two projects is in circulation, and is this model's; they name
its layers differently, and the first exists with a head of its own name too:

* TreB1eN/InsightFace_Pytorch, and after it face.evoLVe and FaceX-Zoo: `conv1`,
  `conv2_dw`, `conv_23`, `conv_3.model.0` to `conv_6_sep`, `conv_6_dw`,
  `linear`, `bn`. QuantFace has those last three behind `output_layer.`.
* Xiaoccer/MobileFaceNet_Pytorch: `conv1`, `dw_conv1`, `blocks.0.conv.0` to
  `conv2`, `linear7`, `linear1`. Its images are 112 high and 96 wide.

Epsilon and pixels are folded as `torch_layers` and `pixels` say.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from faceqat.models.weights import pixels, projects, torch_layers
from faceqat.models.weights.pixels import Imported
from faceqat.models.weights.torch_layers import State

# The names of a convolution, its batch norm and its PReLU.
_Unit = tuple[str, str, str | None]
_BLOCKS = (
  'conv_23',
  *(f'conv_3.model.{index}' for index in range(4)),
  'conv_34',
  *(f'conv_4.model.{index}' for index in range(6)),
  'conv_45',
  *(f'conv_5.model.{index}' for index in range(2)),
)


def _unit(name: str, prelu: bool = True) -> _Unit:
  return f'{name}.conv', f'{name}.bn', f'{name}.prelu' if prelu else None


def _insightface_pytorch(head: str) -> dict[str, _Unit]:
  layers = {'stem': _unit('conv1'), 'stem_depthwise': _unit('conv2_dw')}
  for index, block in enumerate(_BLOCKS):
    layers |= {
      f'block_{index}/expand': _unit(f'{block}.conv'),
      f'block_{index}/depthwise': _unit(f'{block}.conv_dw'),
      f'block_{index}/project': _unit(f'{block}.project', prelu=False),
    }
  return {
    **layers,
    'last': _unit('conv_6_sep'),
    'global_depthwise': _unit(f'{head}conv_6_dw', prelu=False),
    'embedding': (f'{head}linear', f'{head}bn', None),
  }


def _mobilefacenet_pytorch() -> dict[str, _Unit]:
  layers = {'stem': _unit('conv1'), 'stem_depthwise': _unit('dw_conv1')}
  for index in range(len(_BLOCKS)):
    names = [f'blocks.{index}.conv.{place}' for place in range(8)]
    layers |= {
      f'block_{index}/expand': tuple(names[:3]),
      f'block_{index}/depthwise': tuple(names[3:6]),
      f'block_{index}/project': (*names[6:], None),
    }
  return {
    **layers,
    'last': _unit('conv2'),
    'global_depthwise': _unit('linear7', prelu=False),
    'embedding': _unit('linear1', prelu=False),
  }


# Each with the projects that have it.
_NAMINGS = (
  (
    _insightface_pytorch(''),
    (projects.INSIGHTFACE_PYTORCH, projects.FACE_EVOLVE),
  ),
  (_insightface_pytorch('output_layer.'), (projects.QUANTFACE,)),
  (_mobilefacenet_pytorch(), (projects.MOBILEFACENET_PYTORCH,)),
)
_FIRST = 'conv1.conv.weight'


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
    ValueError: names the file: it is damaged, of another network, or may have
      been trained on one kind of pixels or another.
  """
  return torch_layers.read_network(
    path, lambda state: convert(state, given), 'MobileFaceNet'
  )


def convert(state: State, given: Mapping[str, Any] | None = None) -> Imported:
  """Renames a state dictionary's tensors and brings them into our layout.

  Args:
    state: arrays by PyTorch's names. Where all names of the network stand
      behind one prefix, such as the 'model.' of a Lightning module, tensors
      without it are a head's and are left out.
    given: fields of `pixels.Pixels` that are known of the network; the others
      are those of the project that has such names.

  Returns:
    float32 arrays by path in `mobilefacenet.Model`'s variables. Where the last
    batch norm has no gamma and beta (`affine=False`), ones and zeros.

  Raises:
    ValueError: lists the tensors that are missing and those that the network
      has no place for; or names one of a wrong shape; or lists the projects
      with such names, which saw different pixels.
  """
  prefix, layers, candidates = _recognise(state)
  state = torch_layers.network_state(state, prefix)
  torch_layers.check_names(state, _names(layers), layers['embedding'][1])
  # Which keeps the network there, beside its head.
  if projects.FACE_EVOLVE in candidates and 'backbone' in prefix.split('.'):
    candidates = (projects.FACEX_ZOO,)
  project = pixels.choose(candidates, given)
  values = {}
  for layer, (conv, norm, prelu) in layers.items():
    name, shift = f'{conv}.weight', 0.0
    if layer == 'embedding':
      kernel = _dense_kernel(name, state)
    else:
      kernel = torch_layers.kernel(name, state)
    if layer == 'stem':
      kernel, shift = project.pixels.fold(kernel)
    values[f'{layer}/kernel'] = kernel
    channels = kernel.shape[-1]
    values |= torch_layers.batch_norm(
      norm, state, layer, channels, project.epsilon, shift
    )
    if prelu:
      values[f'{layer}_prelu/alpha'] = state[f'{prelu}.weight']
  values = {name: np.float32(value) for name, value in values.items()}
  return Imported(values, project)


def _recognise(state: State):
  """The prefix and naming that explain most of the tensors, and whose it is."""
  candidates = [
    (prefix, layers, whose)
    for prefix in torch_layers.prefixes(state, _FIRST)
    for layers, whose in _NAMINGS
  ]

  def explained(candidate) -> int:
    prefix, layers, _ = candidate
    return sum(prefix + name in state for name in _names(layers))

  return max(candidates, key=explained)


def _names(layers: Mapping[str, _Unit]) -> set[str]:
  """The tensors that such a network has."""
  names = set()
  for conv, norm, prelu in layers.values():
    names |= {f'{conv}.weight', *torch_layers.batch_norm_names(norm)}
    if prelu:
      names.add(f'{prelu}.weight')
  return names


def _dense_kernel(name: str, state: State) -> np.ndarray:
  """[O, I] to [I, O]; a 1x1 convolution in one of the namings."""
  kernel = np.float64(state[name])
  if kernel.ndim == 4 and kernel.shape[2:] == (1, 1):
    kernel = kernel[:, :, 0, 0]
  if kernel.ndim != 2:
    raise torch_layers.wrong_shape(name, kernel, '[O, I] or [O, I, 1, 1]')
  return kernel.T
