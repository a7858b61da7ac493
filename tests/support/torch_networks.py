"""Networks of PyTorch beside the models that take their weights."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
import torch_iresnet
import torch_mobilefacenet
from defaults import make_network

from faceqat.models.weights import (
  iresnet_torch,
  mobilefacenet_torch,
  torch_network,
)
from faceqat.models.weights.pixels import Pixels
from faceqat.models.weights.torch_network import TorchNetwork

# What the models see.
HOUSE = Pixels('RGB', (128,), (128,))
# Units, channels, the side that images of 32 leave, numbers, and what a gate
# divides the channels by: of `torch_iresnet`.
IRESNET = ((2, 1, 1, 1), (8, 8, 12, 16), 2, 24, 4)
# What `faceqat.models.iresnet` needs for such a one.
TINY = {
  'DEPTHS': {18: IRESNET[0]},
  'CHANNELS': IRESNET[1],
  'REDUCTION': IRESNET[4],
}


class Case(NamedTuple):
  """A naming of a network.

  Attributes:
    network: what reads it.
    model: what it is read into.
    size: height and width of its images.
    random_state: makes a state dictionary.
    make: makes the network in PyTorch.
    pixels: what it sees.
    stem: its first convolution and batch norm.
    rounding: of the float32 sums, as a share of the largest number.
    border: what half a level at the border makes of 1 - cosine.
  """

  network: TorchNetwork
  model: nn.Module
  size: tuple[int, int]
  random_state: Callable[[], dict[str, np.ndarray]]
  make: Callable[[], Any]
  pixels: Pixels
  stem: tuple[str, str]
  rounding: float
  border: float

  def convert(self, state=None, pixels=HOUSE) -> dict[str, np.ndarray]:
    """The values of a state, or of `random_state`."""
    state = self.random_state() if state is None else state
    return convert(self.network, state, pixels)


def convert(network, state, pixels=HOUSE) -> dict[str, np.ndarray]:
  given = dataclasses.asdict(pixels)
  return torch_network.convert_state(state, network, given).values


def _mobilefacenet(naming: str, pixels: Pixels) -> Case:
  # 5e-6 of the largest number, measured. Half a level at the border, which is
  # wide in so small an image, makes 1e-4 of the cosine.
  return Case(
    mobilefacenet_torch.NETWORK,
    make_network('mobilefacenet', embedding_size=24),
    (torch_mobilefacenet.HEIGHT, torch_mobilefacenet.WIDTH),
    functools.partial(torch_mobilefacenet.random_state, naming),
    functools.partial(torch_mobilefacenet.torch_network, naming),
    pixels,
    ('conv1.conv', 'conv1.bn'),
    rounding=5e-5,
    border=2e-4,
  )


def _iresnet(naming: str, stem: tuple[str, str], **fields) -> Case:
  # 1.7e-6 of the largest number, and 8e-6 of the cosine, measured.
  return Case(
    iresnet_torch.NETWORK,
    make_network('ir18', embedding_size=24, **fields),
    (32, 32),
    functools.partial(torch_iresnet.random_state, naming, *IRESNET),
    functools.partial(torch_iresnet.torch_network, naming, *IRESNET),
    Pixels('BGR', (127.5,), (127.5,)),
    stem,
    rounding=1e-5,
    border=3e-5,
  )


_FACE_EVOLVE = ('input_layer.0', 'input_layer.1')
CASES = {
  'insightface': _mobilefacenet(
    'insightface', Pixels('BGR', (127.5,), (127.5,))
  ),
  'output_layer': _mobilefacenet(
    'output_layer', Pixels('RGB', (127.5,), (127.5,))
  ),
  'xiaoccer': _mobilefacenet('xiaoccer', Pixels('RGB', (127.5,), (128,))),
  'face_evolve_ir': _iresnet('face_evolve_ir', _FACE_EVOLVE),
  'face_evolve_ir_se': _iresnet(
    'face_evolve_ir_se', _FACE_EVOLVE, squeeze_excite=True
  ),
  'arcface_torch': _iresnet(
    'arcface_torch', ('conv1', 'bn1'), shortcut='projection'
  ),
}


def seen(images: np.ndarray, pixels: Pixels) -> np.ndarray:
  """What a network is given of [..., 3] pixels of RGB; float64."""
  images = images[..., ::-1] if pixels.channels == 'BGR' else images
  return (np.float64(images) - pixels.mean) / pixels.scale


def settle(network, state, inputs):
  """The embeddings of a network in PyTorch, and its state.

  Args:
    network: in PyTorch.
    state: arrays for it; its batch norms get the statistics of the inputs, as
      noise would grow in those that are not of the network's own making.
    inputs: [B, H, W, 3], as it sees images.
  """
  import torch

  assert network.state_dict().keys() == state.keys()
  network.load_state_dict(
    {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
  )
  inputs = torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy()).float()
  with torch.no_grad():
    network.train()
    for layer in network.modules():
      if isinstance(layer, torch.nn.Dropout):
        layer.eval()
    for _ in range(3):
      network(inputs)
    embeddings = network.eval()(inputs).flatten(1).numpy()
  settled = {name: t.numpy() for name, t in network.state_dict().items()}
  return embeddings, settled


def check_equal(values, expected):
  assert values.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(values[name], value, err_msg=name)
