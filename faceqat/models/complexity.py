"""Counts the parameters and the multiply-adds of a network."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import numpy as np

from faceqat.files.image_size import ImageSize, height_width
from faceqat.quant.spec import FLOAT

# The quantizers', which the network in float does not have.
_LEARNED_STEPS = ('step', 'kernel_step')


def count_parameters(variables: Mapping[str, Any]) -> int:
  """Counts the trained numbers of a backbone but for its quantization steps.

  Args:
    variables: of `model.init`, as arrays or as shapes.
  """
  params = flax.traverse_util.flatten_dict(variables['params'])
  return sum(
    leaf.size for path, leaf in params.items() if path[-1] not in _LEARNED_STEPS
  )


def trace_shapes(model: nn.Module, image_size: ImageSize) -> Mapping[str, Any]:
  """Shapes of a network's variables, and of its outputs for one image.

  Nothing is computed or compiled.
  """
  shape = (1, *height_width(image_size), 3)
  images = jax.ShapeDtypeStruct(shape, np.uint8)
  return jax.eval_shape(
    lambda images: model.init(jax.random.key(0), images, FLOAT, mutable=True),
    images,
  )


def count_multiply_adds(shapes: Mapping[str, Any]) -> int:
  """Counts the multiply-adds of convolutions and dense layers for one image.

  Batch norms are folded, as on a device; one that stands alone is a depthwise
  1x1 convolution.

  Args:
    shapes: of `trace_shapes`.
  """
  params = flax.traverse_util.flatten_dict(shapes['params'])
  outputs = flax.traverse_util.flatten_dict(shapes['intermediates'])
  return sum(
    # Every weight is used once for each position of the output.
    leaf.size * math.prod(output.shape[1:-1])
    for path, leaf in params.items()
    if path[-1] == 'kernel'
    for output in outputs[*path[:-1], 'output']
  )
