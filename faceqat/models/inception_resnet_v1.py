"""Inception-ResNet-v1 as the facenet project trains it on faces.

After Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the Impact of
Residual Connections on Learning", figures 10 to 15, with that project's scales
of the residuals, its last block and its dense layer. Layers have its names in
lower case, `Mixed_6a/Branch_0/Conv2d_1a_3x3` for one; its `Bottleneck` is the
`embedding`.
"""

import functools

import flax.linen as nn

from faceqat.models.backbone import Backbone
from faceqat.models.blocks import scale_depth
from faceqat.quant.pooling import MaxPool, MeanPool
from faceqat.quant.quant_layer import Value
from faceqat.quant.spec import Mode
from faceqat.quant.weightless import Add, Concat, Dropout

# A branch is a list of convolutions: name, channels, kernel.
Convolution = tuple[str, int, tuple[int, int]]

BLOCK35 = (
  (('conv2d_1x1', 32, (1, 1)),),
  (('conv2d_0a_1x1', 32, (1, 1)), ('conv2d_0b_3x3', 32, (3, 3))),
  (
    ('conv2d_0a_1x1', 32, (1, 1)),
    ('conv2d_0b_3x3', 32, (3, 3)),
    ('conv2d_0c_3x3', 32, (3, 3)),
  ),
)
BLOCK17 = (
  (('conv2d_1x1', 128, (1, 1)),),
  (
    ('conv2d_0a_1x1', 128, (1, 1)),
    ('conv2d_0b_1x7', 128, (1, 7)),
    ('conv2d_0c_7x1', 128, (7, 1)),
  ),
)
BLOCK8 = (
  (('conv2d_1x1', 192, (1, 1)),),
  (
    ('conv2d_0a_1x1', 192, (1, 1)),
    ('conv2d_0b_1x3', 192, (1, 3)),
    ('conv2d_0c_3x1', 192, (3, 1)),
  ),
)
# The last of a branch halves the image.
MIXED_6A = (
  (('conv2d_1a_3x3', 384, (3, 3)),),
  (
    ('conv2d_0a_1x1', 192, (1, 1)),
    ('conv2d_0b_3x3', 192, (3, 3)),
    ('conv2d_1a_3x3', 256, (3, 3)),
  ),
)
MIXED_7A = (
  (('conv2d_0a_1x1', 256, (1, 1)), ('conv2d_1a_3x3', 384, (3, 3))),
  (('conv2d_0a_1x1', 256, (1, 1)), ('conv2d_1a_3x3', 256, (3, 3))),
  (
    ('conv2d_0a_1x1', 256, (1, 1)),
    ('conv2d_0b_3x3', 256, (3, 3)),
    ('conv2d_1a_3x3', 256, (3, 3)),
  ),
)
# Name, blocks, branches of each, scale of its residual, and the reduction that
# follows.
STAGES = (
  ('block35', 5, BLOCK35, 0.17, ('mixed_6a', MIXED_6A)),
  ('block17', 10, BLOCK17, 0.10, ('mixed_7a', MIXED_7A)),
  ('block8', 5, BLOCK8, 0.20, None),
)
# One row and column less, and an unpadded convolution has nothing to read.
LEAST_SIZE = 75


class Branch(nn.Module):
  """Convolutions one after another, each with a ReLU.

  Attributes:
    convolutions: their names, channels and kernels.
    strides: of the last, which is not padded where they are more than 1.
    conv: `QuantConv` with the model's settings bound.
  """

  convolutions: tuple[Convolution, ...]
  strides: int
  conv: functools.partial

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    for index, (name, features, kernel) in enumerate(self.convolutions, 1):
      last = index == len(self.convolutions)
      strides = self.strides if last else 1
      x = self.conv(
        name=name,
        features=features,
        kernel_size=kernel,
        strides=(strides, strides),
        padding='SAME' if strides == 1 else 'VALID',
        activation='relu',
      )(x, mode)
    return x


