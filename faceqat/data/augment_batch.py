"""Augments batches on the device, as `augment.Augment` does one image."""

from typing import Any

import jax
import jax.numpy as jnp

from faceqat.data.augment import Draw


@jax.jit
def augment_batch(batch: dict[str, Any]) -> dict[str, Any]:
  """Moves the pixels of a batch as they were drawn.

  Args:
    batch: of `pipeline.make_train_iterator`, on one device or split over its
      images: `image` [B, H, W, 3] uint8, `draw`, and what else there is.

  Returns:
    The same without `draw`; `image` has the bits that `augment.Augment` gives,
    on any device and any number of them.
  """
  batch = dict(batch)
  draw = batch.pop('draw')
  return {**batch, 'image': jax.vmap(_augment)(batch['image'], draw)}


def _augment(image: jax.Array, draw: Draw) -> jax.Array:
  height, width, _ = image.shape
  down, right = draw.shift
  rows = jnp.clip(jnp.arange(height) - down, 0, height - 1)
  columns = jnp.arange(width)
  columns = jnp.where(draw.mirrored, columns[::-1], columns)
  columns = jnp.clip(columns - right, 0, width - 1)
  for axis, places in enumerate((rows, columns)):
    image = jnp.take(image, places, axis, mode='clip')
  return jnp.take(draw.tones, image, mode='clip')
