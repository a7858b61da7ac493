"""Results do not depend on how a program approximates, fuses or folds."""

import functools
import types

import jax
import numpy as np
import pytest
from ulps import beside

from faceqat.quant import exact

F32 = np.float32
ODD = (1, 3, 7, 15, 31, 63, 127)


def magnitudes(size=20000):
  """Over the range of kernels and variances."""
  return F32(10 ** np.random.default_rng(0).uniform(-7, 7, size))


def ties(size, step, seed=0):
  """Halves of steps, and what is a unit or two in the last place beside."""
  rng = np.random.default_rng(seed)
  x = F32((rng.integers(-140, 140, (size, len(step))) + 0.5) * step)
  return beside(rng, beside(rng, x))


def largest_fitting(x, step, lower, upper):
  """The definition, by trial of every whole number."""
  steps = np.full(np.shape(x), lower, F32)
  for k in range(lower + 1, upper + 1):
    steps += x >= F32(k - 0.5) * step
  return steps


STEPS = F32([0.1, 0.3, 0.7, 1e-3, 12.34, 5e4, 3e-8, 1 / 127])


@pytest.mark.parametrize('step', [STEPS, STEPS[0]], ids=['each', 'one'])
@pytest.mark.parametrize('upper', [1, 7, 127])
def test_steps_are_those_of_the_definition_in_every_program(upper, step):
  x = np.concatenate([ties(3000, STEPS), -7 * STEPS[None] * F32(1e6)])
  run = functools.partial(exact.nearest_steps, lower=-upper, upper=upper)
  wanted = largest_fitting(x, step, -upper, upper)
  assert set(np.unique(wanted)) == set(range(-upper, upper + 1))
  np.testing.assert_array_equal(run(x, step), wanted)
  np.testing.assert_array_equal(jax.jit(run)(x, step), wanted)
  # Known at compile time, where XLA multiplies with the inverse.
  np.testing.assert_array_equal(jax.jit(lambda x: run(x, step))(x), wanted)
  # Between a product and a sum with which it is compiled.
  fused = jax.jit(lambda x, step: (run(x * 1.5, step), run(x * 1.5, step) + x))
  wanted = largest_fitting(x * F32(1.5), step, -upper, upper)
  np.testing.assert_array_equal(fused(x, step)[0], wanted)


def test_halves_go_up_and_the_rest_to_the_nearest():
  x = F32([-9, -2.5, -1.5, -0.5, 0, 0.25, 0.5, 1.5, 2.49, 9])
  got = exact.nearest_steps(x, F32(1), lower=-3, upper=3)
  np.testing.assert_array_equal(got, [-3, -2, -1, 0, 0, 0, 1, 2, 2, 3])
  np.testing.assert_array_equal(
    exact.nearest_steps(F32([np.nan]), F32(1), lower=-3, upper=3), [np.nan]
  )


@pytest.mark.parametrize('divisor', ODD)
def test_quotients_are_rounded_correctly(divisor):
  x = magnitudes()
  run = functools.partial(exact.nearest_quotient, divisor=divisor)
  for got in (run(x), jax.jit(run)(x), jax.jit(lambda: run(x[:99]))()):
    np.testing.assert_array_equal(got, x[: len(got)] / F32(divisor))


@pytest.mark.parametrize('divisor', [0, 2, -3, 257])
def test_other_divisors_are_refused(divisor):
  with pytest.raises(ValueError, match='odd'):
    exact.nearest_quotient(F32(1), divisor)


def test_inverse_roots_are_within_a_unit_in_the_last_place():
  x = magnitudes()
  got = np.asarray(jax.jit(exact.inverse_root)(x))
  error = np.abs(got - 1 / np.sqrt(np.float64(x))) / np.spacing(got)
  assert error.max() < 1
  # Of a batch norm that does nothing.
  assert exact.inverse_root(F32(1)) == 1
  assert exact.inverse_root(F32(0.25)) == 2


@pytest.mark.parametrize('ulps', [-3, -1, 1, 3])
def test_an_inverse_root_does_not_depend_on_the_first_guess(monkeypatch, ulps):
  x = magnitudes()
  wanted = exact.inverse_root(x)

  def poorer(x):
    # The inverse of so many ulps is off by up to twice as many.
    return (np.sqrt(x).view(np.int32) + np.int32(ulps)).view(F32)

  functions = types.SimpleNamespace(sqrt=poorer, sum=np.sum)
  monkeypatch.setattr(exact, 'namespace', lambda x: functions)
  np.testing.assert_array_equal(exact.inverse_root(x), wanted)


def test_an_inverse_root_has_no_gradient():
  assert jax.grad(exact.inverse_root)(F32(2)) == 0
