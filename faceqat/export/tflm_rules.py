"""Where TFLM computes otherwise than LiteRT's reference kernels, and limits.

Three kernels differ. PRELU and MUL divide their scales in float64, where LiteRT
divides in float32; the multipliers then differ in their last bits, and a result
near a tie may differ by a step. That is decided here for all inputs there are.
LOGISTIC is a fixed-point approximation where LiteRT has a table.

Source: `prelu_common.cc`, `mul_common.cc`, `logistic_common.cc` and
`concatenation.cc` in TFLM's `kernels`.
"""

import numpy as np

from faceqat.integer import operators as ops
from faceqat.integer.arithmetic import multiply_by_quantized_multiplier
from faceqat.integer.multipliers import quantize_multiplier
from faceqat.integer.program import IntegerProgram
from faceqat.integer.tensors import Tensor

MOST_INPUTS = 10
_PRELU_REMEDY = (
  'give the network a PReLU that TFLM computes alike, with '
  '--config.quant.default.prelu=sum, and calibrate or train it again'
)
_MUL_REMEDY = 'calibrate the network on other images, which gives other scales'
_OTHERWISE = (
  'or give --formats=tflite in place of --target, for a file that promises '
  'nothing in TFLM'
)


def check_program(program: IntegerProgram):
  """Raises a ValueError, naming the operator, where `check_operator` does."""
  for operator in program.operators:
    output = program.tensors[operator.output]
    check_operator(operator, program.inputs_of(operator), output)


def check_operator(
  operator: ops.Operator, inputs: list[Tensor], output: Tensor
):
  """Refuses what TFLM does not compute as `tflite_ref` has it.

  Raises:
    ValueError: TFLM has another result for some input, or takes no such
      operator; it says which and what to do.
  """
  if isinstance(operator, ops.PReLU):
    _check_prelu(operator, inputs[0], output)
  elif isinstance(operator, ops.Mul):
    _check_mul(operator, inputs, output)
  elif isinstance(operator, ops.Logistic):
    operator.fail(
      'TFLM has a fixed-point approximation where LiteRT has a table, and some '
      'results differ; choose a network without a logistic function (squeeze '
      f'and excitation has one), {_OTHERWISE}'
    )
  elif isinstance(operator, ops.Concat) and len(inputs) > MOST_INPUTS:
    operator.fail(
      f'joins {len(inputs)} tensors, and TFLM takes {MOST_INPUTS} at most; '
      'join some of them first'
    )


def _check_prelu(operator: ops.PReLU, source: Tensor, output: Tensor):
  x = _values(source)[:, None]
  slopes = operator.alpha.astype(np.int32)
  theirs = (
    quantize_multiplier(source.scale / output.scale),
    quantize_multiplier(source.scale * operator.alpha_scale / output.scale),
  )
  results = [
    np.where(x >= 0, _rescaled(x, positive), _rescaled(x * slopes, negative))
    for positive, negative in (operator.rescalings([source], output), theirs)
  ]
  _check_equal(operator, output, *results, _PRELU_REMEDY)


def _check_mul(operator: ops.Mul, inputs: list[Tensor], output: Tensor):
  first, second = inputs
  x, y = _values(first), _values(second)[:, None]
  # A square has but the products on the diagonal.
  products = x * x if first == second else x * y
  (ours,) = operator.rescalings(inputs, output)
  theirs = quantize_multiplier(first.scale * second.scale / output.scale)
  results = [_rescaled(products, each) for each in (ours, theirs)]
  _check_equal(operator, output, *results, _MUL_REMEDY)


def _values(tensor: Tensor) -> np.ndarray:
  """All that a tensor can hold, less its zero point: int32."""
  return (
    np.arange(tensor.qmin, tensor.qmax + 1, dtype=np.int32) - tensor.zero_point
  )


def _rescaled(x: np.ndarray, multiplier) -> np.ndarray:
  q31, shift = multiplier[:2]
  return np.asarray(multiply_by_quantized_multiplier(x, q31, shift))


def _check_equal(operator, output: Tensor, ours, theirs, remedy: str):
  limits = operator.limits_of(output)
  ours, theirs = (
    np.clip(each + output.zero_point, *limits) for each in (ours, theirs)
  )
  differing = np.count_nonzero(ours != theirs)
  if differing:
    operator.fail(
      'TFLM divides the scales in float64 where LiteRT divides in float32, and '
      f'{differing:,} of {ours.size:,} possible results differ by a step; '
      f'{remedy}, {_OTHERWISE}'
    )
