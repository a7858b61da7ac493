"""Writes a PReLU with slopes above 1 as one whose slopes are at most 1.

x + relu((a - 1) x) is a PReLU for a <= 1 alone. With a > 1, and z = -a x,

  prelu_a(x) = -prelu_{1/a}(z)

so the layer before is multiplied by -a in that channel, and the layer behind by
-1: the network computes the same.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from faceqat.calibration.equalization import divided_inputs, scaled_outputs
from faceqat.files.image_size import ImageSize, height_width
from faceqat.integer import operators as ops
from faceqat.integer import tracing
from faceqat.integer.program import IntegerProgram
from faceqat.models.network import variable_shapes
from faceqat.quant.spec import FAKE_QUANT


def without_steep_slopes(
  model: nn.Module, variables: dict[str, Any], image_size: ImageSize
) -> dict[str, Any]:
  """The same network, up to float32 rounding, without slopes above 1.

  Args:
    model: the network; PReLUs of another form than 'sum' stay as they are.
    variables: with slopes of PReLU networks in `params`.
    image_size: of its images.

  Raises:
    ValueError: names a PReLU between other layers than two with weights.
  """
  params = flax.traverse_util.flatten_dict(variables['params'], sep='/')
  params = {path: np.asarray(value) for path, value in params.items()}
  steep = [
    path.removesuffix('/alpha')
    for path, value in params.items()
    if path.endswith('/alpha') and np.any(value > 1)
  ]
  if not any(model.quant.layer(name).prelu == 'sum' for name in steep):
    return variables
  program = _structure(model, image_size)
  changed = dict(params)
  for operator in program.operators:
    if isinstance(operator, ops.SumPReLU) and operator.name in steep:
      changed |= _turned(operator, program, changed)
  changed = {
    path: jnp.asarray(value, params[path].dtype)
    for path, value in changed.items()
  }
  return {
    **variables,
    'params': flax.traverse_util.unflatten_dict(changed, sep='/'),
  }


def _turned(
  operator: ops.SumPReLU,
  program: IntegerProgram,
  params: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """What changes where the steep channels of a PReLU are turned, float64."""
  path = f'{operator.name}/alpha'
  slopes = np.float64(params[path])
  steep = slopes > 1
  source = operator.inputs[0]
  first = next((x for x in program.operators if x.output == source), None)
  second = _reader(program, operator.output)
  alone = _readers(program, source) == [operator]
  if not (alone and isinstance(first, ops.Weighted) and second):
    raise ValueError(
      f'layer {operator.name} has {steep.sum()} slopes above 1 (the greatest '
      f'is {slopes.max():.3g}), which quant prelu=sum turns into the '
      'layers beside it, and these are not one convolution or dense layer on '
      "either side; give this layer {'prelu': 'operator'} in quant.overrides"
    )
  depthwise = getattr(second, 'depthwise', False)
  return {
    path: np.where(steep, 1 / np.where(steep, slopes, 1), slopes),
    **scaled_outputs(first.name, np.where(steep, -slopes, 1), params),
    **divided_inputs(
      second.name, depthwise, np.where(steep, -1.0, 1.0), params
    ),
  }


def _reader(program: IntegerProgram, name: str) -> ops.Weighted | None:
  """The layer with weights that is all that reads a tensor."""
  following = _readers(program, name)
  while len(following) == 1 and isinstance(following[0], ops.Reshape):
    following = _readers(program, following[0].output)
  if len(following) == 1 and isinstance(following[0], ops.Weighted):
    return following[0]
  return None


def _readers(program: IntegerProgram, name: str) -> list[ops.Operator]:
  return [x for x in program.operators if name in x.inputs]


def _structure(model: nn.Module, image_size: ImageSize) -> IntegerProgram:
  """The program of a model with made-up numbers: who reads whom."""
  plain = {'learned_steps': False, 'observer': 'ema'}
  quant = dataclasses.replace(
    model.quant,
    default=dataclasses.replace(model.quant.default, **plain),
    overrides=tuple(
      (pattern, dataclasses.replace(layer, **plain))
      for pattern, layer in model.quant.overrides
    ),
  )
  model = model.clone(quant=quant)
  shapes = variable_shapes(model, image_size)
  variables = jax.tree_util.tree_map_with_path(_made_up, shapes)
  return tracing.trace(
    lambda image: model.apply(variables, image, FAKE_QUANT),
    image_shape=(*height_width(image_size), 3),
  )


def _made_up(path, leaf) -> np.ndarray:
  """A kernel of one weight an output, ranges from -1 to 1, ones."""
  name = jax.tree_util.keystr(path[-1:], simple=True)
  if name == 'kernel':
    value = np.zeros(leaf.shape)
    value[(0,) * (leaf.ndim - 1)] = 1
  else:
    value = np.full(leaf.shape, -1 if name == 'minimum' else 1)
  return value.astype(leaf.dtype)
