"""MobileNetV2 as a face-embedding network (Sandler et al. 2018, table 2)."""

from faceqat.models.backbone import Backbone, Conv
from faceqat.models.blocks import (
  InvertedResidual,
  conv_unit,
  round_channels,
  scale_depth,
)
from faceqat.quant.pooling import MeanPool
from faceqat.quant.quant_layer import Value
from faceqat.quant.spec import Mode

# Expansion t, channels c, repeats n, first stride s.
STAGES = (
  (1, 16, 1, 1),
  (6, 24, 2, 2),
  (6, 32, 3, 2),
  (6, 64, 4, 2),
  (6, 96, 3, 1),
  (6, 160, 3, 2),
  (6, 320, 1, 1),
)


class Model(Backbone):
  """MobileNetV2 with ReLU6 and a linear embedding in place of the classifier.

  Attributes:
    width: multiplies the channels; the last convolution never has fewer than
      1280.
  """

  width: float

  def body(self, x: Value, mode: Mode, conv: Conv) -> Value:
    channels = round_channels(32 * self.width)
    x = conv_unit(
      conv,
      x,
      mode,
      name='stem',
      features=channels,
      strides=(2, 2),
      activation='relu6',
    )
    index = 0
    for expansion, stage_channels, repeats, stride in STAGES:
      for repeat in range(scale_depth(repeats, self.depth_multiplier)):
        features = round_channels(stage_channels * self.width)
        x = InvertedResidual(
          features=features,
          expanded=channels * expansion,
          strides=stride if repeat == 0 else 1,
          activation='relu6',
          conv=conv,
          always_expand=False,
          name=f'block_{index}',
        )(x, mode)
        channels = features
        index += 1
    x = conv_unit(
      conv,
      x,
      mode,
      name='last',
      features=round_channels(1280 * max(1.0, self.width)),
      kernel_size=(1, 1),
      activation='relu6',
    )
    return MeanPool(quant=self.quant, name='pool')(x, mode)
