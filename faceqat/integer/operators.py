"""The operators of an integer program.

An operator is frozen data: it names its inputs, holds its integer weights and
knows its output's shape. What it computes is said in `kernels` and `xnnpack`.
"""

import dataclasses
import math

import numpy as np

from faceqat.integer.operator import (
  Operator,
  Padding,
  check_window,
  window_shape,
)
from faceqat.integer.tensors import (
  QParams,
  check_integer,
  check_integers,
  check_scale,
)

# Inference runtimes fix the parameters of these operators' outputs.
L2_OUTPUT = QParams(scale=1 / 128, zero_point=0)
LOGISTIC_OUTPUT = QParams(scale=1 / 256, zero_point=-128)


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
    check_window(self)
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
    size = window_shape(self, inputs[0].shape, (kh, kw))
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
class Mul(Operator):
  """Product of two tensors, each with its own scale.

  The second has the first's shape, or is (C,) beside (H, W, C): a gate per
  channel, as in squeeze-and-excitation.
  """

  INPUT_COUNT = 2

  def _shape(self, inputs):
    first, second = (tensor.shape for tensor in inputs)
    if second not in (first, first[-1:]):
      self.fail(
        f'inputs have shapes {first} and {second}; the second must be {first} '
        f'or {first[-1:]}'
      )
    return first


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
class _Pool(Operator):
  """What moves a window and keeps scale and zero point."""

  window: tuple[int, int]
  strides: tuple[int, int]
  padding: Padding = ((0, 0), (0, 0))

  INPUT_RANK = 3
  SAME_QPARAMS = True

  def _check_fields(self):
    self._set(window=check_integers(self.window, 'window', 1, 2**16, 2))
    check_window(self)

  def _shape(self, inputs):
    size = window_shape(self, inputs[0].shape, self.window)
    return (*size, inputs[0].shape[2])


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(_Pool):
  """Greatest value in each window; padding never wins."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AveragePool(_Pool):
  """Average over each window; padding does not count."""

  def window_counts(self, shape: tuple[int, int, int]) -> np.ndarray:
    """How many elements of an (H, W, C) image each window meets, [H', W']."""
    image = np.pad(np.ones(shape[:2], np.int32), self.padding)
    windows = np.lib.stride_tricks.sliding_window_view(image, self.window)
    rows, columns = self.strides
    return windows[::rows, ::columns].sum((2, 3), dtype=np.int32)


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
class Logistic(Operator):
  """1 / (1 + exp(-x)); the output's scale is 1/256 at -128."""

  def check(self, inputs, output):
    super().check(inputs, output)
    if output.qparams != LOGISTIC_OUTPUT:
      self.fail(
        f'its output has {output.qparams}; it must have {LOGISTIC_OUTPUT}'
      )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SquareRoot(Operator):
  """The square root, at the output's scale; of what is below zero, zero."""


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
    Mul,
    Concat,
    Requantize,
    PReLU,
    Logistic,
    SquareRoot,
    Mean,
    MaxPool,
    AveragePool,
    Clamp,
    Reshape,
    L2Normalize,
  )
}
