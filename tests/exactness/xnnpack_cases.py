"""Graphs of single operators whose results hang on XNNPACK's last bit.

`cases` lands accumulators of layers on ties for any rescaling factor. Here
the scales of the other operators are drawn so that their real results lie on a
tie, or one float32 step from it.
"""

import itertools
import zlib

import numpy as np
from cases import COUNT_FACTOR, Case

from faceqat.integer import operators as ops
from faceqat.integer.tensors import Tensor

_OPERATORS = 16  # In one graph: making a runtime takes longer than running it.
_SIZES = ((1, 1), (7, 7), (3, 5), (14, 14), (1, 6), (4, 4))


def tie_cases(kind: str, seed: int = 0, outputs: int = 100_000):
  """Draws cases of one kind until they have this many outputs.

  Args:
    kind: one of `TIE_KINDS`.
    seed: of the draw.
    outputs: integers to compare, times `COUNT_FACTOR`.
  """
  rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
  left = outputs * COUNT_FACTOR
  for index in itertools.count():
    case = _make_case(f'{kind} ties, case {index}', _MAKERS[kind], rng)
    yield case
    left -= case.count
    if left <= 0:
      return


def _make_case(label: str, make, rng) -> Case:
  """A graph of operators that each have inputs of their own."""
  tensors, operators, arrays = {}, [], {}
  for number in range(_OPERATORS):
    made, kind, scales = make(rng)
    names = tuple(f'in{number}.{place}' for place in range(len(made)))
    for name, array, scale in zip(names, made, scales):
      arrays[name] = array
      tensors[name] = Tensor(name, array.shape[1:], scale, _zero_point(rng))
    operator = kind(name=f'out{number}', inputs=names)
    inputs = [tensors[name] for name in names]
    shape = operator.output_shape(inputs)
    zero_point = -128 if kind is ops.Logistic else _zero_point(rng)
    output = Tensor(operator.name, shape, scales[-1], zero_point)
    operator.check(inputs, output)
    tensors[output.name] = output
    operators.append(operator)
  return Case(
    label=label,
    tensors=tensors,
    operators=tuple(operators),
    inputs=tuple(arrays),
    outputs=tuple(operator.output for operator in operators),
    arrays=tuple(arrays.values()),
  )


def _zero_point(rng) -> int:
  return int(rng.choice([-128, 127, 0, rng.integers(-128, 128)]))


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
