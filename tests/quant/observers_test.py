import contextlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from defaults import layer_quant
from device_counts import on_one_and_eight
from tiny_run import leaves

from faceqat.quant import histogram, observers
from faceqat.training import sharding
from faceqat.training.checkpoint import Checkpointer
from faceqat.training.train_state import TrainState

EXTREMES = ('ema', 'minmax')
HISTOGRAMS = ('mse', 'percentile')

observe = jax.jit(observers.observe, static_argnums=2)


def _observe_all(batches, observer, **settings):
  layer = layer_quant(observer=observer, **settings)
  seen = observers.OBSERVERS[observer].initial()
  for batch in batches:
    seen = observe(seen, jnp.asarray(batch), layer)
  return seen


def _activations(count=64):
  """Images of a layer behind a PReLU, some of them ten times as bright."""
  rng = np.random.default_rng(3)
  values = (
    rng.normal(size=(count, 5, 7))
    * rng.choice([1, 1, 1, 10], count)[:, None, None]
  )
  return np.where(values > 0, values, values / 4).astype(np.float32)


def _assert_equal(a, b):
  a, b = leaves(a), leaves(b)
  assert a.keys() == b.keys()
  for name in a:
    assert a[name].dtype == b[name].dtype, name
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_every_observer_is_tested_here():
  assert tuple(observers.OBSERVERS) == EXTREMES + HISTOGRAMS


@pytest.mark.parametrize('observer', observers.OBSERVERS)
def test_nothing_is_set_before_the_first_batch(observer):
  seen = observers.OBSERVERS[observer].initial()
  assert not observers.is_set(seen)
  dtypes = [v.dtype for v in (seen.minimum, seen.maximum, seen.count)]
  assert dtypes == [jnp.float32, jnp.float32, jnp.int32]


@pytest.mark.parametrize('observer', EXTREMES)
def test_the_first_batch_sets_the_range(observer):
  seen = _observe_all([[-3.0, 0.5, 7.0]], observer)
  assert observers.is_set(seen)
  assert seen == (-3, 7, 1)


def test_ema_weights_the_past_by_decay():
  batches = [[-1.0, 2.0], [-2.0, 12.0]]
  # Exact in float32: decay and values are sums of few powers of two.
  assert _observe_all(batches, 'ema', decay=0.75) == (-1.25, 4.5, 2)


def test_minmax_keeps_the_extremes():
  batches = [[-1.0, 9.0], [-2.0, 1.0], [0.0, 0.0]]
  assert _observe_all(batches, 'minmax') == (-2, 9, 3)


@pytest.mark.parametrize('observer', EXTREMES)
def test_the_range_contains_zero(observer):
  seen = _observe_all([[2.0, 3.0], [2.0, 3.0]], observer)
  assert (seen.minimum, seen.maximum) == (0, 3)
  seen = _observe_all([[-3.0, -2.0]], observer)
  assert (seen.minimum, seen.maximum) == (-3, 0)


@pytest.mark.parametrize('bits', [2, 8])
@pytest.mark.parametrize('symmetric', [False, True])
@pytest.mark.parametrize('observer', HISTOGRAMS)
def test_the_range_of_a_histogram_contains_zero(observer, symmetric, bits):
  settings = {'activation_bits': bits, 'symmetric': symmetric}
  positive = np.linspace(2, 3, 30, dtype=np.float32)
  for values in (positive, -positive, np.append(positive, -1e-3)):
    seen = _observe_all([values, values], observer, **settings)
    assert seen.minimum <= 0 <= seen.maximum
    assert 0.5 < seen.maximum - seen.minimum <= 6.001
    assert seen.count == 2


def test_each_layer_gets_what_it_asks_of_the_histogram():
  values = _activations()
  seen = _observe_all([values], 'percentile', percentile=97.0)
  assert seen[:2] == histogram.percentile_limits(seen.histogram, 97.0)
  narrow = _observe_all([values], 'mse', activation_bits=3)
  wide = _observe_all([values], 'mse', activation_bits=8)
  assert narrow.maximum < wide.maximum
  _assert_equal(narrow.histogram, wide.histogram)
  symmetric = _observe_all([values], 'mse', symmetric=True)
  assert symmetric.minimum == -symmetric.maximum


