"""A network and all that it is called with."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from faceqat.files.image_size import ImageSize, height_width
from faceqat.quant.spec import FLOAT


class Network(NamedTuple):
  """A trained network.

  Attributes:
    model: the Flax module.
    variables: what it is called with.
    config: with which it was trained.
    step: of the checkpoint.
  """

  model: nn.Module
  variables: dict[str, Any]
  config: ml_collections.ConfigDict
  step: int


def variable_shapes(model: nn.Module, image_size: ImageSize) -> dict[str, Any]:
  """The shapes and types of a model's variables; nothing is computed."""
  images = jax.ShapeDtypeStruct((1, *height_width(image_size), 3), jnp.uint8)
  return jax.eval_shape(
    lambda images: model.init(jax.random.key(0), images, FLOAT), images
  )
