"""The proof that no int32 overflows."""

import numpy as np
import pytest
from small_programs import small_program

from faceqat.integer import operators as ops
from faceqat.integer import program
from faceqat.integer.accumulators import check_operator
from faceqat.integer.tensors import Tensor


def check_dense(
  weights, bias, *, zero_point=0, scales=(0.1, 0.1, 1.0), output=0
):
  """Checks a dense layer; scales are of its input, weights and output."""
  weights = np.asarray(weights, np.int8)
  size, channels = weights.shape
  operator = ops.Dense(
    name='y',
    inputs=('x',),
    weights=weights,
    weight_scale=np.full(channels, scales[1], np.float32),
    bias=np.asarray(bias, np.int32),
  )
  check_operator(
    operator,
    [Tensor('x', (size,), scales[0], zero_point)],
    Tensor('y', (channels,), scales[2], output),
  )


def test_a_whole_program_is_checked():
  fits = small_program()
  program.check_accumulators(fits)
  fits.operators[1].bias[2] = 2**31 - 1
  with pytest.raises(ValueError, match=r"'embedding' \(Dense\): channel 2: "):
    program.check_accumulators(fits)


def test_the_accumulator_bound_is_tight():
  weights = [[1, 100], [2, -27]]
  # zero point -128: inputs reach 255; channel 1: 127 * 255.
  room = 2**31 - 1 - 127 * 255
  check_dense(weights, [0, room], zero_point=-128)
  # Signs count: raw sums meet a folded bias of bias + 128 * 73.
  with pytest.raises(
    ValueError, match=r"'y' \(Dense\): channel 1: .*2147483648"
  ):
    check_dense(weights, [0, room + 1], zero_point=-128)


def test_raw_sums_with_the_folded_bias_are_checked_too():
  # At zero point -1 offsets reach 128, as raw values do; folding the zero
  # point in adds the weights' sum, 200, to the bias.
  weights = [[100], [100]]
  room = 2**31 - 1 - 128 * 200
  check_dense(weights, [room - 200], zero_point=-1)
  with pytest.raises(ValueError, match='the raw accumulator'):
    check_dense(weights, [room - 199], zero_point=-1)
  with pytest.raises(ValueError, match='the zero-point corrected accumulator'):
    check_dense(weights, [room + 1], zero_point=-1)


def test_a_left_shift_that_could_overflow_is_refused():
  # Factor 2^17: 127 * 128 << 18 is over 2^31.
  with pytest.raises(ValueError, match='that is rescaled'):
    check_dense([[127]], [0], scales=(1.0, 1.0, 2.0**-17))
  check_dense([[127]], [0], scales=(1.0, 1.0, 2.0**-15))


def test_the_output_zero_point_needs_room_beside_the_rescaled_sum():
  # The factor is just below 1, so that rescaling takes nothing off.
  scales = 1.0, float(np.nextafter(np.float32(1), np.float32(0))), 1.0
  room = 2**31 - 1 - 128 - 128
  for bias, output in ((-room, -128), (-room - 128, 0)):
    check_dense([[1]], [bias], scales=scales, output=output)
    with pytest.raises(ValueError, match=r'rescaled|accumulator can'):
      check_dense([[1]], [bias - 1], scales=scales, output=output)


def test_an_add_whose_output_scale_is_absurd_is_refused():
  operator = ops.Add(name='sum', inputs=('x', 'x'))
  source, output = Tensor('x', (4,), 0.01, 0), Tensor('sum', (4,), 2.0**-27, 0)
  with pytest.raises(ValueError, match=r"'sum' \(Add\): the output scale"):
    check_operator(operator, [source, source], output)


def test_a_product_whose_rescaling_could_overflow_is_refused():
  operator = ops.Mul(name='y', inputs=('a', 'b'))
  inputs = [Tensor('a', (4,), 1.0, -128), Tensor('b', (4,), 1.0, -128)]
  # 255 * 255 is just below 2^16, and a factor of 2^14 shifts by 15.
  check_operator(operator, inputs, Tensor('y', (4,), 2.0**-14, 0))
  with pytest.raises(ValueError, match=r"'y' \(Mul\): the accumulator that"):
    check_operator(operator, inputs, Tensor('y', (4,), 2.0**-15, 0))
  # A quotient that float32 cannot hold has no multiplier.
  absurd = Tensor('y', (4,), 1e-37, 0)
  huge = [Tensor(name, (4,), 1e30, 0) for name in 'ab']
  with pytest.raises(ValueError, match=r"'y' \(Mul\): a rescaling factor"):
    check_operator(operator, huge, absurd)


def test_the_sum_of_a_pooling_window_is_bounded():
  def check(side):
    pool = ops.AveragePool(
      name='y', inputs=('x',), window=(2**16, side), strides=(1, 1)
    )
    source = Tensor('x', (2**16, side, 1), 0.1, 0)
    check_operator(pool, [source], Tensor('y', (1, 1, 1), 0.1, 0))

  # 2^16 * 254 values of -128, with half their number to round.
  check(254)
  with pytest.raises(ValueError, match=r"'y' \(AveragePool\): the sum can"):
    check(256)
  # What lies outside the image is not in the sum.
  pool = ops.AveragePool(
    name='y',
    inputs=('x',),
    window=(2**16, 2**16),
    strides=(1, 1),
    padding=((2**16 - 1, 0), (2**16 - 1, 0)),
  )
  check_operator(
    pool, [Tensor('x', (2, 2, 1), 0.1, 0)], Tensor('y', (2, 2, 1), 0.1, 0)
  )


@pytest.mark.parametrize(
  ('kind', 'fits', 'too_much', 'message'),
  [
    # Values of up to 128, and their squares.
    (ops.Mean, (4096, 4095, 1), (4096, 4096, 1), 'the sum over height'),
    (ops.L2Normalize, (2**17 - 1,), (2**17,), 'the sum of squares'),
  ],
)
def test_sums_over_a_whole_tensor_are_bounded(kind, fits, too_much, message):
  def check(shape):
    operator = kind(name='y', inputs=('x',))
    output = Tensor('y', shape[-1:], 1.0, 0)
    check_operator(operator, [Tensor('x', shape, 1.0, 0)], output)

  check(fits)
  with pytest.raises(ValueError, match=rf"'y' \({kind.__name__}\): {message}"):
    check(too_much)


def test_a_slope_whose_rescaling_could_overflow_is_refused():
  alpha = np.array([0, 127], np.int8)
  operator = ops.PReLU(name='y', inputs=('x',), alpha=alpha, alpha_scale=1.0)
  source = Tensor('x', (2,), 1.0, 0)
  # 128 * 127 is just below 2^14, and a factor of 2^16 shifts by 17.
  check_operator(operator, [source], Tensor('y', (2,), 2.0**-16, 0))
  with pytest.raises(ValueError, match=r"'y' \(PReLU\): channel 1: the accu"):
    check_operator(operator, [source], Tensor('y', (2,), 2.0**-17, 0))
