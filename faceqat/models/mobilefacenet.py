"""MobileFaceNet (Chen et al. 2018, table 1), PReLU throughout."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from faceqat.models.blocks import InvertedResidual, conv_unit, scale_depth
from faceqat.quant.layers import (
  Flatten,
  QuantConv,
  QuantDense,
  Value,
  input_image,
)
from faceqat.quant.norm import BatchNorm, Norm
from faceqat.quant.spec import Mode, QuantSpec

# Expansion t, channels c, repeats n, first stride s.
STAGES = (
  (2, 64, 5, 2),
  (4, 128, 1, 2),
  (2, 128, 6, 1),
  (4, 128, 1, 2),
  (2, 128, 2, 1),
)
# The original pads both sides alike, also where the stride is 2.
PADDING = ((1, 1), (1, 1))


class Model(nn.Module):
  """MobileFaceNet; its global depthwise convolution keeps what a mean loses.

  Attributes:
    embedding_size: D, 128 in the paper.
    depth_multiplier: of the blocks in each stage, rounded up.
    quant: bits, observers and their overrides by layer.
    norm: behind every convolution and the embedding.
    dtype: of the float computation.
  """

  embedding_size: int = 128
  depth_multiplier: float = 1.0
  quant: QuantSpec = QuantSpec()
  norm: Norm = BatchNorm()
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, images: Value, mode: Mode) -> Value:
    """Embeds faces.

    Args:
      images: `[B, H, W, 3] uint8`, or a symbol.
      mode: the reading; static.

    Returns:
      `[B, D] float32`, not normalised; or the symbol of the embedding.
    """
    settings = {
      'quant': self.quant,
      'norm': self.norm,
      'dtype': self.dtype,
    }
    conv = functools.partial(QuantConv, **settings)
    unit = functools.partial(conv_unit, conv, mode=mode, activation='prelu')
    x = input_image(images, self.dtype)
    x = unit(x, name='stem', features=64, strides=(2, 2), padding=PADDING)
    x = unit(
      x, name='stem_depthwise', features=64, padding=PADDING, depthwise=True
    )
    index = 0
    for expansion, features, repeats, stride in STAGES:
      for repeat in range(scale_depth(repeats, self.depth_multiplier)):
        x = InvertedResidual(
          features=features,
          expanded=x.shape[-1] * expansion,
          strides=stride if repeat == 0 else 1,
          activation='prelu',
          padding=PADDING,
          conv=conv,
          name=f'block_{index}',
        )(x, mode)
        index += 1
    x = unit(x, name='last', features=512, kernel_size=(1, 1))
    x = conv(
      name='global_depthwise',
      features=512,
      kernel_size=tuple(x.shape[1:3]),
      padding='VALID',
      depthwise=True,
    )(x, mode)
    x = Flatten(name='flatten')(x, mode)
    return QuantDense(
      features=self.embedding_size,
      quant=self.quant,
      norm=self.norm,
      name='embedding',
    )(x, mode)
