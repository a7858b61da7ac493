"""The operators with weights: convolutions and the matrix product."""

import numpy as np

from faceqat.integer.operator_base import Padding, Weighted, Windowed, frozen


@frozen
class Conv2D(Weighted, Windowed):
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

  @property
  def window(self) -> tuple[int, int]:
    return self.weights.shape[:2]

  @property
  def mixes_channels(self) -> bool:
    return not self.depthwise

  def _check_fields(self):
    self._check_weights(4)
    self._check_window()
    if not isinstance(self.depthwise, bool):
      self.fail(f'depthwise is {self.depthwise!r}; it must be a bool')
    if self.depthwise and self.weights.shape[2] != 1:
      self.fail(
        f'depthwise weights are {self.weights.shape}; they must be '
        '[kh, kw, 1, C]'
      )

  def _shape(self, inputs):
    *_, in_channels, out_channels = self.weights.shape
    wanted = out_channels if self.depthwise else in_channels
    if inputs[0].shape[2] != wanted:
      self.fail(
        f'input {inputs[0].name!r} has shape {inputs[0].shape}; the weights '
        f'{self.weights.shape} take {wanted} channels'
      )
    return (*self._window_shape(inputs[0]), out_channels)


@frozen
class Dense(Weighted):
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
