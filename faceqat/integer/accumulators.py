"""Proves that no int32 of a program overflows, for any image.

The evaluator adds in int32, the runtimes too. The bounds hold whatever the
activations are (within their bits), in whatever order sums are taken.
"""

import numpy as np

from faceqat.integer.operator_base import Operator
from faceqat.integer.tensors import Tensor

INT32_MAX = 2**31 - 1


def check_operator(operator: Operator, inputs: list[Tensor], output: Tensor):
  """Raises ValueError where an int32 of this operator could overflow."""
  try:
    rescalings = operator.rescalings(inputs, output)
  except ValueError as error:
    operator.fail(error)
  for what, bound in operator.sums(inputs).items():
    _check(operator, bound, what)
  for _, shift, reach in rescalings:
    # Rescaling by q31 < 2^31 enlarges no number; then the zero point is added.
    raised = reach * 2 ** np.maximum(np.int64(shift), 0)
    added = np.where(np.asarray(shift) >= 0, abs(output.zero_point), 0)
    _check(operator, raised + added, 'the accumulator that is rescaled')


def _check(operator: Operator, bound: int | np.ndarray, what: str):
  if np.max(bound) > INT32_MAX:
    channel = int(np.argmax(bound))
    where = f'channel {channel}: ' if np.ndim(bound) else ''
    operator.fail(
      f'{where}{what} can reach {int(np.max(bound))}, more than '
      f'int32 holds ({INT32_MAX}). Its bias, weights or scales are '
      'out of proportion; look at that layer'
    )
