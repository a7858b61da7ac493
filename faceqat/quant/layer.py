"""What every quantized layer is: its own quantization, name and output."""

import flax.linen as nn
import jax

from faceqat.integer.symbol import Symbol
from faceqat.quant.spec import LayerQuant, Mode, QuantSpec

Value = jax.Array | Symbol


class QuantLayer(nn.Module):
  """What all quantized layers share: their own quantization and its output."""

  quant: QuantSpec = QuantSpec()

  def _own(self) -> LayerQuant:
    return self.quant.layer(self._tensor)

  @property
  def _tensor(self) -> str:
    return '/'.join(self.path)

  def _finish(self, y: jax.Array, mode: Mode, quantizer) -> jax.Array:
    """Quantizes the output, and shows it to whoever collects intermediates."""
    y = quantizer(y, mode)
    self.sow('intermediates', 'output', y)
    return y
