"""MobileNetV2 as a face-embedding network (Sandler et al. 2018, table 2)."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from faceqat.models.blocks import InvertedResidual, conv_unit, scale_depth
from faceqat.quant.layers import (
  MeanPool,
  QuantConv,
  QuantDense,
  Value,
  input_image,
)
from faceqat.quant.norm import BatchNorm, Norm
from faceqat.quant.spec import Mode, QuantSpec

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


def round_channels(channels: float, divisor: int = 8) -> int:
  """Rounds to a multiple of `divisor`, losing at most a tenth."""
  rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
  return rounded if rounded >= 0.9 * channels else rounded + divisor


class Model(nn.Module):
  """MobileNetV2 with ReLU6 and a linear embedding in place of the classifier.

  Attributes:
    embedding_size: D.
    width: multiplies the channels; the last convolution never has fewer than
      1280.
    depth_multiplier: of the blocks in each stage, rounded up.
    quant: bits, observers and their overrides by layer.
    norm: behind every convolution and the embedding.
    dtype: of the float computation.
  """

  embedding_size: int = 512
  width: float = 1.0
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
    x = input_image(images, self.dtype)
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
    x = MeanPool(quant=self.quant, name='pool')(x, mode)
    return QuantDense(
      features=self.embedding_size,
      quant=self.quant,
      norm=self.norm,
      name='embedding',
    )(x, mode)
