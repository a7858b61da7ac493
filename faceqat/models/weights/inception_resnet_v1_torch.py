"""facenet-pytorch's InceptionResnetV1, as weights of `inception_resnet_v1`.

Its modules are the model's layers under other names: `repeat_1.0.branch1.1` is
`block35_1/branch_1/conv2d_0b_3x3`, `last_linear` with `last_bn` the embedding.
The classifier `logits`, which its published files have too, is left out.
"""

from collections.abc import Collection, Iterator

from faceqat.models import inception_resnet_v1
from faceqat.models.weights import projects
from faceqat.models.weights.torch_layers import DENSE, State, Unit
from faceqat.models.weights.torch_network import Named, TorchNetwork

STEM = (
  'conv2d_1a_3x3',
  'conv2d_2a_3x3',
  'conv2d_2b_3x3',
  'conv2d_3b_1x1',
  'conv2d_4a_3x3',
  'conv2d_4b_3x3',
)


def _facenet_pytorch(state: State, before: Collection[str]) -> Named:
  units = {layer: _unit(layer.rpartition('_')[0]) for layer in STEM}
  for number, stage in enumerate(inception_resnet_v1.STAGES, 1):
    name, _, branches, _, reduction = stage
    index = 0
    # Without any block the first one is missing.
    while not index or f'repeat_{number}.{index}.conv2d.weight' in state:
      units |= _block(
        f'{name}_{index + 1}', f'repeat_{number}.{index}', branches
      )
      index += 1
    if reduction:
      units |= _branches(reduction[0], reduction[0], reduction[1])
  units |= _block('block8', 'block8', inception_resnet_v1.BLOCK8)
  units['embedding'] = Unit('last_linear', 'last_bn', layout=DENSE)
  return Named(units, [projects.FACENET_PYTORCH])


def _unit(module: str) -> Unit:
  return Unit(f'{module}.conv', f'{module}.bn')


def _block(layer: str, module: str, branches) -> dict[str, Unit]:
  """Branches, and the convolution that is added to the block's input."""
  added = {f'{layer}/conv2d_1x1': Unit(f'{module}.conv2d', bias=True)}
  return dict(_branches(layer, module, branches)) | added


def _branches(layer: str, module: str, branches) -> Iterator[tuple[str, Unit]]:
  for number, convolutions in enumerate(branches):
    for index, (name, _) in enumerate(convolutions):
      # A branch of one convolution is that module itself.
      place = f'.{index}' if len(convolutions) > 1 else ''
      unit = _unit(f'{module}.branch{number}{place}')
      yield f'{layer}/branch_{number}/{name}', unit


NETWORK = TorchNetwork(
  'Inception-ResNet-v1',
  [('conv2d_1a.conv.weight', _facenet_pytorch)],
  head='logits',
)
