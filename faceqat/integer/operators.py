"""What an integer program is made of: quantized tensors and operators.

An operator is frozen data: it names its inputs, holds its integer weights and
knows its output's shape. What it computes is said in `evaluator`.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from faceqat.integer.tensors import (
  QParams,
  Tensor,
  check_integer,
  check_integers,
  check_scale,
)

Padding = tuple[tuple[int, int], tuple[int, int]]

# Inference runtimes fix the parameters of this operator's output.
L2_OUTPUT = QParams(scale=1 / 128, zero_point=0)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Operator:
  """One step of a program; `name` is also its output tensor's name."""

  name: str
  inputs: tuple[str, ...]

  ARRAYS: ClassVar[tuple[str, ...]] = ()
  INPUT_COUNT: ClassVar[int | None] = 1  # None: one or more.
  INPUT_RANK: ClassVar[int | None] = None  # None: (C,) or (H, W, C).
  SAME_QPARAMS: ClassVar[bool] = False

  def __post_init__(self):
    inputs = self.inputs
    if not isinstance(self.name, str) or not self.name:
      raise ValueError(f'An operator is named {self.name!r}; give it a name.')
    if not isinstance(inputs, (tuple, list)) or not inputs:
      self.fail(f'inputs are {inputs!r}; they must be tensor names')
    if not all(isinstance(name, str) for name in inputs):
      self.fail(f'inputs are {inputs!r}; they must be tensor names')
    if self.INPUT_COUNT not in (None, len(inputs)):
      self.fail(f'has {len(inputs)} inputs; it takes {self.INPUT_COUNT}')
    object.__setattr__(self, 'inputs', tuple(inputs))
    try:
      self._check_fields()
    except ValueError as error:
      if str(error).startswith('Operator '):
        raise
      self.fail(str(error).removesuffix('.'))

  def _check_fields(self):
    """Validates and normalises an operator's own fields."""

  @property
  def output(self) -> str:
    return self.name

  def fail(self, message: str):
    """Raises a ValueError that names this operator."""
    kind = type(self).__name__
    raise ValueError(f'Operator {self.name!r} ({kind}): {message}.')

  def output_shape(self, inputs: Sequence[Tensor]) -> tuple[int, ...]:
    """The shape that these inputs give; ValueError if they do not fit."""
    for tensor in inputs:
      if self.INPUT_RANK not in (None, len(tensor.shape)):
        wanted = '(H, W, C)' if self.INPUT_RANK == 3 else '(C,)'
        self.fail(
          f'input {tensor.name!r} has shape {tensor.shape}; it takes {wanted}'
        )
    return self._shape(inputs)

  def _shape(self, inputs: Sequence[Tensor]) -> tuple[int, ...]:
    return inputs[0].shape

  def check(self, inputs: Sequence[Tensor], output: Tensor):
    """Raises ValueError unless this operator can make `output` of `inputs`."""
    shape = self.output_shape(inputs)
    if shape != output.shape:
      self.fail(f'gives shape {shape}, but its tensor says {output.shape}')
    if self.SAME_QPARAMS:
      for tensor in inputs:
        if tensor.qparams != output.qparams:
          self.fail(
            f'input {tensor.name!r} has {tensor.qparams}, its output has '
            f'{output.qparams}; they must be equal'
          )

  def _set(self, **values):
    for name, value in values.items():
      object.__setattr__(self, name, value)

  def _check_array(self, name: str, dtype, ndim: int):
    value = getattr(self, name)
    if not isinstance(value, np.ndarray):
      self.fail(f'{name} is {type(value).__name__}; it must be a numpy array')
    if value.dtype != dtype or value.ndim != ndim or value.size == 0:
      self.fail(
        f'{name} is {value.dtype}{list(value.shape)}; it must be '
        f'{np.dtype(dtype)} with {ndim} dimensions'
      )


