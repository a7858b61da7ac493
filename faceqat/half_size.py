"""Images of half the size, on which the first steps of a training are quick.

They have a quarter of the pixels and take a quarter of the time, and what a
network learns on them it need not learn again on the whole ones (progressive
learning: Tan and Le 2021, "EfficientNetV2", section 4).
"""

from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp

from faceqat.quant.spec import FLOAT


def halve(images: jax.Array) -> jax.Array:
  """Averages squares of 2x2 pixels, halves up.

  Args:
    images: `[B, H, W, C] uint8`, H and W even.

  Returns:
    `[B, H / 2, W / 2, C] uint8`.
  """
  batch, height, width, channels = images.shape
  squares = images.reshape(batch, height // 2, 2, width // 2, 2, channels)
  sums = jnp.sum(squares, (2, 4), dtype=jnp.int32)
  return ((sums + 2) // 4).astype(jnp.uint8)


def check_half_size(
  model: nn.Module, variables: dict[str, Any], image_size: int
):
  """Refuses a network or a size that does not go with `half_size_steps`.

  Args:
    model: the network.
    variables: its own, made for images of the whole size.
    image_size: height and width of these.

  Raises:
    ValueError: the size is odd, or the network's weights depend on it.
  """
  if image_size % 2:
    raise ValueError(
      f'data.image_size is {image_size}, which has no half; give an even one, '
      'or half_size_steps=0'
    )
  shape = (1, image_size // 2, image_size // 2, 3)
  try:
    jax.eval_shape(
      lambda variables, images: model.apply(variables, images, FLOAT),
      variables,
      jax.ShapeDtypeStruct(shape, jnp.uint8),
    )
  except (flax.errors.FlaxError, TypeError, ValueError) as error:
    raise ValueError(
      f'half_size_steps is not 0, but model {type(model).__module__} has '
      f'weights that fit images of {image_size} pixels alone; give '
      'half_size_steps=0'
    ) from error
