"""PyTorch's improved residual networks, as weights of `iresnet`.

Two namings are in circulation, by their projects:

* ZhaoJ9014/face.evoLVe, and TreB1eN/InsightFace_Pytorch before it: IR and
  IR_SE, `input_layer.0`, `body.0.res_layer.0` to `output_layer.4`; a gate is
  `res_layer.5.fc1` and `res_layer.5.fc2`. FaceX-Zoo and CurricularFace have
  them too. They have no batch norm between a unit's first convolution and the
  PReLU. The model's is given ones and zeros, and changes nothing as long as it
  keeps its moving statistics: train on with frozen batch norms
  (quant.freeze_bn_step 0). AdaFace, TFace and CVLface do have it, as
  `res_layer.2`; a gate is `res_layer.se_block` there.
* arcface_torch of deepinsight/insightface, iresnet18 to iresnet100: `conv1`,
  `layer1.0.bn1` to `fc`, `features`; and MagFace. A stage's first unit always
  has a `downsample`, so the model's `shortcut` is 'projection'.

Two things differ from the model: the dense layer reads [C, H, W], the model's
[H, W, C]; and its bias is taken off the mean of the batch norm behind it.
"""

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from faceqat.models.weights import pixels, projects, torch_layers
from faceqat.models.weights.pixels import Imported, Project
from faceqat.models.weights.torch_layers import State


class _Unit(NamedTuple):
  """The names of a layer's tensors; None for what it has not."""

  # None: a batch norm that stands alone.
  conv: str | None
  # None: the model's changes nothing.
  norm: str | None
  prelu: str | None = None


class _Network(NamedTuple):
  """Units by the model's layers; dense layers without norm, by theirs; and
  whose network it may be.
  """

  units: dict[str, _Unit]
  gates: dict[str, str]
  projects: tuple[Project, ...]


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
    path, lambda state: convert(state, given), 'improved residual network'
  )


def convert(state: State, given: Mapping[str, Any] | None = None) -> Imported:
  """Renames a state dictionary's tensors and brings them into our layout.

  Args:
    state: arrays by PyTorch's names, of any depth and embedding size. Where
      all names of the network stand behind one prefix, tensors without it are
      left out.
    given: fields of `pixels.Pixels` that are known of the network; the others
      are those of the project that has such names.

  Returns:
    float32 arrays by path in `iresnet.Model`'s variables. A batch norm that
    stands before a convolution has a kernel of ones.

  Raises:
    ValueError: lists the tensors that are missing and those that the network
      has no place for; or names one of a wrong shape; or lists the projects
      with such names, which saw different pixels.
  """
  state, network = _recognise(state)
  last = network.units['embedding'].norm
  torch_layers.check_names(state, _names(network), last)
  project = pixels.choose(network.projects, given)
  values = {}

  def add(layer: dict[str, np.ndarray]):
    # At once: an IR-50 in float64 is 350 MB.
    values.update({name: np.float32(array) for name, array in layer.items()})

  for layer, unit in network.units.items():
    if layer == 'embedding':
      size = values['norm/kernel'].size
      add(_dense(unit, state, size, project.epsilon))
    elif unit.conv is None:
      add(_norm(layer, unit.norm, state, project.epsilon))
    else:
      add(_convolution(layer, unit, state, project))
  for layer, name in network.gates.items():
    add({f'{layer}/kernel': _pointwise(f'{name}.weight', state)})
  return Imported(values, project)


def _recognise(state: State) -> tuple[dict[str, np.ndarray], _Network]:
  """The state without prefix, and the network that explains most of it."""
  candidates = []
  for first, naming in (
    ('input_layer.0.weight', _face_evolve),
    ('conv1.weight', _arcface_torch),
  ):
    for prefix in torch_layers.prefixes(state, first):
      inner = torch_layers.network_state(state, prefix)
      candidates.append((inner, naming(inner, set(prefix.split('.')))))
  return max(
    candidates,
    key=lambda candidate: len(candidate[0].keys() & _names(candidate[1])),
  )


def _face_evolve(state: State, before: set[str]) -> _Network:
  units = {
    'stem': _Unit('input_layer.0', 'input_layer.1', 'input_layer.2'),
  }
  gates = {}
  index = 0
  has_norm = 'body.0.res_layer.2.running_mean' in state
  gate_name = next(
    (
      part
      for part in ('5', 'se_block')
      if f'body.0.res_layer.{part}.fc1.weight' in state
    ),
    None,
  )
  # Without any unit the first one is missing.
  while index == 0 or f'body.{index}.res_layer.1.weight' in state:
    block, place = f'block_{index}', f'body.{index}'
    layer = f'{place}.res_layer'
    norm, prelu, conv, last = range(2, 6) if has_norm else (None, 2, 3, 4)
    units |= {
      f'{block}/norm': _Unit(None, f'{layer}.0'),
      f'{block}/conv_1': _Unit(
        f'{layer}.1', f'{layer}.{norm}' if norm else None, f'{layer}.{prelu}'
      ),
      f'{block}/conv_2': _Unit(f'{layer}.{conv}', f'{layer}.{last}'),
    }
    # It projects where the number of channels changes.
    shape = np.shape(state.get(f'{layer}.1.weight', ()))
    if shape[:1] != shape[1:2]:
      shortcut = f'{place}.shortcut_layer'
      units[f'{block}/shortcut'] = _Unit(f'{shortcut}.0', f'{shortcut}.1')
    if gate_name:
      gate = f'{block}/squeeze_excite'
      gates[f'{gate}/reduce'] = f'{layer}.{gate_name}.fc1'
      gates[f'{gate}/expand'] = f'{layer}.{gate_name}.fc2'
    index += 1
  units['norm'] = _Unit(None, 'output_layer.0')
  units['embedding'] = _Unit('output_layer.3', 'output_layer.4')
  if 'net' in before:
    whose = projects.CVLFACE
  elif has_norm and 'model' in before:
    whose = (projects.ADAFACE,)
  elif has_norm:
    whose = (projects.ADAFACE, projects.TFACE)
  elif 'backbone' in before:
    whose = (projects.FACEX_ZOO,)
  elif 'output_layer.4.weight' not in state:
    whose = (projects.CURRICULAR_FACE,)
  else:
    whose = (projects.FACE_EVOLVE, projects.INSIGHTFACE_PYTORCH)
  return _Network(units, gates, whose)