class _Weighted(Operator):
  """What Conv2D and Dense share: weights, scales, bias and clamp."""

  ARRAYS = ('weights', 'weight_scale', 'bias')

  def _check_weights(self, ndim: int):
    self._check_array('weights', np.int8, ndim)
    self._check_array('weight_scale', np.float32, 1)
    self._check_array('bias', np.int32, 1)
    bits = check_integer(self.weight_bits, 'weight_bits', 2, 8)
    limit = 2 ** (bits - 1) - 1
    if np.abs(self.weights.astype(np.int32)).max() > limit:
      self.fail(f'{bits}-bit weights must lie in [{-limit}, {limit}]')
    channels = self.weights.shape[-1]
    for name in ('weight_scale', 'bias'):
      if getattr(self, name).shape != (channels,):
        self.fail(
          f'{name} has shape {getattr(self, name).shape}; the weights '
          f'{self.weights.shape} ask for ({channels},)'
        )
    for channel, scale in enumerate(self.weight_scale):
      check_scale(scale, f'weight_scale[{channel}]')
    clamp = check_integers(self.clamp, 'clamp', -128, 127, 2)
    self._set(weight_bits=bits, clamp=clamp)

  def check(self, inputs, output):
    super().check(inputs, output)
    low, high = self.clamp
    if not output.qmin <= low <= high <= output.qmax:
      self.fail(
        f'clamp is {self.clamp}; it must lie in [{output.qmin}, {output.qmax}]'
      )


def _check_window(operator: Operator):
  """Normalises strides and padding of a convolution or pooling."""
  strides = check_integers(operator.strides, 'strides', 1, 2**16, 2)
  padding = operator.padding
  if not isinstance(padding, (tuple, list)) or len(padding) != 2:
    operator.fail(f'padding is {padding!r}; it must be ((t, b), (l, r))')
  padding = tuple(check_integers(p, 'padding', 0, 2**16, 2) for p in padding)
  operator._set(strides=strides, padding=padding)


