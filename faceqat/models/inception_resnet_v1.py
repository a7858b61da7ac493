"""Inception-ResNet-v1 as the facenet project trains it on faces.

Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", figures 10 to 15, with facenet's scales of the
residuals, last block and dense layer. Layers have its names in lower case, such
as `Mixed_6a/Branch_0/Conv2d_1a_3x3`; its `Bottleneck` is the `embedding`.
"""

import functools

import flax.linen as nn

from faceqat.models.backbone import Backbone, Conv
from faceqat.models.blocks import scale_depth
from faceqat.quant.pooling import MaxPool, MeanPool
from faceqat.quant.quant_layer import Value
from faceqat.quant.spec import Mode
from faceqat.quant.weightless import Add, Concat, Dropout

# A branch is a list of convolutions: name, which ends with the kernel, and
# channels.
Branches = tuple[tuple[tuple[str, int], ...], ...]

BLOCK35 = (
  (('conv2d_1x1', 32),),
  (('conv2d_0a_1x1', 32), ('conv2d_0b_3x3', 32)),
  (('conv2d_0a_1x1', 32), ('conv2d_0b_3x3', 32), ('conv2d_0c_3x3', 32)),
)
BLOCK17 = (
  (('conv2d_1x1', 128),),
  (('conv2d_0a_1x1', 128), ('conv2d_0b_1x7', 128), ('conv2d_0c_7x1', 128)),
)
BLOCK8 = (
  (('conv2d_1x1', 192),),
  (('conv2d_0a_1x1', 192), ('conv2d_0b_1x3', 192), ('conv2d_0c_3x1', 192)),
)
# The last of a branch halves the image.
MIXED_6A = (
  (('conv2d_1a_3x3', 384),),
  (('conv2d_0a_1x1', 192), ('conv2d_0b_3x3', 192), ('conv2d_1a_3x3', 256)),
)
MIXED_7A = (
  (('conv2d_0a_1x1', 256), ('conv2d_1a_3x3', 384)),
  (('conv2d_0a_1x1', 256), ('conv2d_1a_3x3', 256)),
  (('conv2d_0a_1x1', 256), ('conv2d_0b_3x3', 256), ('conv2d_1a_3x3', 256)),
)
# Name, number of blocks, their branches and scale, and the reduction behind.
STAGES = (
  ('block35', 5, BLOCK35, 0.17, ('mixed_6a', MIXED_6A)),
  ('block17', 10, BLOCK17, 0.10, ('mixed_7a', MIXED_7A)),
  ('block8', 5, BLOCK8, 0.20, None),
)
# Of smaller images the unpadded convolutions leave nothing.
LEAST_SIZE = 75


class Branch(nn.Module):
  """Convolutions one after another, each with a ReLU.

  Attributes:
    convolutions: names and channels.
    strides: of the last; with more than 1 it is not padded.
    conv: makes them.
  """

  convolutions: tuple[tuple[str, int], ...]
  strides: int
  conv: Conv

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    for index, (name, features) in enumerate(self.convolutions, 1):
      strides = self.strides if index == len(self.convolutions) else 1
      _, kernel = name.rsplit('_', 1)
      x = self.conv(
        name=name,
        features=features,
        kernel_size=tuple(map(int, kernel.split('x'))),
        strides=(strides, strides),
        padding='SAME' if strides == 1 else 'VALID',
        activation='relu',
      )(x, mode)
    return x


class InceptionResidual(nn.Module):
  """Branches joined, brought to the input's channels, scaled and added.

  The 1x1 convolution that does so has the scale in its kernel and bias.
  """

  branches: Branches
  scale: float
  activation: str | None
  conv: Conv

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
  """Branches and a maximum, each of which halves the image, joined."""

  branches: Branches
  conv: Conv

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

  Unlike facenet's, batch norms have a scale, as in its PyTorch port
  facenet-pytorch; pixels are read as (pixel - 128) / 128; kernels begin as in
  He et al. 2015; and the embedding is not normalised. It has 128 numbers in
  facenet, and 512 in its later networks.

  `depth_multiplier` leaves the last block. The convolutions that are added to a
  block's input have a bias and no norm.

  Attributes:
    dropout: the share of the mean over the image that training drops.
  """

  dropout: float

  def body(self, x: Value, mode: Mode, conv: Conv) -> Value:
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

  def _stem(self, x: Value, mode: Mode, conv: Conv) -> Value:
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
