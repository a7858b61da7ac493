"""PyTorch's MobileFaceNets, as weights of `mobilefacenet`.

The network of two projects is in circulation, and is this model's; they name
its layers differently, and the first exists with a head of its own name too:

* TreB1eN/InsightFace_Pytorch, and after it face.evoLVe and FaceX-Zoo: `conv1`,
  `conv2_dw`, `conv_23`, `conv_3.model.0` to `conv_6_sep`, `conv_6_dw`,
  `linear`, `bn`. QuantFace has those last three behind `output_layer.`.
* Xiaoccer/MobileFaceNet_Pytorch: `conv1`, `dw_conv1`, `blocks.0.conv.0` to
  `conv2`, `linear7`, `linear1`.

PyTorch's batch norms have the epsilon 1e-5, which `assign.at_epsilon` folds
into gamma. How the pixels enter is folded into the first convolution, exactly
but at the image's border: it pads with pixel 128, the original with 127.5.
"""

import os
from collections.abc import Mapping

import numpy as np

from faceqat.models.import_weights import torch_checkpoint
from faceqat.models.import_weights.assign import at_epsilon, listed
from faceqat.quant.layers import QuantConv

_EPSILON = 1e-5

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


# Each with what its project takes from a pixel, and divides by.
_NAMINGS = (
  (_insightface_pytorch(''), (127.5, 127.5)),
  (_insightface_pytorch('output_layer.'), (127.5, 127.5)),
  (_mobilefacenet_pytorch(), (127.5, 128.0)),
)
_FIRST = 'conv1.conv.weight'


def read(
  path: str | os.PathLike, pixels: tuple[float, float] | None = None
) -> dict[str, np.ndarray]:
  """Reads a checkpoint, for `assign.assign`.

  Args:
    path: .pth, .pt or .ckpt; see `torch_checkpoint.read`.
    pixels: see `convert`.

  Returns:
    See `convert`.

  Raises:
    ValueError: names the file: it is damaged, or of another network.
  """
  state = torch_checkpoint.read(path)
  try:
    return convert(state, pixels)
  except ValueError as error:
    raise ValueError(
      f'{os.fspath(path)} is not of the MobileFaceNet that this model is: '
      f'{error}'
    ) from None


def convert(
  state: Mapping[str, np.ndarray], pixels: tuple[float, float] | None = None
) -> dict[str, np.ndarray]:
  """Renames a state dictionary's tensors and brings them into our layout.

  Args:
    state: arrays by PyTorch's names. Where all names of the network stand
      behind one prefix, such as the 'model.' of a Lightning module, tensors
      without it are a head's and are left out.
    pixels: mean and spread with which the network was trained: it saw
      (pixel - mean) / spread. None: what the project with these names does.

  Returns:
    float32 arrays by path in `mobilefacenet.Model`'s variables. Where the last
    batch norm has no gamma and beta (`affine=False`), ones and zeros.

  Raises:
    ValueError: lists the tensors that are missing and those that the network
      has no place for; or names one of a wrong shape.
  """
  prefix, layers, usual_pixels = _recognise(state)
  state = {
    name.removeprefix(prefix): array
    for name, array in state.items()
    if name.startswith(prefix) and not name.endswith('.num_batches_tracked')
  }
  _check_names(state, layers)
  mean, spread = usual_pixels if pixels is None else pixels
  values = {}
  for layer, (conv, norm, prelu) in layers.items():
    kernel = _kernel(f'{conv}.weight', state, layer)
    shift = 0.0
    if layer == 'stem':
      # The model's input is (pixel - 128) / 128.
      shift = (128 - mean) / spread * kernel.sum((0, 1, 2))
      kernel = kernel * (128 / spread)
    values[f'{layer}/kernel'] = kernel
    values |= _norm(norm, state, f'{layer}/bn', kernel.shape[-1], shift)
    if prelu:
      values[f'{layer}_prelu/alpha'] = state[f'{prelu}.weight']
  return {name: np.float32(value) for name, value in values.items()}


def _recognise(state: Mapping[str, np.ndarray]):
  """The prefix and naming that explain most of the tensors."""
  prefixes = {
    name.removesuffix(_FIRST) for name in state if name.endswith(_FIRST)
  }
  candidates = [
    (prefix, layers, pixels)
    for prefix in sorted(prefixes | {''})
    for layers, pixels in _NAMINGS
  ]

  def explained(candidate) -> int:
    prefix, layers, _ = candidate
    return sum(prefix + name in state for name in _names(layers))

  return max(candidates, key=explained)


def _names(layers: Mapping[str, _Unit]) -> set[str]:
  """The tensors that every such network has."""
  names = set()
  for layer, (conv, norm, prelu) in layers.items():
    names |= {f'{conv}.weight', f'{norm}.running_mean', f'{norm}.running_var'}
    # The last batch norm is also trained without gamma and beta.
    if layer != 'embedding':
      names |= {f'{norm}.weight', f'{norm}.bias'}
    if prelu:
      names.add(f'{prelu}.weight')
  return names


def _check_names(state: Mapping[str, np.ndarray], layers: Mapping[str, _Unit]):
  wanted = _names(layers)
  _, last, _ = layers['embedding']
  optional = {f'{last}.weight', f'{last}.bias'}
  missing, more = wanted - state.keys(), state.keys() - wanted - optional
  if missing or more:
    raise ValueError(
      f'it lacks the tensors {listed(missing)}; it has besides {listed(more)}'
    )


def _kernel(
  name: str, state: Mapping[str, np.ndarray], layer: str
) -> np.ndarray:
  """[O, I, kh, kw] to [kh, kw, I, O], also of depthwise ones; [O, I] to [I, O].

  The embedding is a 1x1 convolution in one of the namings.
  """
  kernel = np.float64(state[name])
  dense = layer == 'embedding'
  if dense and kernel.ndim == 4 and kernel.shape[2:] == (1, 1):
    kernel = kernel[:, :, 0, 0]
  if kernel.ndim != (2 if dense else 4):
    raise ValueError(
      f'{name} has the shape {list(kernel.shape)}, wanted '
      + ('[O, I] or [O, I, 1, 1]' if dense else '[O, I, kh, kw]')
    )
  return kernel.transpose((1, 0) if dense else (2, 3, 1, 0))


def _norm(
  name: str,
  state: Mapping[str, np.ndarray],
  path: str,
  channels: int,
  shift: np.ndarray | float,
) -> dict[str, np.ndarray]:
  """A batch norm by our names; `shift` is what its input lacks."""
  mean, var = state[f'{name}.running_mean'], state[f'{name}.running_var']
  gamma = state.get(f'{name}.weight', np.ones(channels))
  beta = state.get(f'{name}.bias', np.zeros(channels))
  shapes = {np.shape(array) for array in (gamma, beta, mean, var)}
  if shapes != {(channels,)}:
    raise ValueError(
      f'the tensors of {name} have the shapes {listed(map(str, shapes))}, '
      f'wanted {(channels,)}'
    )
  if not (var >= 0).all():
    raise ValueError(f'{name}.running_var has negative or no numbers')
  return {
    f'{path}/scale': at_epsilon(gamma, var, _EPSILON, QuantConv.bn_epsilon),
    f'{path}/bias': beta,
    f'{path}/mean': mean - shift,
    f'{path}/var': var,
  }
