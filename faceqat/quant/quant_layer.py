"""The base of all quantized layers: quantization, name and output."""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import numpy as np

from faceqat.integer.symbol import Symbol
from faceqat.quant import numerics
from faceqat.quant.quantizers import OutputQuantizer
from faceqat.quant.spec import LayerQuant, Mode, QuantSpec

Value = jax.Array | Symbol


class QuantLayer(nn.Module):
  """Looks up its own quantization by its path, which names its tensor too."""

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

  def _quantized(
    self,
    mode: Mode,
    emit: Callable[..., Symbol],
    compute: Callable[..., jax.Array],
    *inputs: Value,
    units: numerics.Units | None = None,
    **fields,
  ) -> Value:
    """Records the inputs, or computes; the output has a range of its own.

    Args:
      mode: of the call.
      emit: of `tracing`; called with the inputs, `fields`, name and output.
      compute: from the inputs to the output before it is quantized.
      *inputs: all arrays, or all symbols.
      units: as of `numerics.round_steps`.
      **fields: of the operator.
    """
    quantizer = OutputQuantizer(self._own(), name='quantizer')
    if isinstance(inputs[0], Symbol):
      output = quantizer.qparams()
      return emit(*inputs, name=self._tensor, output=output, **fields)
    return self._finish(compute(*inputs), mode, quantizer, units)

  def _unranged(
    self,
    emit: Callable[..., Symbol],
    compute: Callable[[jax.Array], jax.Array],
    x: Value,
    **fields,
  ) -> Value:
    """The same for an output that is quantized as the runtimes have it."""
    if isinstance(x, Symbol):
      return emit(x, name=self._tensor, **fields)
    return self._shown(compute(x))

  def _finish(
    self,
    y: jax.Array,
    mode: Mode,
    quantizer: OutputQuantizer,
    units: numerics.Units | None = None,
  ) -> jax.Array:
    return self._shown(quantizer(y, mode, units))

  def _shown(self, y: jax.Array) -> jax.Array:
    """Returns the output, and adds it to the intermediates."""
    self.sow('intermediates', 'output', y)
    return y
