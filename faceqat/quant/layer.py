"""The base of all quantized layers: quantization, name and output."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np

from faceqat.integer.symbol import Symbol
from faceqat.quant.spec import LayerQuant, Mode, QuantSpec

Value = jax.Array | Symbol


class QuantLayer(nn.Module):
  """What all quantized layers share: their own quantization and its output."""

  quant: QuantSpec

  def _own(self) -> LayerQuant:
    return self.quant.layer(self._tensor)

  @property
  def _tensor(self) -> str:
    return '/'.join(self.path)

  def _check_finite(self, parameters: Mapping[str, jax.Array | None]):
    """Raises ValueError where one of the layer's parameters is no number."""
    for name, value in parameters.items():
      wrong = ~np.isfinite(0.0 if value is None else value)
      if wrong.any():
        raise ValueError(
          f'layer {self._tensor}: {wrong.sum()} of {wrong.size} values of its '
          f'{name} are NaN or infinite, which no integer stands for; lower an '
          'earlier checkpoint, or train with a lower learning rate'
        )

  def _finish(self, y: jax.Array, mode: Mode, quantizer) -> jax.Array:
    """Quantizes the output, and shows it to whoever collects intermediates."""
    y = quantizer(y, mode)
    self.sow('intermediates', 'output', y)
    return y
