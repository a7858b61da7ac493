import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from faceqat.training import optimizer
from faceqat.training.train_state import named_leaves


def _config(**changes):
  config = common.optimizer()
  config.update(
    name='sgd',
    learning_rate=0.1,
    weight_decay=0.01,
    warmup_steps=0,
    schedule='constant',
    step_boundaries=(0.5, 0.7),
    clip_global_norm=0.0,
  )
  config.update(changes)
  return config


def _params():
  return {
    'backbone': {
      'conv': {'kernel': jnp.full([3], 2.0), 'bias': jnp.full([2], 2.0)},
      'bn': {'scale': jnp.full([2], 2.0), 'bias': jnp.full([2], 2.0)},
      'prelu': {'alpha': jnp.full([2], 2.0)},
    },
    'head': {'weights': jnp.full([2, 2], 2.0)},
  }


def _run(config, params, gradients):
  """The parameters after steps with one number for all of a gradient."""
  transform, _ = optimizer.make_optimizer(config, len(gradients))
  state, update = transform.init(params), jax.jit(transform.update)
  for gradient in gradients:
    gradient = jax.tree.map(lambda p, g=gradient: jnp.full_like(p, g), params)
    updates, state = update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return params


@pytest.mark.parametrize('name', optimizer.OPTIMIZERS)
def test_decay_moves_kernels_and_class_weights_only(name):
  params = _run(_config(name=name), _params(), [0.0])
  for path, leaf in named_leaves(params).items():
    decays = path.endswith(('/kernel', '/weights'))
    wanted = 2 - 0.1 * 0.01 * 2 if decays else 2.0
    # A few roundings by 2^-24; all of the decay is a thousandth.
    np.testing.assert_allclose(leaf, wanted, rtol=1e-6 * decays, err_msg=path)


def test_sgd_equals_the_momentum_recurrence():
  params = _run(_config(), _params(), [1.0] * 3)
  weight, bias = 2.0, 2.0
  weight_velocity, bias_velocity = 0.0, 0.0
  for _ in range(3):
    weight_velocity = 0.9 * weight_velocity + 1 + 0.01 * weight
    bias_velocity = 0.9 * bias_velocity + 1
    weight -= 0.1 * weight_velocity
    bias -= 0.1 * bias_velocity
  # Float32 after three steps.
  np.testing.assert_allclose(params['head']['weights'], weight, rtol=1e-6)
  np.testing.assert_allclose(params['backbone']['bn']['bias'], bias, rtol=1e-6)


def test_clipping_bounds_the_norm_of_the_whole_gradient():
  moved = {}
  for clip in (0.0, 0.5, 1e6):
    config = _config(clip_global_norm=clip, weight_decay=0.0)
    params = _run(config, _params(), [1.0])
    change = jax.tree.map(lambda a, b: a - b, params, _params())
    moved[clip] = float(optax.tree.norm(change))
  # 15 ones; the differences of numbers near 2 keep six digits.
  np.testing.assert_allclose(moved[0.0], 0.1 * np.sqrt(15), rtol=1e-5)
  np.testing.assert_allclose(moved[0.5], 0.1 * 0.5, rtol=1e-5)
  assert moved[1e6] == moved[0.0]


def _rates(total, **changes):
  _, schedule = optimizer.make_optimizer(_config(**changes), total)
  return np.array([schedule(step) for step in range(total + 1)])


_COSINE = 0.1 * (1 + np.cos(np.pi * np.arange(11) / 10)) / 2


@pytest.mark.parametrize(
  ('schedule', 'warmup_steps', 'expected'),
  [
    ('constant', 4, [0.025, 0.05, 0.075, *[0.1] * 6]),
    ('cosine', 2, [0.05, 0.1, *_COSINE]),
    # At half and seven tenths of the ten steps.
    ('step', 0, [*[0.1] * 5, *[0.01] * 2, *[0.001] * 4]),
  ],
)
def test_schedules_after_a_linear_warmup(schedule, warmup_steps, expected):
  rates = _rates(
    len(expected) - 1, schedule=schedule, warmup_steps=warmup_steps
  )
  # Float32; the last rate of the cosine is a difference of ones.
  np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-8)


def test_schedule_is_the_rate_the_optimizer_applies():
  config = _config(schedule='cosine', warmup_steps=3, momentum=0.0)
  transform, schedule = optimizer.make_optimizer(config, total_steps=10)
  params = {'bias': jnp.zeros([])}
  state = transform.init(params)
  for step in range(10):
    updates, state = transform.update({'bias': jnp.ones([])}, state, params)
    np.testing.assert_allclose(-updates['bias'], schedule(step), rtol=1e-6)


def test_update_compiles_and_accepts_a_traced_step():
  transform, schedule = optimizer.make_optimizer(
    _config(schedule='step', warmup_steps=2), total_steps=10
  )
  params = _params()
  state = transform.init(params)
  updates, _ = jax.jit(transform.update)(params, state, params)
  assert jax.tree.structure(updates) == jax.tree.structure(params)
  assert jax.jit(schedule)(jnp.int32(9)).dtype == jnp.float32


