"""Advises on layers that lose much to quantization."""

from collections.abc import Mapping
from typing import Any

# Signal to noise of a layer's outputs, in dB, from which on its rounding is no
# matter; a rounding to 8 bits of a full range alone leaves about 50.
_ENOUGH = 35.0
# Of all outputs, and times the range that is needed.
_MUCH_CLIPPED, _FAR_TOO_WIDE = 1e-3, 2.0


def advice(layer: Mapping[str, Any]) -> str:
  """A sentence on one of the layers that lose most.

  Args:
    layer: of `evaluators.agreement.Agreement.to_json`.
  """
  left = layer['float_to_integer']
  if left is None or left >= _ENOUGH:
    return 'nothing to do: what it loses is rounding, and enough is left'
  held, needed = (
    high - low for low, high in (layer['range'], layer['float_range'])
  )
  if layer['bits'] < 8:
    return (
      f'its outputs have {layer["bits"]} bits: give it 8 in '
      f"quant.overrides, {{'{layer['name']}': {{'activation_bits': 8}}}}"
    )
  if layer['clipped'] > _MUCH_CLIPPED:
    return (
      f'{100 * layer["clipped"]:.1f} % of its outputs are clipped: try '
      '--config.quant.default.observer=minmax'
    )
  if held > _FAR_TOO_WIDE * needed > 0:
    return (
      f'its range is {held / needed:.1f} times what its outputs need: try '
      '--config.quant.default.observer=percentile'
    )
  return (
    'its range fits, so its channels may differ much: try '
    '--config.quant.equalize=True, or more steps with the quantizers on'
  )