class InceptionResidual(nn.Module):
  """Branches joined, brought to the input's channels, scaled and added.

  The scale is a part of the kernel and the bias of that 1x1 convolution, as
  the device has them.

  Attributes:
    branches: the convolutions of each.
    scale: of what is added to the input.
    activation: of the sum.
    conv: `QuantConv` with the model's settings bound.
  """

  branches: tuple[tuple[Convolution, ...], ...]
  scale: float
  activation: str | None
  conv: functools.partial

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    quant = self.conv.keywords['quant']
    outputs = [
      Branch(convolutions, 1, self.conv, name=f'branch_{index}')(x, mode)
      for index, convolutions in enumerate(self.branches)
    ]
    y = Concat(quant=quant, name='concat')(outputs, mode)
    y = self.conv(
      name='conv2d_1x1',
      features=x.shape[-1],
      kernel_size=(1, 1),
      norm=None,
      use_bias=True,
      output_scale=self.scale,
    )(y, mode)
    return Add(quant=quant, activation=self.activation, name='add')(x, y, mode)


class Reduction(nn.Module):
  """Branches and a maximum, each of which halves the image, joined.

  Attributes:
    branches: the convolutions of each.
    conv: `QuantConv` with the model's settings bound.
  """

  branches: tuple[tuple[Convolution, ...], ...]
  conv: functools.partial

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    outputs = [
      Branch(convolutions, 2, self.conv, name=f'branch_{index}')(x, mode)
      for index, convolutions in enumerate(self.branches)
    ]
    quant = self.conv.keywords['quant']
    pool = MaxPool(
      quant=quant, window=(3, 3), padding='VALID', name='maxpool_1a_3x3'
    )
    outputs.append(pool(x, mode))
    return Concat(quant=quant, name='concat')(outputs, mode)


class Model(Backbone):
  """Inception-ResNet-v1 for faces of 160x160, and of 75x75 or more.

  What differs from facenet: batch norms have a scale, as those of its PyTorch
  port (facenet-pytorch) do; pixels are read as (pixel - 128) / 128; kernels
  begin as He et al. 2015 draw them; the embedding is not normalised here.

  The embedding has 128 numbers in facenet, and 512 in its later networks. The
  last block, without an activation, is there whatever `depth_multiplier` is.
  The convolutions that are added to a block's input have a bias and no norm.

  Attributes:
    dropout: part of the mean over the image that is dropped in training.
  """

  dropout: float

  def body(self, x: Value, mode: Mode, conv: functools.partial) -> Value:
    """See `Backbone.body`.

    Raises:
      ValueError: the images are smaller than 75x75.
    """
    height, width = x.shape[1:3]
    if min(height, width) < LEAST_SIZE:
      raise ValueError(
        f'images are {height}x{width}, but inception_resnet_v1 needs '
        f'{LEAST_SIZE}x{LEAST_SIZE} or more for its unpadded convolutions; set '
        'data.image_size to 160, as it was made for'
      )
    x = self._stem(x, mode, conv)
    for name, blocks, branches, scale, reduction in STAGES:
      for index in range(scale_depth(blocks, self.depth_multiplier)):
        x = InceptionResidual(
          branches, scale, 'relu', conv, name=f'{name}_{index + 1}'
        )(x, mode)
      if reduction:
        x = Reduction(reduction[1], conv, name=reduction[0])(x, mode)
    x = InceptionResidual(BLOCK8, 1.0, None, conv, name='block8')(x, mode)
    x = MeanPool(quant=self.quant, name='avgpool_1a')(x, mode)
    dropout = Dropout(quant=self.quant, rate=self.dropout, name='dropout')
    return dropout(x, mode)

  def _stem(self, x: Value, mode: Mode, conv: functools.partial) -> Value:
    """From the pixels to an eighth of the sides and 256 channels."""
    conv = functools.partial(conv, activation='relu', padding='VALID')
    half = (2, 2)
    x = conv(name='conv2d_1a_3x3', features=32, strides=half)(x, mode)
    x = conv(name='conv2d_2a_3x3', features=32)(x, mode)
    x = conv(name='conv2d_2b_3x3', features=64, padding='SAME')(x, mode)
    pool = MaxPool(
      quant=self.quant, window=(3, 3), padding='VALID', name='maxpool_3a_3x3'
    )
    x = pool(x, mode)
    x = conv(name='conv2d_3b_1x1', features=80, kernel_size=(1, 1))(x, mode)
    x = conv(name='conv2d_4a_3x3', features=192)(x, mode)
    return conv(name='conv2d_4b_3x3', features=256, strides=half)(x, mode)