@pytest.mark.parametrize(
  ('changes', 'total_steps', 'message'),
  [
    ({'name': 'sdg'}, 10, r"name is 'sdg'; choose one of adamw, sgd"),
    ({'schedule': 'exp'}, 10, "'exp'; choose one of constant, cosine, step"),
    ({'learning_rate': -1.0}, 10, 'learning rate is -1.0; give 0 or more'),
    ({'learning_rate': math.nan}, 10, 'learning rate is nan'),
    ({'warmup_steps': 11}, 10, r'warmup_steps is 11.*10 steps'),
    (
      {'schedule': 'step', 'step_boundaries': (0.7, 0.5)},
      10,
      r'\[0\.7, 0\.5\]; give rising fractions',
    ),
    (
      {'schedule': 'step', 'step_boundaries': (20.0,)},
      10,
      r'\[20\.0\]; give rising fractions',
    ),
    ({}, -1, 'total_steps is -1'),
    ({'name': 'adamw', 'kernel_rate': -5.0}, 1, 'kernel_rate is -5.0; give 0'),
    ({'kernel_rate': 5.0}, 1, "is of adamw, but optimizer.name is 'sgd'"),
  ],
)
def test_config_errors_say_what_was_wanted(changes, total_steps, message):
  with pytest.raises(ValueError, match=message):
    optimizer.make_optimizer(_config(**changes), total_steps)


@pytest.mark.parametrize('schedule', optimizer.SCHEDULES)
def test_without_steps_the_rate_is_constant_and_no_warmup_too_long(schedule):
  rates = _rates(0, schedule=schedule, warmup_steps=20)
  np.testing.assert_array_equal(rates, 0.1)


_STEPS = {
  'conv': {
    'kernel': jnp.ones(3),
    'kernel_step': jnp.float32([1e-4, 1e-2, 1.0]),
    'quantizer': {'step': jnp.float32(0.1)},
  }
}


def _run_steps(config, gradients):
  """By which factors the parameters of a layer with learned steps change."""
  params = _run(config, _STEPS, gradients)
  return jax.tree.map(lambda new, old: new / old, params, _STEPS)


def test_adamw_moves_all_learned_steps_by_the_same_share_of_themselves():
  moved = _run_steps(_config(name='adamw', learning_rate=0.01), [3.0, 3.0])
  steps = [*moved['conv']['kernel_step'], moved['conv']['quantizer']['step']]
  # Adam's update by an unchanging gradient is the rate, up to its epsilon.
  np.testing.assert_allclose(steps, np.exp(-0.02), rtol=1e-5)
  # What is no step moves as before: by the rate, and by decay.
  np.testing.assert_allclose(
    moved['conv']['kernel'],
    (1 - 0.01**2) * ((1 - 0.01**2) - 0.01) - 0.01,
    rtol=1e-6,
  )


def test_adamw_keeps_learned_steps_positive():
  # After a long silence Adam's update is larger than the rate.
  gradients = [0.0] * 200 + [1e6]
  moved = _run_steps(_config(name='adamw', learning_rate=0.9), gradients)
  for steps in (moved['conv']['kernel_step'], moved['conv']['quantizer']):
    for share in jax.tree.leaves(steps):
      assert np.all(share > 0)
      # By itself that update would have changed the sign.
      assert np.all(share < np.exp(-1))


def test_sgd_moves_learned_steps_as_all_else_but_without_decay():
  moved = _run_steps(_config(learning_rate=1e-3), [0.5])
  shares = 1 - 0.0005 / np.float32([1e-4, 1e-2, 1])
  np.testing.assert_allclose(moved['conv']['kernel_step'], shares, rtol=1e-5)
  step = moved['conv']['quantizer']['step']
  np.testing.assert_allclose(step, 0.995, rtol=1e-6)


def test_kernel_rate_moves_kernels_by_a_share_of_their_root_mean_square():
  params = {
    'small': {'kernel': jnp.float32([0.03, -0.04]), 'bias': jnp.ones(1)},
    'large': {'kernel': jnp.float32([[3.0], [-4.0]])},
    'zero': {'kernel': jnp.zeros(2)},
  }
  config = _config(
    name='adamw', learning_rate=0.01, kernel_rate=5.0, weight_decay=0.0
  )
  moved = jax.tree.map(lambda a, b: a - b, _run(config, params, [1.0]), params)
  size = np.sqrt(12.5)
  for name, step in (('small', size / 100), ('large', size), ('zero', 1e-3)):
    # Adam's first update is the rate, up to its epsilon; differences of
    # numbers up to 4 that are moved by a twentieth.
    np.testing.assert_allclose(
      moved[name]['kernel'], -0.01 * 5 * step, rtol=3e-5
    )
  np.testing.assert_allclose(moved['small']['bias'], -0.01, rtol=1e-5)


def test_kernel_rate_applies_to_decay_too():
  params = {'kernel': jnp.full([2], 2.0)}
  config = _config(name='adamw', kernel_rate=3.0)
  moved = _run(config, params, [0.0])['kernel'] - params['kernel']
  # Differences of numbers near 2.
  np.testing.assert_allclose(moved, -0.1 * 0.01 * 2 * (3 * 2), rtol=1e-4)


def test_without_kernel_rate_kernels_move_by_the_rate():
  params = {'kernel': jnp.float32([0.03, -4.0])}
  config = _config(name='adamw', learning_rate=0.01, weight_decay=0.0)
  moved = _run(config, params, [1.0])['kernel'] - params['kernel']
  np.testing.assert_allclose(moved, -0.01, rtol=3e-5)


def test_the_state_of_adamw_is_as_without_learned_steps():
  plain = optax.scale_by_adam().init(_params())
  transform, _ = optimizer.make_optimizer(_config(name='adamw'), 10)
  _, (adam, *_) = transform.init(_params())
  assert jax.tree.structure(adam) == jax.tree.structure(plain)
