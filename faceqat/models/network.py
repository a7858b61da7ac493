"""A network and all that it is called with."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
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


def check_overrides(
  model: nn.Module, quant_stats: Mapping[str, Any], image_size: ImageSize
) -> list[str]:
  """Refuses bits for a layer that there is not, such as a misspelt one.

  Layers that the model has with a `depth_multiplier` of 1 alone may be named,
  so that a config which names some is right in its smoke form too.

  Args:
    model: a backbone.
    quant_stats: of its variables, or their shapes.
    image_size: as the config has it.

  Returns:
    A line for the user on each pattern for layers that only the full depth has.

  Raises:
    ValueError: naming the pattern, and the layers there are.
  """
  paths, depth = _quantized_layers(quant_stats), ''
  absent = model.quant.unmatched(paths)
  if absent and model.depth_multiplier < 1:
    full = variable_shapes(model.clone(depth_multiplier=1.0), image_size)
    paths, depth = _quantized_layers(full['quant_stats']), ' at full depth'
  for pattern in model.quant.unmatched(paths):
    raise ValueError(
      f'quant.overrides[{pattern!r}] fits no layer; the model has{depth} '
      f'{", ".join(paths)}'
    )
  return [
    f'quant.overrides[{pattern!r}] fits no layer at a model.depth_multiplier '
    f'of {model.depth_multiplier}'
    for pattern in absent
  ]


def _quantized_layers(quant_stats: Mapping[str, Any]) -> list[str]:
  """The paths of the layers with a quantizer, each of which has a range."""
  ranges = flax.traverse_util.flatten_dict(quant_stats, sep='/')
  return [path.removesuffix('/quantizer/range') for path in ranges]
