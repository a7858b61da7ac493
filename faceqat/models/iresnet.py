"""The improved residual network of ArcFace (Deng et al. 2019).

The first convolution keeps the image's size, units begin with a batch norm
(after Han et al. 2017, "Deep Pyramidal Residual Networks"), and the embedding
is a dense layer over all positions. The fields make the networks of:

* ZhaoJ9014/face.evoLVe, IR: `shortcut` 'subsample'; IR_SE: with
  `squeeze_excite`. It has no batch norm between a unit's first convolution and
  the PReLU.
* arcface_torch of deepinsight/insightface: `shortcut` 'projection'.
* dmonterom/face_recognition_TF2, "ResNet50": `depth` 50, 'projection',
  `dropout` 0.4. Its PReLUs have a slope for each element, ours one for each
  channel; its last batch norm has no gamma; and the one before its dense layer
  is not used.
"""

import functools

import flax.linen as nn

from faceqat.fields import check_value
from faceqat.models.backbone import Backbone, Conv
from faceqat.models.blocks import conv_unit, scale_depth
from faceqat.quant.layers import QuantDense
from faceqat.quant.pooling import MaxPool, MeanPool
from faceqat.quant.quant_layer import Value
from faceqat.quant.spec import Mode
from faceqat.quant.weightless import Add, Dropout, Flatten, Multiply, Sigmoid

# Units in each of the four stages; the first of a stage halves the image.
DEPTHS = {
  18: (2, 2, 2, 2),
  34: (3, 4, 6, 3),
  50: (3, 4, 14, 3),
  100: (3, 13, 30, 3),
}
CHANNELS = (64, 128, 256, 512)
# As PyTorch: both sides alike, also with stride 2.
PADDING = ((1, 1), (1, 1))
SHORTCUTS = ('subsample', 'projection')
# A gate's first dense layer divides the channels by this.
REDUCTION = 16


class SqueezeExcite(nn.Module):
  """A gate for each channel, from its mean (Hu et al. 2018).

  As in face.evoLVe: ReLU, and neither bias nor norm.
  """

  conv: Conv

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    settings = self.conv.keywords
    quant, channels = settings['quant'], x.shape[-1]
    dense = functools.partial(
      QuantDense, quant=quant, norm=None, dtype=settings['dtype']
    )
    y = MeanPool(quant=quant, name='squeeze')(x, mode)
    y = dense(name='reduce', features=channels // REDUCTION, activation='relu')(
      y, mode
    )
    y = dense(name='expand', features=channels)(y, mode)
    y = Sigmoid(quant=quant, name='gate')(y, mode)
    return Multiply(quant=quant, name='excite')(x, y, mode)


class ImprovedResidual(nn.Module):
  """BN, conv 3x3, BN, PReLU, conv 3x3, BN, and the input or its projection.

  The first batch norm cannot be folded into the convolution behind it, which
  pads with zeros. It stays a layer, a depthwise 1x1 convolution.

  Attributes:
    features: output channels.
    strides: of the second convolution, and of the shortcut.
    conv: makes the convolutions.
    squeeze_excite, shortcut: see `Model`.
  """

  features: int
  strides: int
  conv: Conv
  squeeze_excite: bool
  shortcut: str

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    strides = (self.strides, self.strides)
    y = self.conv(name='norm', kernel_size=(1, 1), depthwise=True)(x, mode)
    y = conv_unit(
      self.conv,
      y,
      mode,
      name='conv_1',
      features=self.features,
      padding=PADDING,
      activation='prelu',
    )
    y = self.conv(
      name='conv_2', features=self.features, strides=strides, padding=PADDING
    )(y, mode)
    if self.squeeze_excite:
      y = SqueezeExcite(self.conv, name='squeeze_excite')(y, mode)
    quant = self.conv.keywords['quant']
    halves = self.strides > 1
    if x.shape[-1] != self.features or (
      halves and self.shortcut == 'projection'
    ):
      x = self.conv(
        name='shortcut',
        features=self.features,
        kernel_size=(1, 1),
        strides=strides,
      )(x, mode)
    elif halves:
      x = MaxPool(
        quant=quant, window=(1, 1), strides=strides, name='subsample'
      )(x, mode)
    return Add(quant=quant, name='add')(x, y, mode)


class Model(Backbone):
  """The network with the paper's output: BN, dropout, dense layer, BN.

  Attributes:
    depth: in layers, one of `DEPTHS`.
    squeeze_excite: gates each unit's channels before the sum.
    shortcut: of a stage's first unit if the channels stay: 'subsample' takes
      every second row and column, 'projection' is a convolution, as where they
      change.
    dropout: the share of the dense layer's inputs that training drops; 0.4 in
      the paper.
  """

  depth: int
  squeeze_excite: bool
  shortcut: str
  dropout: float

  def body(self, x: Value, mode: Mode, conv: Conv) -> Value:
    """See `Backbone.body`.

    Raises:
      ValueError: there is no such depth or shortcut; it lists the known ones.
    """
    check_value('model.depth', self.depth, DEPTHS)
    check_value('model.shortcut', self.shortcut, SHORTCUTS)
    x = conv_unit(
      conv,
      x,
      mode,
      name='stem',
      features=CHANNELS[0],
      padding=PADDING,
      activation='prelu',
    )
    index = 0
    for units, features in zip(DEPTHS[self.depth], CHANNELS):
      for unit in range(scale_depth(units, self.depth_multiplier)):
        x = ImprovedResidual(
          features=features,
          strides=2 if unit == 0 else 1,
          conv=conv,
          squeeze_excite=self.squeeze_excite,
          shortcut=self.shortcut,
          name=f'block_{index}',
        )(x, mode)
        index += 1
    x = conv(name='norm', kernel_size=(1, 1), depthwise=True)(x, mode)
    dropout = Dropout(quant=self.quant, rate=self.dropout, name='dropout')
    return Flatten(quant=self.quant, name='flatten')(dropout(x, mode), mode)
