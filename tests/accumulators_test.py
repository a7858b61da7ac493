"""The proof that no int32 overflows."""

import numpy as np
import pytest

from faceqat.integer import program
from faceqat.integer.program import IntegerProgram, Tensor


def one_dense(weights, bias, *, zero_point=0, scales=(0.1, 0.1, 1.0)):
  """image -> flat -> requantized -> dense, to place a bound exactly."""
  weights = np.asarray(weights, np.int8)
  count = weights.shape[0]
  return IntegerProgram(
    tensors={
      tensor.name: tensor
      for tensor in (
        Tensor('image', (1, 1, count), 1 / 128, 0),
        Tensor('flat', (count,), 1 / 128, 0),
        Tensor('x', (count,), scales[0], zero_point),
        Tensor('y', (weights.shape[1],), scales[2], 0),
      )
    },
    operators=(
      program.Reshape(name='flat', inputs=('image',)),
      program.Requantize(name='x', inputs=('flat',)),
      program.Dense(
        name='y',
        inputs=('x',),
        weights=weights,
        weight_scale=np.full(weights.shape[1], scales[1], np.float32),
        bias=np.asarray(bias, np.int32),
      ),
    ),
    input='image',
    output='y',
  )


def test_the_accumulator_bound_is_tight():
  weights = [[1, 100], [2, -27]]
  # zero point -128: inputs reach 255; channel 1: 127 * 255.
  room = 2**31 - 1 - 127 * 255
  program.check_accumulators(one_dense(weights, [0, room], zero_point=-128))
  # Signs count: raw sums meet a folded bias of bias + 128 * 73.
  with pytest.raises(
    ValueError, match=r"'y' \(Dense\): channel 1: .*2147483648"
  ):
    program.check_accumulators(
      one_dense(weights, [0, room + 1], zero_point=-128)
    )


def test_raw_sums_with_the_folded_bias_are_checked_too():
  # At zero point -1 offsets reach 128, as raw values do; folding the zero
  # point in adds the weights' sum, 200, to the bias.
  weights = [[100], [100]]
  room = 2**31 - 1 - 128 * 200
  program.check_accumulators(one_dense(weights, [room - 200], zero_point=-1))
  with pytest.raises(ValueError, match='the raw accumulator'):
    program.check_accumulators(one_dense(weights, [room - 199], zero_point=-1))
  with pytest.raises(ValueError, match='the zero-point corrected accumulator'):
    program.check_accumulators(one_dense(weights, [room + 1], zero_point=-1))


def test_a_left_shift_that_could_overflow_is_refused():
  # Factor 2^17: 127 * 128 << 18 is over 2^31.
  shifted = one_dense([[127]], [0], scales=(1.0, 1.0, 2.0**-17))
  with pytest.raises(ValueError, match='before rescaling'):
    program.check_accumulators(shifted)
  program.check_accumulators(
    one_dense([[127]], [0], scales=(1.0, 1.0, 2.0**-15))
  )


def test_an_add_whose_output_scale_is_absurd_is_refused():
  tensors = [
    Tensor('image', (4, 4, 3), 1 / 128, 0),
    Tensor('sum', (4, 4, 3), 2.0**-27, 0),
  ]
  absurd = IntegerProgram(
    tensors={tensor.name: tensor for tensor in tensors},
    operators=(program.Add(name='sum', inputs=('image', 'image')),),
    input='image',
    output='sum',
  )
  with pytest.raises(ValueError, match=r"'sum' \(Add\): the output scale"):
    program.check_accumulators(absurd)
