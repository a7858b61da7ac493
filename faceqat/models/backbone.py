"""The base of all backbones: their settings, their input, their embedding."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from faceqat.quant import tensor_scales
from faceqat.quant.layers import QuantConv, QuantDense, input_image
from faceqat.quant.norm import Norm
from faceqat.quant.quant_layer import Value
from faceqat.quant.spec import Mode, QuantSpec

# `QuantConv` with the model's `quant`, `norm` and `dtype` bound.
Conv = functools.partial


class Backbone(nn.Module):
  """A network from faces to embeddings; a model has its own `body`.

  Attributes:
    embedding_size: D.
    depth_multiplier: of the blocks in each stage, rounded up.
    quant: bits, observers and their overrides by layer.
    norm: behind every convolution and the embedding.
    dtype: of the float computation.
  """

  embedding_size: int
  depth_multiplier: float
  quant: QuantSpec
  norm: Norm
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, images: Value, mode: Mode) -> Value:
    """Embeds faces.

    Args:
      images: `[B, H, W, 3] uint8`, or a symbol.
      mode: static under `jax.jit`. Training with dropout takes the random
        stream 'dropout'.

    Returns:
      `[B, D] float32`, not normalised; or the symbol of the embedding.
    """
    conv = functools.partial(
      QuantConv, quant=self.quant, norm=self.norm, dtype=self.dtype
    )
    with tensor_scales.followed():
      x = self.body(input_image(images, self.dtype), mode, conv)
      return QuantDense(
        features=self.embedding_size,
        quant=self.quant,
        norm=self.norm,
        name='embedding',
      )(x, mode)

  def body(self, x: Value, mode: Mode, conv: Conv) -> Value:
    """From pixels, `[B, H, W, 3]`, to the features `[B, F]` of the embedding.

    Both may be symbols.
    """
    raise NotImplementedError
