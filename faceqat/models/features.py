"""What the blocks of a backbone put out, for a network that learns from it."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax


def is_block(module: nn.Module, method: str) -> bool:
  """The filter of `capture_intermediates`: whether to keep a call's output."""
  return method == '__call__' and (module.name or '').startswith('block_')


def by_block(intermediates: Mapping[str, Any]) -> dict[str, jax.Array]:
  """[B, H, W, C] by the name of a block, of what a call has captured."""
  found = flax.traverse_util.flatten_dict(dict(intermediates))
  # Beside them is what layers sow.
  return {
    '/'.join(path): outputs[0]
    for (*path, name), outputs in found.items()
    if name == '__call__'
  }
