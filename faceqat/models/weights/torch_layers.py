"""Layers of networks in PyTorch: the names and layouts of their tensors."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from faceqat.models.weights.assign import EPSILON, at_epsilon, listed
from faceqat.models.weights.pixels import Project

State = Mapping[str, np.ndarray]

# Layouts of a kernel in PyTorch. A grouped convolution has I = 1.
CONV = '[O, I, kh, kw]'
DENSE = '[O, I]'
POINTWISE = '[O, I, 1, 1]'
DENSE_OR_POINTWISE = f'{DENSE} or {POINTWISE}'
# `Unit.norm` where only the model has a batch norm.
IDENTITY = ''


class Unit(NamedTuple):
  """The modules in PyTorch that make up one layer of the model.

  Attributes:
    conv: a convolution or a dense layer; None: the batch norm stands alone,
      which in the model is a depthwise 1x1 convolution.
    norm: the batch norm behind it; `IDENTITY`: one that changes nothing stands
      in for it; None: the model has none either.
    prelu: the activation behind that, or None.
    bias: whether `conv` has a bias.
    layout: of the weight of `conv`.
    channels: C of the square image that a dense layer reads as [C, H, W]; 0:
      it reads no image.
  """

  conv: str | None
  norm: str | None = None
  prelu: str | None = None
  bias: bool = False
  layout: str = CONV
  channels: int = 0

  def tensors(self) -> set[str]:
    """The names of all its tensors."""
    names = {f'{module}.weight' for module in (self.conv, self.prelu) if module}
    if self.bias:
      names.add(f'{self.conv}.bias')
    if self.norm:
      parts = ('weight', 'bias', 'running_mean', 'running_var')
      names |= {f'{self.norm}.{part}' for part in parts}
    return names


def convert_unit(
  unit: Unit, state: State, project: Project, sees_pixels: bool
) -> dict[str, np.ndarray]:
  """A layer's arrays by their names in the model.

  Args:
    unit: the layer.
    state: arrays by PyTorch's names.
    project: whose network it is.
    sees_pixels: whether it is the first layer, into which the pixels of the
      project are folded.

  Raises:
    ValueError: a tensor has a wrong shape, or a variance is negative or NaN.
  """
  shift = 0.0
  if unit.conv:
    kernel = _kernel(unit, state)
  else:
    kernel = np.ones((1, 1, 1, state[f'{unit.norm}.running_mean'].size))
  if sees_pixels:
    kernel, shift = project.pixels.fold(kernel)
  values = {'kernel': kernel}
  if unit.bias:
    bias = state[f'{unit.conv}.bias']
    if unit.norm is None:
      values['bias'] = bias
    else:
      shift = shift + np.float64(bias)
  if unit.norm is not None:
    norm = _batch_norm(unit.norm, state, kernel.shape[-1], project.epsilon)
    norm['mean'] = norm['mean'] - shift
    values |= {f'bn/{name}': array for name, array in norm.items()}
  return values


def _kernel(unit: Unit, state: State) -> np.ndarray:
  """float64 [kh, kw, I, O] of a convolution, else [I, O]."""
  name, layout = f'{unit.conv}.weight', unit.layout
  array = np.float64(state[name])
  if unit.channels:
    # The model reads an image as [H, W, C].
    layout = f'[O, {unit.channels} * side^2]'
    inputs = array.shape[1] if array.ndim == 2 else 0
    side = math.isqrt(inputs // unit.channels)
    if side and side**2 * unit.channels == inputs:
      image = array.reshape(-1, unit.channels, side, side)
      return image.transpose(2, 3, 1, 0).reshape(-1, len(array))
  elif layout == CONV and array.ndim == 4:
    return array.transpose(2, 3, 1, 0)
  elif POINTWISE in layout and array.ndim == 4 and array.shape[2:] == (1, 1):
    return array[:, :, 0, 0].T
  elif layout.startswith(DENSE) and array.ndim == 2:
    return array.T
  raise ValueError(f'{name} has the shape {list(array.shape)}, wanted {layout}')


def _batch_norm(
  name: str, state: State, channels: int, epsilon: float
) -> dict[str, np.ndarray]:
  """The model's `scale`, `bias`, `mean` and `var`, [C] each.

  A norm without gamma and beta (`affine=False`) has ones and zeros.
  """
  ones, zeros = np.ones(channels), np.zeros(channels)
  if name == IDENTITY:
    gamma, beta, mean, var, epsilon = ones, zeros, zeros, ones, 0.0
  else:
    gamma = state.get(f'{name}.weight', ones)
    beta = state.get(f'{name}.bias', zeros)
    mean, var = state[f'{name}.running_mean'], state[f'{name}.running_var']
  shapes = {np.shape(array) for array in (gamma, beta, mean, var)}
  if shapes != {(channels,)}:
    raise ValueError(
      f'the tensors of {name} have the shapes {listed(map(str, shapes))}, '
      f'wanted {(channels,)}'
    )
  if not (var >= 0).all():
    raise ValueError(f'{name}.running_var has negative or no numbers')
  scale = at_epsilon(gamma, var, epsilon, EPSILON)
  return {'scale': scale, 'bias': beta, 'mean': mean, 'var': var}
