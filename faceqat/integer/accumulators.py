"""Bounds on every int32 that a program computes, for any image.

The evaluator adds in int32, the runtimes too. A bound here holds whatever the
activations are (within their bits), in whatever order sums are taken.
"""

import numpy as np

from faceqat.integer import multipliers
from faceqat.integer.operators import (
  Add,
  AveragePool,
  Conv2D,
  Dense,
  L2Normalize,
  Mean,
  Mul,
  Operator,
  PReLU,
  Requantize,
)
from faceqat.integer.tensors import Tensor

INT32_MAX = 2**31 - 1


def folded_bias(operator: Conv2D | Dense, source: Tensor) -> np.ndarray:
  """Bias [O], int64, that makes raw sums right: `bias - zp * sum(w)`."""
  axes = tuple(range(operator.weights.ndim - 1))
  total = operator.weights.sum(axis=axes, dtype=np.int64)
  return operator.bias.astype(np.int64) - source.zero_point * total


def weighted_bounds(
  operator: Conv2D | Dense, source: Tensor
) -> tuple[np.ndarray, np.ndarray]:
  """Largest magnitudes [O], int64, that an accumulator can reach.

  Returns:
    (corrected, raw): of `bias + sum((q - zp) * w)` and its partial sums, and
    of `folded_bias + sum(q * w)` and its partial sums.
  """
  axes = tuple(range(operator.weights.ndim - 1))
  total = np.abs(operator.weights.astype(np.int64)).sum(axis=axes)
  bias = np.abs(operator.bias.astype(np.int64))
  folded = np.abs(folded_bias(operator, source))
  raw_reach = max(-source.qmin, source.qmax)
  return total * offset_reach(source) + bias, total * raw_reach + folded


def offset_reach(tensor: Tensor) -> int:
  """Largest `|q - zero_point|`."""
  return max(tensor.zero_point - tensor.qmin, tensor.qmax - tensor.zero_point)


def pool_reach(operator: AveragePool, source: Tensor) -> int:
  """Largest magnitude of a window's raw sum, with half its size to round."""
  height, width = map(min, operator.window, source.shape)
  count = height * width
  return count * max(-source.qmin, source.qmax) + count // 2


def rescale_reach(
  operator: Operator, inputs: list[Tensor], output: Tensor
) -> tuple[np.ndarray, np.ndarray]:
  """What an operator hands to its fixed-point rescaling.

  Returns:
    (magnitudes, shifts), int64 [C], [2] for the two sides of a PReLU, or [1]:
    the largest magnitudes, and the shifts of their multipliers. Empty where
    nothing is rescaled, and for Add, whose scales `check_operator` looks at.
  """
  source = inputs[0]
  if isinstance(operator, (Conv2D, Dense)):
    _, shift = multipliers.weighted_multipliers(operator, source, output)
    reach = weighted_bounds(operator, source)[0]
  elif isinstance(operator, Requantize):
    _, shift = multipliers.requantize_multiplier(source, output)
    reach = [offset_reach(source)]
  elif isinstance(operator, Mean):
    _, shift = multipliers.mean_multiplier(source, output)
    reach = [offset_reach(source) * source.shape[0] * source.shape[1]]
  elif isinstance(operator, Mul):
    _, shift = multipliers.mul_multiplier(*inputs, output)
    reach = [offset_reach(source) * offset_reach(inputs[1])]
  elif isinstance(operator, PReLU):
    pairs = multipliers.prelu_multipliers(operator, source, output)
    shift = [pair[1] for pair in pairs]
    alpha = int(np.abs(operator.alpha.astype(np.int64)).max())
    reach = np.array([1, alpha]) * offset_reach(source)
  else:
    return np.zeros(0, np.int64), np.zeros(0, np.int64)
  return np.asarray(reach, np.int64), np.atleast_1d(shift).astype(np.int64)


def check_operator(operator: Operator, inputs: list[Tensor], output: Tensor):
  """Raises ValueError where an int32 of this operator could overflow."""
  try:
    if isinstance(operator, Add):
      # Headroom holds for any scales: 255 * 2^20 at a factor of at most 1/2.
      multipliers.add_multipliers(*inputs, output)
    reach, shift = rescale_reach(operator, inputs, output)
  except ValueError as error:
    operator.fail(str(error).removesuffix('.'))
  if isinstance(operator, (Conv2D, Dense)):
    bounds = weighted_bounds(operator, inputs[0])
    for kind, bound in zip(('zero-point corrected', 'raw'), bounds):
      _check(operator, bound, f'the {kind} accumulator')
  elif isinstance(operator, L2Normalize):
    squares = inputs[0].shape[0] * offset_reach(inputs[0]) ** 2
    _check(operator, np.array([squares]), 'the sum of squares')
  elif isinstance(operator, Mean):
    _check(operator, reach, 'the sum over height and width')
  elif isinstance(operator, AveragePool):
    _check(operator, np.array([pool_reach(operator, inputs[0])]), 'the sum')
  # Rescaling by q31 < 2^31 enlarges no number; then the zero point is added.
  raised = reach * 2 ** np.maximum(shift, 0)
  added = np.where(shift >= 0, abs(output.zero_point), 0)
  _check(operator, raised + added, 'the accumulator that is rescaled')


def _check(operator: Operator, bound: np.ndarray, what: str):
  if bound.size and bound.max() > INT32_MAX:
    channel = int(bound.argmax())
    weighted = isinstance(operator, (Conv2D, Dense))
    where = f'channel {channel}: ' if weighted else ''
    operator.fail(
      f'{where}{what} can reach {int(bound[channel])}, more than '
      f'int32 holds ({INT32_MAX}). Its bias, weights or scales are '
      'out of proportion; look at that layer'
    )
