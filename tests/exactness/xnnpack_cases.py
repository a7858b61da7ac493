"""Graphs of single operators whose results hang on XNNPACK's last bit.

`cases` lands accumulators of layers on ties for any rescaling factor. Here
the scales of the other operators are drawn so that their real results lie on a
tie, or one float32 step from it.
"""

import functools
import zlib
from collections.abc import Iterator

import numpy as np
from case_drafts import Case, draw_zero_point
from cases import draw_cases

from faceqat.integer import operators as ops
from faceqat.integer.tensors import QParams

_OPERATORS = 16  # In one graph: making a runtime takes longer than running it.
_SIZES = ((1, 1), (7, 7), (3, 5), (14, 14), (1, 6), (4, 4))


def tie_cases(kind: str) -> Iterator[Case]:
  """Draws cases of one of `TIE_KINDS` until they have enough outputs."""
  rng = np.random.default_rng(zlib.crc32(kind.encode()))
  make = functools.partial(_draw_operators, _MAKERS[kind])
  return draw_cases(f'{kind} ties', make, rng)


def _draw_operators(make, draft, rng, index) -> str:
  """Operators that each have inputs of their own."""
  for number in range(_OPERATORS):
    arrays, kind, scales = make(rng)
    names = tuple(f'in{number}.{place}' for place in range(len(arrays)))
    for name, array, scale in zip(names, arrays, scales):
      draft.input(name, array, QParams(scale, draw_zero_point(rng)))
    zero_point = -128 if kind is ops.Logistic else draw_zero_point(rng)
    operator = kind(name=f'out{number}', inputs=names)
    draft.operator(operator, QParams(scales[-1], zero_point))
  return f'{_OPERATORS} operators'


def _scale(rng, low: float, high: float) -> float:
  return float(np.float32(np.exp(rng.uniform(np.log(low), np.log(high)))))


def _all_values() -> np.ndarray:
  return np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1)


def _all_pairs() -> list[np.ndarray]:
  values = np.arange(-128, 128, dtype=np.int8)
  return [side.reshape(1, 16, 16, 256) for side in np.meshgrid(values, values)]


def _add(rng):
  """Sums in steps of a fraction of the output's, and some of no fraction."""
  result = _scale(rng, 1e-3, 1)
  ratios = [1 / rng.integers(1, 40), 1 / rng.integers(1, 40)]
  if rng.random() < 0.3:
    # As far as the delegate takes them, and below.
    ratios = [_scale(rng, 2**-9.9, 2**7.9), _scale(rng, 2**-14, 2**7.9)]
  return _all_pairs(), ops.Add, (*(r * result for r in ratios), result)


def _mul(rng):
  """Products in steps of an even fraction of the output's step."""
  first, second = _scale(rng, 1e-3, 1), _scale(rng, 1e-3, 1)
  result = first * second * 2 * rng.integers(1, 200)
  if rng.random() < 0.2:
    result = first * second / _scale(rng, 2**-20, 2**7.9)
  arrays = _all_pairs()
  if rng.random() < 0.4:
    arrays = [arrays[1], _all_values().reshape(1, 256)]
  return arrays, ops.Mul, (first, second, result)


def _requantize(rng):
  """Quotients halfway between two multipliers, in steps of 1/256."""
  result = 2.0 ** float(rng.integers(-10, 3))
  if rng.random() < 0.7:
    source = result * (2 * rng.integers(1, 300) + 1) / 512
  else:
    source = result * _scale(rng, 2**-7.99, 2**6.99)
  return [_all_values()], ops.Requantize, (source, result)


def _mean(rng):
  """Sums in steps of an even fraction of the output's step."""
  height, width = _SIZES[rng.integers(len(_SIZES))]
  source = _scale(rng, 1e-4, 10)
  result = source * 2 * rng.integers(1, 60) / (height * width)
  level = rng.integers(-128, 128, (8, 1, 1, 256))
  noise = rng.integers(-16, 17, (8, height, width, 256))
  array = np.clip(level + noise, -128, 127).astype(np.int8)
  return [array], ops.Mean, (source, result)


def _logistic(rng):
  """A scale that puts one of the values on a tie."""
  tie = (rng.integers(0, 256) + 0.5) / 256
  scale = abs(np.log(tie / (1 - tie))) / rng.integers(1, 256)
  return [_all_values()], ops.Logistic, (max(scale, 1e-6), 1 / 256)


_MAKERS = {
  'Add': _add,
  'Mul': _mul,
  'Requantize': _requantize,
  'Mean': _mean,
  'Logistic': _logistic,
}
TIE_KINDS = tuple(_MAKERS)
