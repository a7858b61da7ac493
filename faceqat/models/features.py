"""What the blocks of a backbone put out, for a network that learns from it."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from faceqat.models.network import variable_shapes
from faceqat.quant.spec import FLOAT


def is_block(module: nn.Module, method: str) -> bool:
  """The filter of `capture_intermediates`: whether to keep a call's output."""
  return method == '__call__' and (module.name or '').startswith('block')


def by_block(intermediates: Mapping[str, Any]) -> dict[str, jax.Array]:
  """[B, H, W, C] by the name of a block, of what a call has captured."""
  found = flax.traverse_util.flatten_dict(dict(intermediates))
  # Beside them is what layers sow.
  return {
    '/'.join(path): outputs[0]
    for (*path, name), outputs in found.items()
    if name == '__call__'
  }


def embed_by_block(
  model: nn.Module, variables: Mapping[str, Any], images: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Embeddings [B, D] in float, and [B, H, W, C] by block."""
  embeddings, found = model.apply(
    variables,
    images,
    FLOAT,
    mutable=['intermediates'],
    capture_intermediates=is_block,
  )
  return embeddings, by_block(found.get('intermediates', {}))


def block_shapes(
  model: nn.Module, image_size: tuple[int, int]
) -> dict[str, tuple[int, ...]]:
  """(H, W, C) by block, for images of this height and width."""
  images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.uint8)
  variables = variable_shapes(model, image_size)
  found = jax.eval_shape(
    lambda *inputs: embed_by_block(model, *inputs)[1], variables, images
  )
  return {name: leaf.shape[1:] for name, leaf in found.items()}
