"""A network that compiles in a second, for tests of what trains networks."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from faceqat.models.blocks import InvertedResidual, conv_unit
from faceqat.quant.layers import MeanPool, QuantConv, QuantDense, input_image
from faceqat.quant.norm import BatchNorm, Norm
from faceqat.quant.spec import QuantSpec


class Model(nn.Module):
  """A convolution, one residual block, the mean, an embedding."""

  embedding_size: int = 16
  features: int = 8
  activation: str = 'relu6'
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
    x = MeanPool(quant=self.quant, name='pool')(x, mode)
    return QuantDense(
      features=self.embedding_size,
      quant=self.quant,
      norm=self.norm,
      name='embedding',
    )(x, mode)
