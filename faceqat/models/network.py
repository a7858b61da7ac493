"""A network and all that it is called with."""

from typing import Any, NamedTuple

import flax.linen as nn
import ml_collections


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
