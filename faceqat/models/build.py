"""Builds the model that the config names."""

import importlib
import pkgutil

import flax.linen as nn
import jax.numpy as jnp
import ml_collections

from faceqat import models
from faceqat.fields import check_fields, check_value
from faceqat.quant.norm import GroupNorm, make_norm
from faceqat.quant.spec import make_spec

# The modules of `models` without a network.
_SHARED = ('backbone', 'blocks', 'build', 'complexity', 'features', 'network')
DTYPES = {'bfloat16': jnp.bfloat16, 'float32': jnp.float32}


def make_model(config: ml_collections.ConfigDict) -> nn.Module:
  """Builds `models.<name>.Model` from the blocks `model` and `quant`.

  Args:
    config: with `model` (`name`, `dtype`, `norm`, and all fields of that
      `Model`) and `quant` (`enabled`, `default`, `overrides`).

  Raises:
    ValueError: an unknown model, dtype, norm or field, or a field too few; it
      lists what exists.
  """
  fields = config.model.to_dict()
  name = fields.pop('name')
  dtype = fields.pop('dtype')
  norm = make_norm(fields.pop('norm'))
  known = sorted(
    module.name
    for module in pkgutil.iter_modules(models.__path__)
    if not module.ispkg and module.name not in _SHARED
  )
  check_value('model.name', name, known)
  check_value('model.dtype', dtype, DTYPES)
  model_class = importlib.import_module(f'faceqat.models.{name}').Model
  check_fields(
    fields,
    model_class,
    block='model',
    owner=name,
    besides=('quant', 'norm', 'dtype', 'parent', 'name'),
  )
  if isinstance(norm, GroupNorm) and config.quant.enabled:
    raise ValueError(
      "model.norm.name is 'group', which has no integer form, but "
      "quant.enabled is on; choose the norm 'batch' or 'renorm', or switch "
      'quant.enabled off to train in float'
    )
  return model_class(
    quant=make_spec(
      config.quant.default.to_dict(), config.quant.overrides.to_dict()
    ),
    norm=norm,
    dtype=DTYPES[dtype],
    **fields,
  )
