"""A network that compiles in a second, for tests of what trains networks."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from faceqat.models.blocks import InvertedResidual, conv_unit
from faceqat.quant.layers import (
  Flatten,
  MeanPool,
  QuantConv,
  QuantDense,
  input_image,
)
from faceqat.quant.norm import BatchNorm, Norm
from faceqat.quant.spec import QuantSpec


class Model(nn.Module):
  """A convolution, one residual block, the mean, an embedding.

  Or, as in MobileFaceNet, a convolution over all positions for the mean.
  """

  embedding_size: int = 16
  features: int = 8
  activation: str = 'relu6'
  global_depthwise: bool = False
  quant: QuantSpec = QuantSpec()
  norm: Norm = BatchNorm()
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, images, mode):
    settings = {
      'quant': self.quant,
      'norm': self.norm,
      'dtype': self.dtype,
    }
    conv = functools.partial(QuantConv, **settings)
    x = conv_unit(
      conv,
      input_image(images, self.dtype),
      mode,
      name='stem',
      features=self.features,
      strides=(2, 2),
      activation=self.activation,
    )
    x = InvertedResidual(
      features=self.features,
      expanded=2 * self.features,
      strides=1,
      activation=self.activation,
      conv=conv,
      name='block',
    )(x, mode)
    if self.global_depthwise:
      x = conv(
        name='global_depthwise',
        features=self.features,
        kernel_size=tuple(x.shape[1:3]),
        padding='VALID',
        depthwise=True,
      )(x, mode)
      x = Flatten(name='flatten')(x, mode)
    else:
      x = MeanPool(quant=self.quant, name='pool')(x, mode)
    return QuantDense(
      features=self.embedding_size,
      quant=self.quant,
      norm=self.norm,
      name='embedding',
    )(x, mode)
