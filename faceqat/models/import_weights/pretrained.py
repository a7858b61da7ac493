"""Starts a model from the weights of another project."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from faceqat.models.import_weights import (
  iresnet_torch,
  mobilefacenet_torch,
  mobilefacenet_y1,
)
from faceqat.models.import_weights.assign import assign
from faceqat.quant.norm import BatchNorm

_PYTORCH = ('.pth', '.pt', '.ckpt', '.onnx')
# (model, suffix of the file): what reads it as arrays by the model's paths.
_READERS = {
  ('mobilefacenet', '.params'): mobilefacenet_y1.read,
  **{('mobilefacenet', ends): mobilefacenet_torch.read for ends in _PYTORCH},
  **{('iresnet', ends): iresnet_torch.read for ends in _PYTORCH},
}


def load_pretrained(
  path: str | os.PathLike, model: nn.Module, variables: Mapping[str, Any]
) -> dict[str, Any]:
  """Reads a weight file into a model's variables.

  Args:
    path: `.params` of MXNet, with its `-symbol.json` beside it; `.pth`, `.pt`
      or `.ckpt` of PyTorch; or `.onnx`, exported from PyTorch with its names.
    model: whose module's name says which network the file has to be of.
    variables: of `model.init`, for images of the size that the weights are
      for.

  Returns:
    New variables: `params` and `batch_stats` are the file's, others stay.

  Raises:
    ValueError: nothing reads such a file for such a model, it is damaged, or
      it does not fit; both sides are listed. Or the model's norm is not batch
      norm with the default epsilon, to which all gammas are brought.
  """
  name = type(model).__module__.rpartition('.')[2]
  suffix = pathlib.Path(path).suffix
  if (name, suffix) not in _READERS:
    known = ', '.join(f'{ends} for {model}' for model, ends in sorted(_READERS))
    raise ValueError(
      f'{os.fspath(path)} cannot be read for the model {name}: weights are '
      f'{known}'
    )
  norm = model.norm
  if type(norm) is not BatchNorm or norm.epsilon != BatchNorm.epsilon:
    raise ValueError(
      f'{os.fspath(path)} cannot be read for a model with {norm}: set '
      f"model.norm to the name 'batch' with epsilon {BatchNorm.epsilon}, to "
      'which the weights are brought'
    )
  values = _READERS[name, suffix](path)
  return assign(variables, values, os.fspath(path))
