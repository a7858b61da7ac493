"""MobileFaceNet (Chen et al. 2018, table 1), PReLU throughout."""

import functools

from faceqat.fields import check_value
from faceqat.models.backbone import Backbone, Conv
from faceqat.models.blocks import (
  InvertedResidual,
  conv_unit,
  convolution_input,
  round_channels,
  scale_depth,
)
from faceqat.quant.quant_layer import Value
from faceqat.quant.spec import Mode
from faceqat.quant.weightless import Flatten

# Expansion t, channels c, repeats n, first stride s.
STAGES = (
  (2, 64, 5, 2),
  (4, 128, 1, 2),
  (2, 128, 6, 1),
  (4, 128, 1, 2),
  (2, 128, 2, 1),
)
# The original pads both sides alike, also with stride 2.
PADDING = ((1, 1), (1, 1))


class Model(Backbone):
  """MobileFaceNet; its global depthwise convolution keeps what a mean loses.

  In the paper the embedding has 128 numbers.

  Attributes:
    inner_width: of the channels inside of the blocks, between expansion and
      projection, and of the last convolution; the residual path keeps its own.
  """

  inner_width: float

  def _inner(self, channels: int) -> int:
    check_value('model.inner_width', self.inner_width, '(0, 1]')
    return round_channels(channels * self.inner_width)

  def body(self, x: Value, mode: Mode, conv: Conv) -> Value:
    unit = functools.partial(conv_unit, conv, mode=mode, activation='prelu')
    x = unit(x, name='stem', features=64, strides=(2, 2), padding=PADDING)
    x = unit(
      x, name='stem_depthwise', features=64, padding=PADDING, depthwise=True
    )
    index = 0
    for expansion, features, repeats, stride in STAGES:
      for repeat in range(scale_depth(repeats, self.depth_multiplier)):
        x = InvertedResidual(
          features=features,
          expanded=self._inner(x.shape[-1] * expansion),
          strides=stride if repeat == 0 else 1,
          activation='prelu',
          padding=PADDING,
          conv=conv,
          name=f'block_{index}',
        )(x, mode)
        index += 1
    x = convolution_input(conv, x, mode, path=('last_input',))
    features = self._inner(512)
    x = unit(x, name='last', features=features, kernel_size=(1, 1))
    x = conv(
      name='global_depthwise',
      features=features,
      kernel_size=tuple(x.shape[1:3]),
      padding='VALID',
      depthwise=True,
    )(x, mode)
    return Flatten(quant=self.quant, name='flatten')(x, mode)
