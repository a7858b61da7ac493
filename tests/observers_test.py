import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.quant import observers


def _observe_all(batches, observer, decay=0.9):
  seen = observers.initial_range()
  for batch in batches:
    seen = observers.observe(seen, batch, observer=observer, decay=decay)
  return seen


def test_nothing_is_set_before_the_first_batch():
  seen = observers.initial_range()
  assert not observers.is_set(seen)
  assert [v.dtype for v in seen] == [jnp.float32, jnp.float32, jnp.int32]


@pytest.mark.parametrize('observer', observers.OBSERVERS)
def test_the_first_batch_sets_the_range(observer):
  seen = _observe_all([jnp.array([-3.0, 0.5, 7.0])], observer)
  assert observers.is_set(seen)
  assert (seen.minimum, seen.maximum, seen.count) == (-3, 7, 1)


def test_ema_weights_the_past_by_decay():
  batches = [jnp.array([-1.0, 2.0]), jnp.array([-2.0, 12.0])]
  seen = _observe_all(batches, 'ema', decay=0.75)
  # Exact in float32: decay and values are sums of few powers of two.
  assert (seen.minimum, seen.maximum, seen.count) == (-1.25, 4.5, 2)


def test_minmax_keeps_the_extremes():
  batches = [jnp.array([-1.0, 9.0]), jnp.array([-2.0, 1.0]), jnp.zeros(2)]
  seen = _observe_all(batches, 'minmax')
  assert (seen.minimum, seen.maximum, seen.count) == (-2, 9, 3)


@pytest.mark.parametrize('observer', observers.OBSERVERS)
def test_the_range_contains_zero(observer):
  seen = _observe_all([jnp.array([2.0, 3.0]), jnp.array([2.0, 3.0])], observer)
  assert (seen.minimum, seen.maximum) == (0, 3)
  seen = _observe_all([jnp.array([-3.0, -2.0])], observer)
  assert (seen.minimum, seen.maximum) == (-3, 0)


def test_observing_carries_no_gradient():
  def loss(x):
    seen = observers.observe(
      observers.initial_range(), x, observer='ema', decay=0.9
    )
    return seen.maximum - seen.minimum

  np.testing.assert_array_equal(jax.grad(loss)(jnp.arange(4.0)), 0)


def test_bfloat16_batches_are_kept_in_float32():
  seen = _observe_all([jnp.array([-1.0, 2.0], jnp.bfloat16)], 'ema')
  assert seen.minimum.dtype == seen.maximum.dtype == jnp.float32


def test_unknown_settings_are_an_error():
  seen = observers.initial_range()
  with pytest.raises(ValueError, match=r"'mean'.*\['ema', 'minmax'\]"):
    observers.observe(seen, jnp.ones(2), observer='mean', decay=0.9)
  with pytest.raises(ValueError, match=r'decay is 1\.0'):
    observers.observe(seen, jnp.ones(2), observer='ema', decay=1.0)


@pytest.mark.skipif(
  jax.device_count() < 2,
  reason='needs two devices (XLA_FLAGS=--xla_force_host_platform_device_count)',
)
@pytest.mark.parametrize('observer', observers.OBSERVERS)
def test_a_sharded_batch_gives_the_range_of_the_whole(observer):
  mesh = jax.make_mesh(
    (2,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  sharding = jax.NamedSharding(mesh, jax.P('data'))
  x = jax.random.normal(jax.random.key(0), (8, 3))
  step = jax.jit(
    lambda x: observers.observe(
      observers.initial_range(), x, observer=observer, decay=0.9
    )
  )
  sharded = step(jax.device_put(x, sharding))
  assert sharded == step(x)
  assert (sharded.minimum, sharded.maximum) == (x.min(), x.max())