def _arcface_torch(state: State, before: set[str]) -> _Network:
  units = {'stem': _Unit('conv1', 'bn1', 'prelu')}
  index = 0
  for stage in range(1, 5):
    unit = 0
    while unit == 0 or f'layer{stage}.{unit}.conv1.weight' in state:
      block, place = f'block_{index}', f'layer{stage}.{unit}'
      units |= {
        f'{block}/norm': _Unit(None, f'{place}.bn1'),
        f'{block}/conv_1': _Unit(
          f'{place}.conv1', f'{place}.bn2', f'{place}.prelu'
        ),
        f'{block}/conv_2': _Unit(f'{place}.conv2', f'{place}.bn3'),
      }
      if unit == 0:
        shortcut = f'{place}.downsample'
        units[f'{block}/shortcut'] = _Unit(f'{shortcut}.0', f'{shortcut}.1')
      index, unit = index + 1, unit + 1
  units['norm'] = _Unit(None, 'bn2')
  units['embedding'] = _Unit('fc', 'features')
  if 'features' in before:
    whose = (projects.MAGFACE,)
  else:
    whose = projects.CVLFACE if 'net' in before else (projects.ARCFACE_TORCH,)
  return _Network(units, {}, whose)


def _names(network: _Network) -> set[str]:
  """The tensors that such a network has."""
  names = {f'{name}.weight' for name in network.gates.values()}
  names.add(f'{network.units["embedding"].conv}.bias')
  for unit in network.units.values():
    names |= {f'{name}.weight' for name in (unit.conv, unit.prelu) if name}
    if unit.norm:
      names |= torch_layers.batch_norm_names(unit.norm)
  return names


def _convolution(
  layer: str, unit: _Unit, state: State, project: Project
) -> dict[str, np.ndarray]:
  kernel, shift = torch_layers.kernel(f'{unit.conv}.weight', state), 0.0
  if layer == 'stem':
    kernel, shift = project.pixels.fold(kernel)
  channels = kernel.shape[-1]
  values = {f'{layer}/kernel': kernel}
  if unit.norm:
    values |= torch_layers.batch_norm(
      unit.norm, state, layer, channels, project.epsilon, shift
    )
  else:
    values |= torch_layers.no_batch_norm(layer, channels)
  if unit.prelu:
    values[f'{layer}_prelu/alpha'] = state[f'{unit.prelu}.weight']
  return values


def _norm(
  layer: str, norm: str, state: State, epsilon: float
) -> dict[str, np.ndarray]:
  """A batch norm before a convolution: a depthwise 1x1 one here."""
  channels = state[f'{norm}.running_mean'].size
  return {
    f'{layer}/kernel': np.ones((1, 1, 1, channels)),
    **torch_layers.batch_norm(norm, state, layer, channels, epsilon),
  }


def _pointwise(name: str, state: State) -> np.ndarray:
  """[O, I, 1, 1] to [I, O]."""
  kernel = torch_layers.kernel(name, state)
  if kernel.shape[:2] != (1, 1):
    raise torch_layers.wrong_shape(name, state[name], '[O, I, 1, 1]')
  return kernel[0, 0]


def _dense(
  unit: _Unit, state: State, channels: int, epsilon: float
) -> dict[str, np.ndarray]:
  """[O, C * H * W] to [H * W * C, O]; the image that is left is a square."""
  name = f'{unit.conv}.weight'
  kernel = state[name]
  inputs = kernel.shape[1] if kernel.ndim == 2 else 0
  side = math.isqrt(inputs // channels)
  if not inputs or side**2 * channels != inputs:
    raise torch_layers.wrong_shape(name, kernel, f'[O, {channels} * side^2]')
  size = kernel.shape[0]
  kernel = kernel.reshape(size, channels, side, side).transpose(2, 3, 1, 0)
  bias = np.float64(state[f'{unit.conv}.bias'])
  return {
    'embedding/kernel': kernel.reshape(-1, size),
    **torch_layers.batch_norm(
      unit.norm, state, 'embedding', size, epsilon, bias
    ),
  }
