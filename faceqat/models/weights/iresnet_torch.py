"""PyTorch's improved residual networks, as weights of `iresnet`.

Three namings are in circulation:

* ZhaoJ9014/face.evoLVe, and TreB1eN/InsightFace_Pytorch before it: IR and
  IR_SE, `input_layer.0`, `body.0.res_layer.0` to `output_layer.4`; a gate is
  `res_layer.5.fc1` and `res_layer.5.fc2`. FaceX-Zoo and CurricularFace have
  them too. They have no batch norm between a unit's first convolution and the
  PReLU. The model's changes nothing as long as it keeps its moving statistics:
  train on with frozen batch norms (quant.freeze_bn_step 0).
* AdaFace, TFace and CVLface: the same with that norm, as `res_layer.2`; a gate
  is `res_layer.se_block`.
* arcface_torch of deepinsight/insightface, iresnet18 to iresnet100: `conv1`,
  `layer1.0.bn1` to `fc`, `features`; and MagFace. A stage's first unit always
  has a `downsample`, so the model's `shortcut` is 'projection'.

Two things differ from the model: the dense layer reads [C, H, W], the model's
[H, W, C]; and its bias is taken off the mean of the batch norm behind it.
"""

from collections.abc import Collection, Sequence

import numpy as np

from faceqat.models.weights import projects
from faceqat.models.weights.pixels import Project
from faceqat.models.weights.torch_layers import (
  DENSE,
  IDENTITY,
  POINTWISE,
  State,
  Unit,
)
from faceqat.models.weights.torch_network import Named, TorchNetwork


def _face_evolve(state: State, before: Collection[str]) -> Named:
  units = {'stem': Unit('input_layer.0', 'input_layer.1', 'input_layer.2')}
  has_norm = 'body.0.res_layer.2.running_mean' in state
  index = 0
  # Without any unit the first one is missing.
  while index == 0 or f'body.{index}.res_layer.1.weight' in state:
    block, place = f'block_{index}', f'body.{index}'
    layer = f'{place}.res_layer'
    norm, prelu, conv, last = (
      f'{layer}.{number}'
      for number in (range(2, 6) if has_norm else range(1, 5))
    )
    units |= {
      f'{block}/norm': Unit(None, f'{layer}.0'),
      f'{block}/conv_1': Unit(
        f'{layer}.1', norm if has_norm else IDENTITY, prelu
      ),
      f'{block}/conv_2': Unit(conv, last),
    }
    # It projects where the number of channels changes.
    shape = np.shape(state.get(f'{layer}.1.weight', ()))
    if shape[:1] != shape[1:2]:
      shortcut = f'{place}.shortcut_layer'
      units[f'{block}/shortcut'] = Unit(f'{shortcut}.0', f'{shortcut}.1')
    units |= _gate(f'{block}/squeeze_excite', layer, state)
    index += 1
  output = (f'output_layer.{place}' for place in (0, 3, 4))
  whose = _projects(state, before, has_norm)
  return Named(units | _output(*output, state), whose)


def _gate(layer: str, module: str, state: State) -> dict[str, Unit]:
  """All units have one if the first has."""
  for part in ('5', 'se_block'):
    if f'body.0.res_layer.{part}.fc1.weight' in state:
      return {
        f'{layer}/reduce': Unit(f'{module}.{part}.fc1', layout=POINTWISE),
        f'{layer}/expand': Unit(f'{module}.{part}.fc2', layout=POINTWISE),
      }
  return {}


def _projects(
  state: State, before: Collection[str], has_norm: bool
) -> Sequence[Project]:
  if 'net' in before:
    return projects.CVLFACE
  if has_norm and 'model' in before:
    return [projects.ADAFACE]
  if has_norm:
    return [projects.ADAFACE, projects.TFACE]
  if 'backbone' in before:
    return [projects.FACEX_ZOO]
  if 'output_layer.4.weight' not in state:
    return [projects.CURRICULAR_FACE]
  return [projects.FACE_EVOLVE, projects.INSIGHTFACE_PYTORCH]


def _arcface_torch(state: State, before: Collection[str]) -> Named:
  units = {'stem': Unit('conv1', 'bn1', 'prelu')}
  index = 0
  for stage in range(1, 5):
    unit = 0
    while unit == 0 or f'layer{stage}.{unit}.conv1.weight' in state:
      block, place = f'block_{index}', f'layer{stage}.{unit}'
      units |= {
        f'{block}/norm': Unit(None, f'{place}.bn1'),
        f'{block}/conv_1': Unit(
          f'{place}.conv1', f'{place}.bn2', f'{place}.prelu'
        ),
        f'{block}/conv_2': Unit(f'{place}.conv2', f'{place}.bn3'),
      }
      if unit == 0:
        shortcut = f'{place}.downsample'
        units[f'{block}/shortcut'] = Unit(f'{shortcut}.0', f'{shortcut}.1')
      index, unit = index + 1, unit + 1
  if 'features' in before:
    whose = [projects.MAGFACE]
  else:
    whose = projects.CVLFACE if 'net' in before else [projects.ARCFACE_TORCH]
  return Named(units | _output('bn2', 'fc', 'features', state), whose)


def _output(norm: str, dense: str, last: str, state: State) -> dict[str, Unit]:
  """The batch norm, the dense layer and the one behind that."""
  channels = np.size(state.get(f'{norm}.running_mean', 0))
  return {
    'norm': Unit(None, norm),
    'embedding': Unit(dense, last, bias=True, layout=DENSE, channels=channels),
  }


NETWORK = TorchNetwork(
  'improved residual network',
  [('input_layer.0.weight', _face_evolve), ('conv1.weight', _arcface_torch)],
)
