"""PyTorch's improved residual networks, as weights of `iresnet`.

Of ZhaoJ9014/face.evoLVe and what took its IR-50 over: `input_layer.0`,
`body.0.res_layer.0` to `output_layer.4`. Three things differ from the model:

* It has no batch norm between a unit's first convolution and the PReLU. The
  model's is given ones and zeros, and changes nothing as long as it keeps its
  moving statistics: train on with frozen batch norms (quant.freeze_bn_step 0).
* Its dense layer reads [C, H, W], the model's [H, W, C].
* That layer has a bias, which is taken off the mean of the batch norm behind.

Channels are taken to be RGB, as face.evoLVe trains. A state with that batch
norm, `res_layer.5`, is refused: such networks are trained on BGR or on RGB, and
no name tells which.
"""

import functools
import math
import os

import numpy as np

from faceqat.models.import_weights import torch_layers
from faceqat.models.import_weights.torch_layers import State

# Mean and spread of the pixels in face.evoLVe's training: 0.5 of 255, both.
_PIXELS = (127.5, 127.5)
_FIRST = 'input_layer.0.weight'
_LAST = 'output_layer.4'


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads a checkpoint or an .onnx file, for `assign.assign`.

  Args:
    path: see `torch_layers.read_network`.

  Returns:
    See `convert`.

  Raises:
    ValueError: names the file: it is damaged, or of another network.
  """
  return torch_layers.read_network(path, convert, 'IR network of face.evoLVe')


def convert(
  state: State, pixels: tuple[float, float] = _PIXELS
) -> dict[str, np.ndarray]:
  """Renames a state dictionary's tensors and brings them into our layout.

  Args:
    state: arrays by PyTorch's names, of any depth and embedding size. Where
      all names of the network stand behind one prefix, tensors without it are
      left out.
    pixels: mean and spread with which the network was trained: it saw
      (pixel - mean) / spread.

  Returns:
    float32 arrays by path in `iresnet.Model`'s variables. A batch norm that
    stands before a convolution has a kernel of ones.

  Raises:
    ValueError: lists the tensors that are missing and those that the network
      has no place for; or names one of a wrong shape.
  """
  prefix = max(
    torch_layers.prefixes(state, _FIRST),
    key=lambda prefix: prefix + _FIRST in state,
  )
  state = torch_layers.network_state(state, prefix)
  projected = _projections(state)
  torch_layers.check_names(state, _names(projected), _LAST)
  values = {}

  def add(layer: dict[str, np.ndarray]):
    # At once: an IR-50 in float64 is 350 MB.
    values.update({name: np.float32(array) for name, array in layer.items()})

  add(_convolution('stem', 'input_layer.0', 'input_layer.1', state, pixels))
  add({'stem_prelu/alpha': state['input_layer.2.weight']})
  for index, has_projection in enumerate(projected):
    block, place = f'block_{index}', f'body.{index}'
    convolution = functools.partial(_convolution, state=state)
    add(_norm(f'{block}/norm', f'{place}.res_layer.0', state))
    add(convolution(f'{block}/conv_1', f'{place}.res_layer.1', None))
    slopes = state[f'{place}.res_layer.2.weight']
    add({f'{block}/conv_1_prelu/alpha': slopes})
    names = f'{place}.res_layer.3', f'{place}.res_layer.4'
    add(convolution(f'{block}/conv_2', *names))
    if has_projection:
      names = f'{place}.shortcut_layer.0', f'{place}.shortcut_layer.1'
      add(convolution(f'{block}/shortcut', *names))
  add(_norm('norm', 'output_layer.0', state))
  add(_dense(state, channels=values['norm/kernel'].size))
  return values


def _projections(state: State) -> list[bool]:
  """Which units change the number of channels, and project their input."""
  projected = []
  while f'body.{len(projected)}.res_layer.1.weight' in state:
    shape = state[f'body.{len(projected)}.res_layer.1.weight'].shape
    projected.append(shape[:1] != shape[1:2])
  return projected


def _names(projected: list[bool]) -> set[str]:
  """The tensors that such a network has."""
  norms = {'input_layer.1', 'output_layer.0', _LAST}
  others = {'input_layer.0', 'input_layer.2', 'output_layer.3'}
  # Without any unit the first one is missing.
  for index, has_projection in enumerate(projected or [True]):
    place = f'body.{index}'
    norms |= {f'{place}.res_layer.0', f'{place}.res_layer.4'}
    others |= {f'{place}.res_layer.{layer}' for layer in (1, 2, 3)}
    if has_projection:
      others.add(f'{place}.shortcut_layer.0')
      norms.add(f'{place}.shortcut_layer.1')
  names = {f'{name}.weight' for name in others} | {'output_layer.3.bias'}
  return names.union(*map(torch_layers.batch_norm_names, norms))


def _convolution(
  layer: str,
  conv: str,
  norm: str | None,
  state: State,
  pixels: tuple[float, float] | None = None,
) -> dict[str, np.ndarray]:
  kernel, shift = torch_layers.kernel(f'{conv}.weight', state), 0.0
  if pixels is not None:
    kernel, shift = torch_layers.on_pixels(kernel, pixels)
  channels = kernel.shape[-1]
  return {
    f'{layer}/kernel': kernel,
    **(
      torch_layers.batch_norm(norm, state, layer, channels, shift)
      if norm
      else torch_layers.no_batch_norm(layer, channels)
    ),
  }


def _norm(layer: str, norm: str, state: State) -> dict[str, np.ndarray]:
  """A batch norm before a convolution: a depthwise 1x1 one here."""
  channels = state[f'{norm}.running_mean'].size
  return {
    f'{layer}/kernel': np.ones((1, 1, 1, channels)),
    **torch_layers.batch_norm(norm, state, layer, channels),
  }


def _dense(state: State, channels: int) -> dict[str, np.ndarray]:
  """[O, C * H * W] to [H * W * C, O]; the image that is left is a square."""
  name = 'output_layer.3.weight'
  kernel = state[name]
  inputs = kernel.shape[1] if kernel.ndim == 2 else 0
  side = math.isqrt(inputs // channels)
  if not inputs or side**2 * channels != inputs:
    raise torch_layers.wrong_shape(name, kernel, f'[O, {channels} * side^2]')
  size = kernel.shape[0]
  kernel = kernel.reshape(size, channels, side, side).transpose(2, 3, 1, 0)
  bias = np.float64(state['output_layer.3.bias'])
  return {
    'embedding/kernel': kernel.reshape(-1, size),
    **torch_layers.batch_norm(_LAST, state, 'embedding', size, bias),
  }
