"""The improved residual network of ArcFace (Deng et al. 2019).

Its first convolution keeps the image's size, its units begin with a batch norm
(after Han et al. 2017, "Deep Pyramidal Residual Networks"), and its embedding
is a dense layer over all positions.

Whose network it is, by the fields:

* ZhaoJ9014/face.evoLVe's IR: `shortcut` 'subsample'. It has no batch norm
  between a unit's first convolution and the PReLU. With `squeeze_excite` its
  IR_SE.
* arcface_torch of deepinsight/insightface: `shortcut` 'projection'.
* "ResNet50" of dmonterom/face_recognition_TF2: `depth` 50, 'projection',
  `dropout` 0.4. Its PReLUs have a slope for each element, ours one for each
  channel; its last batch norm has no gamma; and the one before its dense layer
  is made, but not used.
"""

import functools

import flax.linen as nn

from faceqat.models.backbone import Backbone
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
# PyTorch's: both sides alike, also where the stride is 2.
PADDING = ((1, 1), (1, 1))
SHORTCUTS = ('subsample', 'projection')
# Of the channels, between the two dense layers of a gate.
REDUCTION = 16


class SqueezeExcite(nn.Module):
  """A gate for each channel, from its mean (Hu et al. 2018).

  As face.evoLVe has it: neither bias nor norm, and ReLU.

  Attributes:
    conv: `QuantConv` with the model's settings bound, for these settings.
  """

  conv: functools.partial

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

  The convolution after the first batch norm pads with zeros, which the norm
  would have moved: folded into that convolution it would be another function
  at the border. It stays a layer, a depthwise 1x1 convolution.

  Attributes:
    features: output channels.
    strides: of the second convolution, and of the shortcut.
    conv: `QuantConv` with the model's settings bound.
    squeeze_excite, shortcut: see `Model`.
  """

  features: int
  strides: int
  conv: functools.partial
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
    depth: 18, 34, 50 or 100, as the field counts layers.
    squeeze_excite: gates each unit's channels before the sum.
    shortcut: of a stage's first unit where the channels stay: 'subsample' is
      every second row and column of its input, 'projection' a convolution as
      where they change.
    dropout: the share of its inputs that the dense layer does without in
      training; 0.4 in the paper.
  """

  depth: int
  squeeze_excite: bool
  shortcut: str
  dropout: float

  def body(self, x: Value, mode: Mode, conv: functools.partial) -> Value:
    """See `Backbone.body`.

    Raises:
      ValueError: there is no such depth or shortcut; it lists those that there
        are.
    """
    if self.depth not in DEPTHS:
      raise ValueError(
        f'model.depth is {self.depth!r}; choose one of '
        f'{", ".join(map(str, sorted(DEPTHS)))}'
      )
    if self.shortcut not in SHORTCUTS:
      raise ValueError(
        f'model.shortcut is {self.shortcut!r}; choose one of '
        f'{", ".join(SHORTCUTS)}'
      )
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
