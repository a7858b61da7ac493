"""PyTorch's MobileFaceNets, as weights of `mobilefacenet`.

Three namings are in circulation:

* TreB1eN/InsightFace_Pytorch, and after it face.evoLVe and FaceX-Zoo: `conv1`,
  `conv2_dw`, `conv_23`, `conv_3.model.0` to `conv_6_sep`, `conv_6_dw`,
  `linear`, `bn`.
* QuantFace: the same, with the last three behind `output_layer.`.
* Xiaoccer/MobileFaceNet_Pytorch: `conv1`, `dw_conv1`, `blocks.0.conv.0` to
  `conv2`, `linear7`, `linear1`. Its images are 112 high and 96 wide.
"""

from collections.abc import Collection

from faceqat.models.weights import projects
from faceqat.models.weights.torch_layers import DENSE_OR_POINTWISE, State, Unit
from faceqat.models.weights.torch_network import Named, TorchNetwork

_BLOCKS = (
  'conv_23',
  *(f'conv_3.model.{index}' for index in range(4)),
  'conv_34',
  *(f'conv_4.model.{index}' for index in range(6)),
  'conv_45',
  *(f'conv_5.model.{index}' for index in range(2)),
)


def _unit(name: str, prelu: bool = True) -> Unit:
  return Unit(f'{name}.conv', f'{name}.bn', f'{name}.prelu' if prelu else None)


def _insightface_units(head: str = '') -> dict[str, Unit]:
  units = {'stem': _unit('conv1'), 'stem_depthwise': _unit('conv2_dw')}
  for index, block in enumerate(_BLOCKS):
    units |= {
      f'block_{index}/expand': _unit(f'{block}.conv'),
      f'block_{index}/depthwise': _unit(f'{block}.conv_dw'),
      f'block_{index}/project': _unit(f'{block}.project', prelu=False),
    }
  return {
    **units,
    'last': _unit('conv_6_sep'),
    'global_depthwise': _unit(f'{head}conv_6_dw', prelu=False),
    'embedding': Unit(f'{head}linear', f'{head}bn', layout=DENSE_OR_POINTWISE),
  }


def _insightface_pytorch(state: State, before: Collection[str]) -> Named:
  # FaceX-Zoo keeps the network there, beside its head.
  if 'backbone' in before:
    return Named(_insightface_units(), [projects.FACEX_ZOO])
  both = [projects.INSIGHTFACE_PYTORCH, projects.FACE_EVOLVE]
  return Named(_insightface_units(), both)


def _quantface(state: State, before: Collection[str]) -> Named:
  return Named(_insightface_units('output_layer.'), [projects.QUANTFACE])


def _mobilefacenet_pytorch(state: State, before: Collection[str]) -> Named:
  units = {'stem': _unit('conv1'), 'stem_depthwise': _unit('dw_conv1')}
  for index in range(len(_BLOCKS)):
    names = [f'blocks.{index}.conv.{place}' for place in range(8)]
    units |= {
      f'block_{index}/expand': Unit(*names[:3]),
      f'block_{index}/depthwise': Unit(*names[3:6]),
      f'block_{index}/project': Unit(*names[6:]),
    }
  units |= {
    'last': _unit('conv2'),
    'global_depthwise': _unit('linear7', prelu=False),
    'embedding': Unit('linear1.conv', 'linear1.bn', layout=DENSE_OR_POINTWISE),
  }
  return Named(units, [projects.MOBILEFACENET_PYTORCH])


NETWORK = TorchNetwork(
  'MobileFaceNet',
  [
    ('conv1.conv.weight', naming)
    for naming in (_insightface_pytorch, _quantface, _mobilefacenet_pytorch)
  ],
)
