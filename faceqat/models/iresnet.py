"""The improved residual network of ArcFace (Deng et al. 2019).

Its first convolution keeps the image's size, its units begin with a batch norm
(after Han et al. 2017, "Deep Pyramidal Residual Networks"), and its embedding
is a dense layer over all positions.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp

from faceqat.models.blocks import conv_unit
from faceqat.quant.layers import (
  Add,
  Flatten,
  MaxPool,
  QuantConv,
  QuantDense,
  Value,
  input_image,
)
from faceqat.quant.spec import Mode, QuantSpec

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


class ImprovedResidual(nn.Module):
  """BN, conv 3x3, BN, PReLU, conv 3x3, BN, and the input or its projection.

  The convolution after the first batch norm pads with zeros, which the norm
  would have moved: folded into that convolution it would be another function
  at the border. It stays a layer, a depthwise 1x1 convolution.

  Attributes:
    features: output channels.
    strides: of the second convolution, and of the shortcut.
    conv: `QuantConv` with the model's settings bound.
  """

  features: int
  strides: int
  conv: functools.partial

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
    if x.shape[-1] != self.features:
      x = self.conv(
        name='shortcut',
        features=self.features,
        kernel_size=(1, 1),
        strides=strides,
      )(x, mode)
    elif self.strides > 1:
      x = MaxPool(window=(1, 1), strides=strides, name='subsample')(x, mode)
    return Add(quant=self.conv.keywords['quant'], name='add')(x, y, mode)


class Model(nn.Module):
  """The network with the paper's output: BN, dense layer, BN.

  The dropout that the paper has before the dense layer is left out.

  Attributes:
    depth: 18, 34, 50 or 100, as the field counts layers.
    embedding_size: D.
    quant: bits, observers and their overrides by layer.
    bn_momentum: of the batch norms' moving statistics.
    dtype: of the float computation.
  """

  depth: int = 50
  embedding_size: int = 512
  quant: QuantSpec = QuantSpec()
  bn_momentum: float = 0.9
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, images: Value, mode: Mode) -> Value:
    """Embeds faces.

    Args:
      images: `[B, H, W, 3] uint8`, or a symbol.
      mode: the reading; static.

    Returns:
      `[B, D] float32`, not normalised; or the symbol of the embedding.

    Raises:
      ValueError: there is no such depth; it lists those that there are.
    """
    if self.depth not in DEPTHS:
      raise ValueError(
        f'model.depth is {self.depth!r}; choose one of '
        f'{", ".join(map(str, sorted(DEPTHS)))}'
      )
    settings = {
      'quant': self.quant,
      'bn_momentum': self.bn_momentum,
      'dtype': self.dtype,
    }
    conv = functools.partial(QuantConv, **settings)
    x = conv_unit(
      conv,
      input_image(images, self.dtype),
      mode,
      name='stem',
      features=CHANNELS[0],
      padding=PADDING,
      activation='prelu',
    )
    index = 0
    for units, features in zip(DEPTHS[self.depth], CHANNELS):
      for unit in range(units):
        x = ImprovedResidual(
          features=features,
          strides=2 if unit == 0 else 1,
          conv=conv,
          name=f'block_{index}',
        )(x, mode)
        index += 1
    x = conv(name='norm', kernel_size=(1, 1), depthwise=True)(x, mode)
    x = Flatten(name='flatten')(x, mode)
    return QuantDense(
      features=self.embedding_size,
      quant=self.quant,
      bn_momentum=self.bn_momentum,
      name='embedding',
    )(x, mode)
