"""Networks and layers as the configs have them, for tests of these.

A test names the fields that it is about; all others are the config's.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from configs import base, common
from configs.models import MODELS
from faceqat.models.build import make_model
from faceqat.quant.norm import BatchNorm, BatchRenorm, GroupNorm, Norm
from faceqat.quant.norm import make_norm as norm_of_block
from faceqat.quant.spec import LayerQuant, QuantSpec
from faceqat.quant.spec import make_spec as spec_of_block


def layer_quant(**changes) -> LayerQuant:
  """The quantization of a layer that no override names."""
  return LayerQuant(**{**common.int8().default, **changes})


def make_spec(
  default: Mapping[str, Any] | None = None,
  overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> QuantSpec:
  """The quantization of a model, without the config's overrides."""
  default = {**common.int8().default, **(default or {})}
  return spec_of_block(default, overrides or {})


def batch_norm(**changes) -> BatchNorm:
  return norm_of_block({**common.batch_norm(), **changes})


def batch_renorm(**changes) -> BatchRenorm:
  return norm_of_block({**common.batch_renorm(), **changes})


def group_norm(**changes) -> GroupNorm:
  return norm_of_block({**common.group_norm(), **changes})


def make_network(
  name: str,
  *,
  quant: QuantSpec | None = None,
  norm: Norm | None = None,
  **fields,
) -> nn.Module:
  """A model of `configs.models.MODELS`, with these fields of its block."""
  config = base.make_base()
  config.model = {**MODELS[name](), **fields}
  return make_model(config).clone(
    quant=quant or make_spec(), norm=norm or batch_norm()
  )
