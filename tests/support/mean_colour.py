"""A network that compiles in no time."""

import flax.linen as nn
import jax.numpy as jnp
from defaults import batch_norm, make_spec

from faceqat.quant.layers import QuantDense, input_image
from faceqat.quant.pooling import MeanPool


class MeanColour(nn.Module):
  """A dense layer behind the mean of an image."""

  embedding_size: int = 16

  @nn.compact
  def __call__(self, images, mode):
    quant = make_spec()
    x = MeanPool(quant=quant)(input_image(images, jnp.float32), mode)
    return QuantDense(
      features=self.embedding_size, quant=quant, norm=batch_norm()
    )(x, mode)