@pytest.mark.parametrize('observer', HISTOGRAMS)
def test_a_histogram_range_does_not_depend_on_the_split_into_batches(observer):
  values = _activations()
  wanted = _observe_all([values], observer)
  for parts in (2, 8, 64):
    seen = _observe_all(np.split(values, parts), observer)
    assert seen.count == parts
    _assert_equal(seen._replace(count=wanted.count), wanted)
  seen = _observe_all(np.split(values, 8)[::-1], observer)
  _assert_equal(seen._replace(count=wanted.count), wanted)


@pytest.mark.parametrize('observer', observers.OBSERVERS)
def test_observing_carries_no_gradient(observer):
  def loss(x):
    seen = observers.observe(
      observers.OBSERVERS[observer].initial(), x, layer_quant(observer=observer)
    )
    return seen.maximum - seen.minimum

  np.testing.assert_array_equal(jax.grad(loss)(jnp.arange(4.0)), 0)


@pytest.mark.parametrize('observer', observers.OBSERVERS)
def test_bfloat16_batches_are_kept_in_float32(observer):
  seen = _observe_all([jnp.array([-1.0, 2.0], jnp.bfloat16)], observer)
  assert seen.minimum.dtype == seen.maximum.dtype == jnp.float32


@pytest.mark.parametrize('observer', observers.OBSERVERS)
def test_eight_devices_see_what_one_sees(observer):
  layer = layer_quant(observer=observer, activation_bits=4)
  batches = {str(scale): scale * _activations() for scale in (1, 3, 2)}

  def run(batches, mesh):
    state = observers.OBSERVERS[observer].initial()
    state = sharding.replicate(state, mesh)
    for batch in batches.values():
      state = observe(state, batch, layer)
    return state

  _assert_equal(*on_one_and_eight(run, batches, size=64))


@pytest.mark.parametrize('observer', observers.OBSERVERS)
def test_what_was_observed_is_part_of_a_checkpoint(observer, tmp_path):
  first, second = np.split(_activations(), 2)
  seen = _observe_all([first], observer)
  unseen = observers.OBSERVERS[observer].initial()
  with contextlib.closing(Checkpointer(tmp_path)) as checkpointer:
    checkpointer.save(_state(seen), {}, _NO_CONFIG)
  with contextlib.closing(Checkpointer(tmp_path)) as checkpointer:
    state = checkpointer.restore(1, _state(unseen))
  read = state.quant_stats['stem']['range']
  assert type(read) is type(seen)
  _assert_equal(read, seen)
  layer = layer_quant(observer=observer)
  _assert_equal(observe(read, second, layer), observe(seen, second, layer))


def test_a_checkpoint_of_another_observer_is_refused(tmp_path):
  seen = _observe_all([_activations()], 'ema')
  with contextlib.closing(Checkpointer(tmp_path)) as checkpointer:
    checkpointer.save(_state(seen), {}, _NO_CONFIG)
  other = _state(observers.OBSERVERS['mse'].initial())
  with (
    contextlib.closing(Checkpointer(tmp_path)) as checkpointer,
    pytest.raises(ValueError, match=r'stem/range/histogram/.* is absent there'),
  ):
    checkpointer.restore(1, other)


_NO_CONFIG = ml_collections.ConfigDict()


def _state(seen):
  return TrainState(
    step=jnp.asarray(1, jnp.int32),
    params={
      'backbone': {'kernel': jnp.ones(2)},
      'classifier': {'weights': jnp.ones(2)},
    },
    batch_stats={'stem': {'mean': jnp.ones(2)}},
    quant_stats={'stem': {'range': seen}},
    objective_state={},
    penalty_coefficient=jnp.ones(()),
    opt_state=(jnp.ones(2),),
  )
