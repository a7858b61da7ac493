"""Convolutions and dense layers with random and hostile parameters."""

import numpy as np
from case_drafts import (
  draw_clamp,
  draw_int8,
  draw_qparams,
  draw_zero_point,
  geometry,
)

from faceqat.integer import operators as ops
from faceqat.integer.tensors import QParams


def _weight_scales(rng, style: str, source: QParams, out: QParams, channels):
  """Scales that give the rescaling factors a style asks for."""
  if style == 'ties':
    factors = 2.0 ** -rng.integers(1, 12, channels)
  elif style == 'six decades':
    # The least are flushed to zero, the greatest above one.
    factors = np.geomspace(1e-6, 4.0, channels)
    factors[:2] = 2.0**-40, 2.0**-33
  elif style == 'above one':
    # XNNPACK takes no factor of 256.
    factors = 10 ** rng.uniform(0, 2.4, channels)
  else:
    factors = 10 ** rng.uniform(-4, -1.5, channels)
  return (factors * out.scale / source.scale).astype(np.float32)


_STYLES = ('random', 'ties', 'six decades', 'bias extremes', 'above one')


def _without_tie_scans(index: int) -> int | None:
  """Number among the other cases; None for every third, a tie scan."""
  turn, which = divmod(index, 3)
  return None if which == 2 else 2 * turn + which


def convolution(draft, rng, index, depthwise=False, bits=8):
  """A convolution in one of the geometries and styles."""
  number = _without_tie_scans(index)
  if number is None:
    return _tie_scan(draft, rng, 'depthwise' if depthwise else 'conv', bits)
  size, window, strides, padding = geometry(number)
  style = _STYLES[number % len(_STYLES)]
  channels, depth = 48, 1 if depthwise else int(rng.choice([3, 8, 17]))
  source_depth = channels if depthwise else depth
  source, out = draw_qparams(rng), draw_qparams(rng)
  shape = (*window, depth, channels)
  draft.input('in', draw_int8(rng, 4, *size, source_depth), source)
  operator = ops.Conv2D(
    **_fields(rng, style, bits, shape, source, out),
    strides=strides,
    padding=padding,
    depthwise=depthwise,
  )
  draft.operator(operator, out)
  return f'{style}, window {window}, strides {strides}, padding {padding}'


def _fields(rng, style, bits, shape, source: QParams, out: QParams) -> dict:
  """The fields that a convolution and a dense layer share."""
  limit = 2 ** (bits - 1) - 1
  channels = shape[-1]
  weights = draw_int8(rng, *shape, low=-limit, high=limit)
  axes = tuple(range(weights.ndim - 1))
  reach = np.abs(weights.astype(np.int64)).sum(axis=axes)
  if style == 'bias extremes':
    # As large as the bounds allow, with factors that bring them back.
    headroom = 2**31 - 1 - 2 * 255 * reach
    bias = headroom * rng.choice([-1, 1], channels)
    factors = rng.uniform(0, 100, channels) / headroom
    scale = (factors * out.scale / source.scale).astype(np.float32)
  else:
    scale = _weight_scales(rng, style, source, out, channels)
    factors = source.scale * np.float64(scale) / out.scale
    # Of the size of the sum itself, while the output can still follow.
    spread = np.minimum(64 * reach, 100 / factors).astype(np.int64)
    bias = rng.integers(-spread, spread, endpoint=True)
    left = 2.0 ** np.ceil(np.log2(np.maximum(factors, 1)))
    assert ((reach * 255 + np.abs(bias)) * left < 2**31).all()
  return {
    'name': 'out',
    'inputs': ('in',),
    'weights': weights,
    'weight_scale': scale,
    'weight_bits': bits,
    'bias': bias.astype(np.int32),
    'clamp': draw_clamp(rng, out),
  }


def _tie_scan(draft, rng, form: str, bits: int):
  """Accumulators one apart on both sides of a tie, for any factor."""
  channels = 128
  source, out = QParams(0.1, 0), QParams(0.1, draw_zero_point(rng))
  scale = (10 ** rng.uniform(-7, -0.3, channels)).astype(np.float32)
  factors = source.scale * np.float64(scale) / out.scale
  wanted = rng.integers(-128, 127, channels) - out.zero_point + 0.5
  # The least factors would need more than int32 for the far values.
  wanted = np.clip(wanted, -(2**30) * factors, 2**30 * factors)
  bias = np.rint(wanted / factors).astype(np.int32)
  weights = np.ones((1, channels), np.int8)
  weights[0, ::2] = -1
  x = np.arange(-128, 128, dtype=np.int8)
  fields = {
    'name': 'out',
    'inputs': ('in',),
    'weight_scale': scale,
    'weight_bits': bits,
    'bias': bias,
  }
  if form == 'dense':
    draft.input('in', x[:, None], source)
    operator = ops.Dense(weights=weights, **fields)
  else:
    depth = channels if form == 'depthwise' else 1
    array = np.broadcast_to(x.reshape(1, 16, 16, 1), (1, 16, 16, depth))
    draft.input('in', array, source)
    operator = ops.Conv2D(
      weights=weights[None, None], depthwise=form == 'depthwise', **fields
    )
  draft.operator(operator, out)
  return 'accumulators next to ties'


def dense(draft, rng, index, bits=8):
  number = _without_tie_scans(index)
  if number is None:
    return _tie_scan(draft, rng, 'dense', bits)
  style = _STYLES[number % len(_STYLES)]
  source, out = draw_qparams(rng), draw_qparams(rng)
  depth, channels = int(rng.choice([1, 33, 100])), 160
  draft.input('in', draw_int8(rng, 64, depth), source)
  shape = (depth, channels)
  operator = ops.Dense(**_fields(rng, style, bits, shape, source, out))
  draft.operator(operator, out)
  return style
