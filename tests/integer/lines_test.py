"""A line, where one is found, has every bit of the rule that it replaces."""

import jax.numpy as jnp
import numpy as np
import pytest
from kernel_checks import int8

from faceqat.integer import lines
from faceqat.integer.arithmetic import multiply_by_quantized_multiplier
from faceqat.integer.multipliers import Rescaling


def drawn_rescaling(rng, channels, shifts, reach):
  q31 = rng.integers(2**30, 2**31, channels)
  q31[:3] = 2**30, 2**31 - 1, 3 * 2**29  # The first and third have ties.
  shift = rng.integers(*shifts, channels, endpoint=True)
  return Rescaling(q31, shift, np.full(channels, reach))


@pytest.mark.parametrize('zero_point', [-128, -7, 127])
@pytest.mark.parametrize('limits', [(-128, 127), (-7, 100), (-16, 15)])
def test_a_line_equals_its_rescaling_for_every_accumulator(limits, zero_point):
  rng = np.random.default_rng(0)
  reach = 2**15
  rescaling = drawn_rescaling(rng, 24, (-12, -1), reach)
  rescaling.reach[3:6] = 0, 1, 700
  line = lines.fit_rescaling(rescaling, zero_point, limits)
  x = np.arange(-reach, reach + 1)[:, None]
  x = np.clip(x, -rescaling.reach, rescaling.reach)
  wanted = np.clip(lines.rescale_on_host(x, rescaling) + zero_point, *limits)
  got = lines.on_line(jnp.asarray(x, jnp.int32), line)
  np.testing.assert_array_equal(got, wanted)


def test_a_line_equals_its_rescaling_at_every_step_of_long_sums():
  rng = np.random.default_rng(1)
  reach = 2**28
  rescaling = drawn_rescaling(rng, 64, (-10, -8), reach)
  line = lines.fit_rescaling(rescaling, 3, (-128, 127))
  # Where the rule takes its steps, found by halving.
  steps = np.arange(-127, 128)[:, None]
  low = np.full((255, 64), -reach)
  high = np.full((255, 64), reach)
  while (high - low > 1).any():
    middle = (low + high) >> 1
    reached = lines.rescale_on_host(middle, rescaling) + 3 >= steps
    low, high = np.where(reached, low, middle), np.where(reached, middle, high)
  x = np.concatenate([low, high, rng.integers(-reach, reach, (2000, 64))])
  wanted = np.clip(lines.rescale_on_host(x, rescaling) + 3, -128, 127)
  got = lines.on_line(jnp.asarray(x, jnp.int32), line)
  np.testing.assert_array_equal(got, wanted)


def test_factors_that_lines_do_not_take_are_left_to_the_rule():
  for q31, shift in ((2**30, 0), (2**30, -24), (0, 0)):
    rescaling = Rescaling(q31, shift, 2**20)
    assert lines.fit_rescaling(rescaling, 0, (-128, 127)) is None
  assert lines.fit_rescaling(Rescaling(2**30, -8, 900), 0, (127, 127)) is None


def test_the_host_rescales_as_the_device_does():
  rng = np.random.default_rng(2)
  x = rng.integers(-(2**20), 2**20, (5000, 31 + 10))
  shift = np.arange(-31, 10)
  q31 = rng.integers(2**30, 2**31, shift.size)
  np.testing.assert_array_equal(
    lines.rescale_on_host(x, Rescaling(q31, shift, 2**20)),
    multiply_by_quantized_multiplier(jnp.asarray(x, jnp.int32), q31, shift),
  )


@pytest.mark.parametrize('scale', [0.31830989, 1.4142136, 40.123457])
def test_two_lines_equal_their_table(scale):
  q = np.arange(-100, 128)[:, None]
  slopes = np.linspace(-0.9, 1.7, 40) + np.pi / 1000
  values = np.rint(scale * np.where(q >= -9, q + 9, (q + 9) * slopes)) - 40
  table = np.clip(values, -128, 127)
  found = lines.fit_table(table, -100, -9, (-128, 127))
  wide = jnp.asarray(np.broadcast_to(q, table.shape), jnp.int8)
  np.testing.assert_array_equal(lines.on_lines(wide, found), table)


def test_a_plane_equals_its_table():
  first, second = np.arange(-128, 128), np.arange(-127, 100)
  ratios = 2**0.5 / 2, 1.2345 * 3**0.5 / 2
  values = (first[:, None] - 5) * ratios[0] + (second + 9) * ratios[1]
  table = np.clip(np.rint(values) + 11, -128, 127)
  plane = lines.fit_sum(table, (-128, -127), ratios, (-128, 127))
  pair = np.meshgrid(first, second, indexing='ij')
  got = lines.on_plane(*(jnp.asarray(x, jnp.int8) for x in pair), plane)
  np.testing.assert_array_equal(got, table)


def test_what_is_no_line_and_no_plane_has_none():
  table = int8(np.random.default_rng(3), 256, 256)
  assert lines.fit_table(table, -128, 0, (-128, 127)) is None
  assert lines.fit_sum(table, (-128, -128), (1.0, 1.0), (-128, 127)) is None
