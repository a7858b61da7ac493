"""MobileNetV1 with PReLU as a face-embedding network (Howard et al. 2017).

As InsightFace trained it and OpenCV's SFace has it (Zhong et al. 2021): the
first convolution keeps the image's size, every convolution is followed by a
batch norm and a PReLU, and the embedding is a dense layer over all positions.
SFace's batch norm before the dense layer is a factor of its weights here.
"""

import functools

from faceqat.models.backbone import Backbone, Conv
from faceqat.models.blocks import conv_unit, round_channels, scale_depth
from faceqat.quant.quant_layer import Value
from faceqat.quant.spec import Mode
from faceqat.quant.weightless import Dropout, Flatten

# Channels c, repeats n, first stride s, of a depthwise 3x3 and a 1x1.
STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
# The original pads both sides alike, also where the stride is 2.
PADDING = ((1, 1), (1, 1))


class Model(Backbone):
  """MobileNetV1; in the published SFace the embedding has 128 numbers.

  Attributes:
    width: multiplies the channels.
    dropout: the share of its inputs that the dense layer does without in
      training.
  """

  width: float
  dropout: float

  def body(self, x: Value, mode: Mode, conv: Conv) -> Value:
    unit = functools.partial(conv_unit, conv, mode=mode, activation='prelu')
    channels = round_channels(32 * self.width)
    x = unit(x, name='stem', features=channels, padding=PADDING)
    index = 0
    for features, repeats, stride in STAGES:
      for repeat in range(scale_depth(repeats, self.depth_multiplier)):
        strides = stride if repeat == 0 else 1
        x = unit(
          x,
          name=f'depthwise_{index}',
          features=channels,
          strides=(strides, strides),
          padding=PADDING,
          depthwise=True,
        )
        channels = round_channels(features * self.width)
        x = unit(
          x, name=f'pointwise_{index}', features=channels, kernel_size=(1, 1)
        )
        index += 1
    dropout = Dropout(quant=self.quant, rate=self.dropout, name='dropout')
    return Flatten(quant=self.quant, name='flatten')(dropout(x, mode), mode)
