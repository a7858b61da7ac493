"""Batch norm of values whose mean is far larger than their deviation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from defaults import batch_norm, batch_renorm

from faceqat.quant.batchnorm import FoldedBatchNorm, batch_moments
from faceqat.quant.norm import BatchNorm
from faceqat.quant.spec import Mode

TRAIN = Mode(train=True)
QAT = Mode(train=True, quantize=True)
# Resolved in float32 to 82 steps of 2.4e-4 each.
MEAN, DEVIATION = 4000, 0.02


@pytest.fixture(params=[(64,), (8, 14, 14), (16, 1, 1)], ids=str)
def far(request):
  """Values whose mean is 200,000 deviations from 0, one channel's is not."""
  rng = np.random.default_rng(7)
  mean = np.array([MEAN, 0, -2, -MEAN, MEAN])
  deviation = np.array([DEVIATION, 1, 3, DEVIATION, 1])
  return np.float32(rng.normal(mean, deviation, (*request.param, 5)))


def exact_statistics(y):
  y = np.float64(y).reshape(-1, y.shape[-1])
  return y.mean(0), y.var(0)


NORM = FoldedBatchNorm(5, BatchNorm(0.0, 1e-6))


def new_variables(y, norm=NORM):
  return norm.init(jax.random.key(0), lambda factor: y, TRAIN)


@pytest.mark.parametrize('start', [0, 1000])
@pytest.mark.parametrize('kind', [batch_norm, batch_renorm])
@pytest.mark.parametrize('mode', [TRAIN, QAT])
def test_a_variance_small_beside_the_mean_is_exact(far, mode, kind, start):
  norm = FoldedBatchNorm(5, kind(momentum=0.0, epsilon=1e-6))
  variables = new_variables(far, norm)
  variables['batch_stats']['mean'] += start

  def normalise(y):
    def product(factor):
      return y if factor is None else y * factor

    return norm.apply(variables, product, mode, mutable=['batch_stats'])

  # At level 0 XLA for CPUs may subtract the sum of what is subtracted in turn.
  options = {'xla_backend_optimization_level': 1}
  y, updated = jax.jit(normalise, compiler_options=options)(far)
  mean, var = exact_statistics(far)
  stats = updated['batch_stats']
  # A moving statistic of momentum 0 is m + (batch - m), rounded beside m: by
  # half a unit of 4,000 or of `start`, and of the variance's first value, 1.
  np.testing.assert_allclose(stats['mean'], mean, rtol=3e-7, atol=2e-4)
  np.testing.assert_allclose(stats['var'], var, rtol=1e-5, atol=2e-7)
  # The fold's product rounds each value of 4,000 by up to half of 2.4e-4,
  # which is 0.006 deviations; else all is float32, of values up to 5.
  wanted = (far - mean) / np.sqrt(var + 1e-6)
  atol = 2e-2 if mode.quantize else 1e-5
  np.testing.assert_allclose(y, wanted, atol=atol)


@pytest.mark.parametrize('compile_it', [True, False])
def test_statistics_are_those_of_float64(far, compile_it):
  run = jax.jit(batch_moments) if compile_it else batch_moments
  origin, offset, var = (np.float64(value) for value in run(far))
  mean, wanted = exact_statistics(far)
  # Float32 sums of some thousand terms, of deviations about the middle row;
  # that row's mean is within one of the mean.
  deviation = np.sqrt(wanted)
  assert np.all(np.abs(origin + offset - mean) < 1e-5 * deviation)
  np.testing.assert_allclose(var, wanted, rtol=2e-5)


def test_gradients_beside_a_large_mean_are_those_of_float64(far):
  rng = np.random.default_rng(8)
  target = rng.normal(0, 1, far.shape)
  variables = new_variables(far)

  def project(y):
    out, _ = NORM.apply(
      variables, lambda factor: y, TRAIN, mutable=['batch_stats']
    )
    return jnp.sum(out * np.float32(target))

  got = jax.jit(jax.grad(project))(far)
  # Ioffe and Szegedy 2015, section 3.
  mean, var = exact_statistics(far)
  normal = (far - mean) / np.sqrt(var + 1e-6)
  axes = tuple(range(far.ndim - 1))
  slope = np.mean(target * normal, axes)
  wanted = (target - np.mean(target, axes) - normal * slope) / np.sqrt(
    var + 1e-6
  )
  # Float32 sums of some hundred terms against float64, relative to the largest.
  error = np.abs(got - wanted).max(axes) / np.abs(wanted).max(axes)
  assert error.max() < 2e-5


def test_the_origin_may_be_an_outlier():
  # All of the middle row is far from the rest: the worst origin there is.
  y = np.random.default_rng(9).normal(5, 1e-3, (4, 12, 12, 5))
  y[:, 6] += 1000
  y = np.float32(y)
  _, updated = jax.jit(
    lambda y: NORM.apply(
      new_variables(y), lambda factor: y, TRAIN, mutable=['batch_stats']
    )
  )(y)
  # Twelve rows lose at most some dozens of roundings of 6e-8.
  _, var = exact_statistics(y)
  np.testing.assert_allclose(updated['batch_stats']['var'], var, rtol=1e-5)