def _window_shape(operator: Operator, shape, window) -> tuple[int, int]:
  """(H, W) after a window has moved over a padded input."""
  sizes = []
  for size, width, stride, (before, after) in zip(
    shape[:2], window, operator.strides, operator.padding
  ):
    if before >= width or after >= width:
      operator.fail(f'padding {operator.padding} reaches past window {window}')
    sizes.append((size + before + after - width) // stride + 1)
  if min(sizes) < 1:
    operator.fail(f'window {window} is larger than its padded input {shape}')
  return tuple(sizes)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Conv2D(_Weighted):
  """NHWC convolution, per-channel weight scales, padded with the zero point.

  Attributes:
    weights: int8 [kh, kw, I, O], depthwise [kh, kw, 1, C]; zero point 0.
    weight_scale: float32 [O].
    weight_bits: 2..8; weights lie in +-(2^(bits - 1) - 1).
    bias: int32 [O], in steps of `input scale * weight_scale`.
    strides: (vertical, horizontal).
    padding: ((top, bottom), (left, right)).
    depthwise: one kernel per channel.
    clamp: least and greatest output integer (the fused activation).
  """

  weights: np.ndarray
  weight_scale: np.ndarray
  weight_bits: int = 8
  bias: np.ndarray
  strides: tuple[int, int] = (1, 1)
  padding: Padding = ((0, 0), (0, 0))
  depthwise: bool = False
  clamp: tuple[int, int] = (-128, 127)

  INPUT_RANK = 3

  def _check_fields(self):
    self._check_weights(4)
    _check_window(self)
    if not isinstance(self.depthwise, bool):
      self.fail(f'depthwise is {self.depthwise!r}; it must be a bool')
    if self.depthwise and self.weights.shape[2] != 1:
      self.fail(
        f'depthwise weights are {self.weights.shape}; they must be '
        '[kh, kw, 1, C]'
      )

  def _shape(self, inputs):
    kh, kw, in_channels, out_channels = self.weights.shape
    wanted = out_channels if self.depthwise else in_channels
    if inputs[0].shape[2] != wanted:
      self.fail(
        f'input {inputs[0].name!r} has shape {inputs[0].shape}; the weights '
        f'{self.weights.shape} take {wanted} channels'
      )
    size = _window_shape(self, inputs[0].shape, (kh, kw))
    return (*size, out_channels)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Dense(_Weighted):
  """Matrix product, computed as a 1x1 convolution of a 1x1 image.

  Attributes:
    weights: int8 [I, O]. The others are those of `Conv2D`.
  """

  weights: np.ndarray
  weight_scale: np.ndarray
  weight_bits: int = 8
  bias: np.ndarray
  clamp: tuple[int, int] = (-128, 127)

  INPUT_RANK = 1

  def _check_fields(self):
    self._check_weights(2)

  def _shape(self, inputs):
    if inputs[0].shape != self.weights.shape[:1]:
      self.fail(
        f'input {inputs[0].name!r} has shape {inputs[0].shape}; the weights '
        f'{self.weights.shape} take ({self.weights.shape[0]},)'
      )
    return self.weights.shape[1:]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Add(Operator):
  """Sum of two tensors of one shape, each with its own scale."""

  INPUT_COUNT = 2

  def _shape(self, inputs):
    if inputs[0].shape != inputs[1].shape:
      self.fail(
        f'inputs have shapes {inputs[0].shape} and {inputs[1].shape}; they '
        'must be equal'
      )
    return inputs[0].shape


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Operator):
  """Joins channels; every input has the output's scale and zero point."""

  INPUT_COUNT = None
  SAME_QPARAMS = True

  def _shape(self, inputs):
    lead = inputs[0].shape[:-1]
    if any(tensor.shape[:-1] != lead for tensor in inputs):
      shapes = [tensor.shape for tensor in inputs]
      self.fail(f'inputs have shapes {shapes}; only channels may differ')
    return (*lead, sum(tensor.shape[-1] for tensor in inputs))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Requantize(Operator):
  """The same reals at another scale and zero point."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PReLU(Operator):
  """`x` where it is positive, `alpha * x` elsewhere.

  Attributes:
    alpha: int8 [C], zero point 0.
    alpha_scale: float32-representable real value of one step of alpha.
  """

  alpha: np.ndarray
  alpha_scale: float

  ARRAYS = ('alpha',)

  def _check_fields(self):
    self._check_array('alpha', np.int8, 1)
    scale = check_scale(self.alpha_scale, 'alpha_scale')
    self._set(alpha_scale=scale)

  def _shape(self, inputs):
    if inputs[0].shape[-1:] != self.alpha.shape:
      self.fail(
        f'input {inputs[0].name!r} has shape {inputs[0].shape}; alpha has '
        f'{self.alpha.shape}'
      )
    return inputs[0].shape


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Mean(Operator):
  """Average over height and width: (H, W, C) -> (C,)."""

  INPUT_RANK = 3

  def _shape(self, inputs):
    return inputs[0].shape[2:]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(Operator):
  """Greatest value in each window; padding never wins."""

  window: tuple[int, int]
  strides: tuple[int, int]
  padding: Padding = ((0, 0), (0, 0))

  INPUT_RANK = 3
  SAME_QPARAMS = True

  def _check_fields(self):
    self._set(window=check_integers(self.window, 'window', 1, 2**16, 2))
    _check_window(self)

  def _shape(self, inputs):
    size = _window_shape(self, inputs[0].shape, self.window)
    return (*size, inputs[0].shape[2])


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Clamp(Operator):
  """An activation that stands alone (ReLU, ReLU6): cuts at `limits`."""

  limits: tuple[int, int]

  SAME_QPARAMS = True

  def _check_fields(self):
    limits = check_integers(self.limits, 'limits', -128, 127, 2)
    if limits[0] > limits[1]:
      self.fail(f'limits are {limits}; the first must not be the greater')
    self._set(limits=limits)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Operator):
  """Flattens (H, W, C) to (H * W * C,), channels fastest."""

  SAME_QPARAMS = True

  def _shape(self, inputs):
    return (math.prod(inputs[0].shape),)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class L2Normalize(Operator):
  """Divides by the Euclidean norm; the output's scale is 1/128 at 0."""

  INPUT_RANK = 1

  def check(self, inputs, output):
    super().check(inputs, output)
    if output.qparams != L2_OUTPUT:
      self.fail(f'its output has {output.qparams}; it must have {L2_OUTPUT}')


OPERATORS = {
  kind.__name__: kind
  for kind in (
    Conv2D,
    Dense,
    Add,
    Concat,
    Requantize,
    PReLU,
    Mean,
    MaxPool,
    Clamp,
    Reshape,
    L2Normalize,
  )
}
