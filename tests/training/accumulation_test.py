"""Micro-batches: the same gradient as a whole batch, in less memory."""

import functools

import jax
import numpy as np
import pytest
from tiny_run import NUM_CLASSES, leaves, make_batch, make_config, make_start

from faceqat.losses.objective import Distillation
from faceqat.quant.spec import Mode
from faceqat.training import sharding
from faceqat.training.checks import check_batches
from faceqat.training.plan import Plan
from faceqat.training.train_state import create_state, train_step

# Batch norms that keep their statistics, so that an example's loss does not
# depend on what else is in its micro-batch.
FROZEN = Mode(train=True, freeze_bn=True)


def sgd_config(micro_batches):
  config = make_config(micro_batches=micro_batches, batch_size=16)
  config.optimizer.update(name='sgd', clip_global_norm=0.0)
  return config


def run(micro_batches, mode):
  """One step: what rounding does to it would grow in those after it."""
  _, state, step = make_start(sgd_config(micro_batches))
  state, metrics = step(state, make_batch(16), mode=mode)
  return state, {name: float(value) for name, value in metrics.items()}


def test_the_average_gradient_is_that_of_the_whole_batch():
  whole, whole_metrics = run(1, FROZEN)
  _, start, _ = make_start(sgd_config(1))
  state, metrics = run(4, FROZEN)
  assert metrics.keys() == whole_metrics.keys()
  for name, value in metrics.items():
    # Sums of float32 in another order.
    np.testing.assert_allclose(value, whole_metrics[name], rtol=1e-4)
  start, whole = leaves(start), leaves(whole)
  for name, leaf in leaves(state).items():
    wanted = whole[name]
    moved = np.abs(wanted - start[name]).max()
    # Also where terms of a gradient cancel; a part of the batch, or a sum in
    # place of a mean, would be off by all of it. 1e-7 of rounded parameters.
    bound = 1e-3 * moved + 2e-7 * np.abs(wanted).max()
    assert np.abs(leaf - wanted).max() <= bound, name


def test_moving_statistics_are_updated_after_each_micro_batch():
  """By a batch of two equal halves: once and twice with the same statistics."""
  half = make_batch(8)
  # A micro-batch takes every second image.
  batch = {name: np.repeat(value, 2, 0) for name, value in half.items()}
  states = {}
  for parts in (1, 2):
    _, state, step = make_start(sgd_config(parts))
    states[parts], _ = step(state, batch, mode=Mode(train=True))
  once, twice = (leaves(states[parts].batch_stats) for parts in (1, 2))
  for name, leaf in once.items():
    if name.endswith('mean'):
      # Momentum 0.9: 0.1 of the mean after one update, 0.19 after two.
      np.testing.assert_allclose(
        twice[name], 1.9 * leaf, rtol=1e-3, atol=1e-6, err_msg=name
      )


def test_micro_batches_do_not_depend_on_the_number_of_devices():
  recipe, state, batch = _compilable(4)
  step = jax.jit(train_step, static_argnames=('recipe', 'mode'))

  def loss(batch, devices):
    mesh = sharding.make_mesh(8, jax.devices()[:devices])
    _, metrics = step(
      sharding.replicate(state, mesh),
      sharding.shard_batch(batch, mesh),
      recipe=recipe,
      # Without quantizers, where a tie would fall to either side.
      mode=Mode(train=True),
    )
    return float(metrics['loss'])

  whole = loss(batch, 1)
  # Sums over the batch in another order.
  np.testing.assert_allclose(loss(batch, 8), whole, rtol=1e-4)
  # What another choice of images for a micro-batch would change.
  shuffled = {name: np.roll(value, 1, 0) for name, value in batch.items()}
  shuffled = {
    name: np.concatenate([v[:16:2], v[1:16:2], v[16:]])
    for name, v in shuffled.items()
  }
  assert abs(loss(shuffled, 1) / whole - 1) > 1e-3


def _compilable(parts, size=32):
  config = sgd_config(parts)
  recipe = Plan(config).recipe_at(0)
  state = create_state(recipe, num_classes=NUM_CLASSES, image_size=32)
  return recipe, state, make_batch(size)


def _temporary_bytes(parts):
  """What the compiled step needs beside its arguments and results."""
  recipe, state, batch = _compilable(parts, 64)
  step = jax.jit(functools.partial(train_step, recipe=recipe, mode=FROZEN))
  compiled = step.lower(state, batch).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def test_micro_batches_need_less_memory():
  # Activations are nearly all of it: a fourth of them, and the rest.
  assert _temporary_bytes(4) < 0.5 * _temporary_bytes(1)


def test_batches_that_no_objective_takes_are_refused():
  config = make_config(batch_size=10, micro_batches=4)
  with pytest.raises(ValueError, match='does not divide into 4 micro_batches'):
    check_batches(config, Distillation('', 0.0))

  class Pairs:
    per_example = False

  config = make_config(micro_batches=2)
  with pytest.raises(ValueError, match='compares the images of a whole batch'):
    check_batches(config, Pairs())
  config = make_config()
  with pytest.raises(ValueError, match=r'give data\.people_per_batch, such as'):
    check_batches(config, Pairs())
