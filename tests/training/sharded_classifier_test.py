"""A classifier split over devices learns what one on each device learns."""

import contextlib
import dataclasses
import functools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mean_colour import MeanColour
from tiny_run import make_config, read_log, taken_batches

from faceqat.losses import margin_objective, objective
from faceqat.losses.objective import make_objective
from faceqat.losses.sampled_classes import is_drawn, places
from faceqat.quant.spec import Mode
from faceqat.training import sharding
from faceqat.training.array_digest import digest_arrays
from faceqat.training.checkpoint import Checkpointer, latest_config
from faceqat.training.checks import check_sample
from faceqat.training.loop import train
from faceqat.training.plan import make_recipe
from faceqat.training.resume import read_saved, restore_first
from faceqat.training.stages import make_stages
from faceqat.training.train_state import create_state, train_step

# Neither divides by 3 or 8.
PEOPLE, BATCH, STEPS = 37, 24, 6
SGD = {
  'name': 'sgd',
  'learning_rate': 0.05,
  'weight_decay': 0.1,
  'warmup_steps': 0,
  'schedule': 'constant',
}


def config_of(**loss):
  config = make_config(batch_size=BATCH)
  config.optimizer.update(SGD)
  config.loss.update(loss)
  return config


def batches():
  rng = np.random.default_rng(0)
  colours = rng.integers(0, 256, (PEOPLE, 1, 1, 3))
  for _ in range(STEPS):
    labels = rng.integers(0, PEOPLE, BATCH).astype(np.int32)
    images = np.broadcast_to(colours[labels], (BATCH, 4, 4, 3))
    yield {'image': images.astype(np.uint8), 'label': labels}


@functools.cache
def start(devices, **loss):
  """The mesh, the first state, and a function that makes a step."""
  config = config_of(**loss)
  mesh = sharding.make_mesh(BATCH, jax.devices()[:devices])
  loss = make_objective(config.loss).placed(mesh, PEOPLE)
  (stage,) = make_stages(config)
  recipe, _ = make_recipe(config, MeanColour(), loss, stage)
  state = create_state(recipe, num_classes=PEOPLE, image_size=4)
  step = jax.jit(functools.partial(train_step, recipe=recipe, mode=Mode(True)))
  return mesh, sharding.place(state, mesh), step


def learn(moves, tmp_path=None, **loss):
  """Losses of all steps, and all states; before each step devices may change.

  They change by a checkpoint, as from one run to the next.
  """
  mesh, state, step = start(moves[0], **loss)
  losses, states = [], []
  for number, batch in enumerate(batches()):
    if number and moves[number] != moves[number - 1]:
      with contextlib.closing(Checkpointer(tmp_path)) as checkpointer:
        checkpointer.save(state, {}, config_of(**loss), classes=PEOPLE)
        mesh, initial, step = start(moves[number], **loss)
        saved = read_saved(checkpointer)
        names = list(map(str, range(PEOPLE)))
        # It is given away.
        initial = jax.tree.map(jnp.copy, initial)
        state = restore_first(checkpointer, saved, initial, mesh, names)
    state, metrics = step(state, sharding.shard_batch(batch, mesh))
    losses.append({name: float(value) for name, value in metrics.items()})
    states.append(state)
  return losses, states


def rows_of(state):
  """The class weights and their momentum: [K', D] each."""
  momentum = state.opt_state[-1][0].trace['classifier']
  return state.params['classifier']['rows'], momentum['rows']


def assert_alike(one, other):
  (losses, states), (other_losses, other_states) = one, other
  for a, b in zip(losses, other_losses, strict=True):
    assert a.keys() == b.keys()
    for name in a:
      # Sums in another order, in six steps that hardly amplify them.
      np.testing.assert_allclose(a[name], b[name], rtol=1e-4, err_msg=name)
  for a, b in zip(rows_of(states[-1]), rows_of(other_states[-1])):
    a, b = np.asarray(a)[:PEOPLE], np.asarray(b)[:PEOPLE]
    assert np.abs(a - b).max() < 1e-4 * np.abs(b).max()


def test_the_losses_are_those_of_the_dense_head_wherever_it_moves(tmp_path):
  dense, dense_states = learn([1] * STEPS)
  eight = learn([8] * STEPS, sharded=True)
  moved = learn([8, 8, 3, 1, 8, 8], tmp_path, sharded=True)
  assert dense[-1]['loss'] < 0.9 * dense[0]['loss']
  for a, b in zip(dense, eight[0], strict=True):
    for name in a:
      np.testing.assert_allclose(a[name], b[name], rtol=1e-4, err_msg=name)
  weights = np.asarray(dense_states[-1].params['classifier']['weights'])
  rows, momentum = rows_of(eight[1][-1])
  assert {shard.data.shape for shard in rows.addressable_shards} == {(5, 16)}
  rows, momentum = np.asarray(rows), np.asarray(momentum)
  assert np.abs(rows[:PEOPLE] - weights.T).max() < 1e-4 * np.abs(weights).max()
  assert_alike(moved, eight)
  # Padding stays what it was.
  for array in (rows, momentum):
    assert array.shape == (40, 16)
    assert not np.any(array[PEOPLE:])


def test_a_sample_is_the_same_on_all_devices_and_leaves_the_rest_alone(
  tmp_path,
):
  loss = {'sharded': True, 'sample_rate': 0.25}
  eight = learn([8] * STEPS, **loss)
  assert_alike(learn([8, 8, 1, 1, 8, 8], tmp_path, **loss), eight)
  _, initial, _ = start(8, **loss)
  states = [initial, *eight[1]]
  seed = config_of().seed
  # What one step leaves of a weight by SGD with a momentum of 0.9.
  left = 1 - 0.05 * 0.1 / (1 - 0.9)
  last = np.zeros(PEOPLE)
  drawn_of_step = []
  for step, batch in enumerate(batches()):
    drawn = np.asarray(is_drawn(0.25, seed, step, jnp.arange(PEOPLE)))
    drawn_of_step.append(drawn)
    sampled = drawn | np.isin(np.arange(PEOPLE), batch['label'])
    assert 0 < np.sum(sampled) < PEOPLE
    before, after = (
      [np.asarray(x)[:PEOPLE] for x in rows_of(state)]
      for state in states[step : step + 2]
    )
    for a, b in zip(before, after):
      np.testing.assert_array_equal(a[~sampled], b[~sampled])
    changed = np.any(after[0] != before[0], axis=1)
    np.testing.assert_array_equal(changed, sampled)
    # Who is sampled has first lost what the steps since then would have taken.
    missed = np.where(sampled, step - last, 0)[:, None]
    moved = after[0] + 0.05 * after[1]
    np.testing.assert_allclose(
      moved[sampled], (before[0] * left**missed)[sampled], rtol=1e-4, atol=1e-7
    )
    last[sampled] = step + 1
  assert np.max(missed) > 1
  assert not np.array_equal(*drawn_of_step[:2])


def test_half_precision_is_near_and_comes_back_from_a_checkpoint(tmp_path):
  loss = {'sharded': True, 'sample_rate': 0.25}
  exact, _ = learn([8] * STEPS, **loss)
  loss['dtype'] = 'bfloat16'
  losses, states = learn([8] * STEPS, **loss)
  for a, b in zip(losses, exact, strict=True):
    # 8 bits of each class weight, times the loss's scale of 16.
    assert abs(a['loss'] - b['loss']) < 0.05
  last = states[-1]
  for array in rows_of(last):
    assert array.dtype == jnp.bfloat16
    assert not np.any(array[PEOPLE:])
    # By its parts, as by what a checkpoint of one device has.
    whole = {'rows': np.asarray(array)[:PEOPLE]}
    assert digest_arrays({'rows': array}, PEOPLE) == digest_arrays(whole)
  mesh, initial, _ = start(8, **loss)
  with contextlib.closing(Checkpointer(tmp_path)) as checkpointer:
    checkpointer.save(last, {}, config_of(**loss), classes=PEOPLE)
    names = list(map(str, range(PEOPLE)))
    saved = read_saved(checkpointer)
    initial = jax.tree.map(jnp.copy, initial)
    back = restore_first(checkpointer, saved, initial, mesh, names)
  for a, b in zip(rows_of(back), rows_of(last), strict=True):
    assert a.sharding.is_equivalent_to(b.sharding, 2)
    np.testing.assert_array_equal(a, b)


def test_the_rate_is_that_of_the_sample_and_its_places_hold_it():
  for step in range(2):
    drawn = is_drawn(0.1, 7, step, jnp.arange(20_000))
    # Six deviations of 20,000 draws.
    assert abs(np.mean(drawn) - 0.1) < 6 * (0.09 / 20_000) ** 0.5
    assert np.sum(drawn) < places(0.1, 20_000, 0) < 2_500


def test_a_run_moves_to_another_number_of_devices(
  float_run, tmp_path, monkeypatch
):
  """It is that of the dense head, and its checkpoint knows of no devices.

  What it was by the number of its people, it stays.
  """
  config = make_config(total_steps=2)
  config.quant.update(enabled=False, calibration_steps=0)
  assert config.loss.sharded is None
  assert latest_config(float_run)[0].loss.sharded is False

  def stop(number):
    if number == 0:
      os.kill(os.getpid(), signal.SIGTERM)

  with taken_batches(stop), monkeypatch.context() as patch:
    patch.setattr(objective, 'PEOPLE_TO_SHARD', 12)
    assert train(config, str(tmp_path)) == signal.SIGTERM
  assert train(config, str(tmp_path), jax.devices()[:1]) is None
  moved, dense = read_log(tmp_path), read_log(float_run)
  # The same sums in another order; then a step of Adam, which makes whole steps
  # of gradients that are zero but for rounding, and moving statistics of them.
  for line, name, rtol in (
    (0, 'train/loss', 1e-5),
    (1, 'train/loss', 0.02),
    (-1, 'validation/loss', 0.1),
  ):
    np.testing.assert_allclose(moved[line][name], dense[line][name], rtol=rtol)
  assert 0 <= moved[-1]['validation/accuracy'] <= 1
  checkpointer = Checkpointer(str(tmp_path), create=False)
  with contextlib.closing(checkpointer):
    items = checkpointer._manager.restore(2)
  # Twelve people, who are 16 rows on eight devices.
  assert items['training']['classifier']['rows'].shape == (12, 16)
  assert '(12, 16)' in (tmp_path / 'parameters.txt').read_text()


def test_first_class_weights_of_many_do_not_depend_on_devices(monkeypatch):
  monkeypatch.setattr(margin_objective, 'AS_MARGIN', PEOPLE - 1)
  found = []
  for devices in (1, 8):
    mesh = sharding.make_mesh(BATCH, jax.devices()[:devices])
    loss = make_objective(config_of(sharded=True).loss).placed(mesh, PEOPLE)
    # Blocks that overlap.
    loss = dataclasses.replace(loss, block=4)
    initial = jax.jit(loss.initial, static_argnums=(1, 2))
    rows = initial(jax.random.key(0), 16, PEOPLE)['rows']
    assert len(rows.addressable_shards) == devices
    found.append(np.asarray(rows))
  one, eight = found
  np.testing.assert_array_equal(eight[:PEOPLE], one)
  assert not np.any(eight[PEOPLE:])
  assert len(np.unique(one)) == one.size
  # Six deviations of 592 numbers.
  assert abs(np.std(one) - 0.01) < 6 * 0.01 / np.sqrt(2 * one.size)


def test_a_penalty_of_a_sample_is_refused():
  config = config_of(sharded=True, sample_rate=0.5)
  config.regularization.weight = 0.1
  with pytest.raises(ValueError, match=r'weight is 0\.1, but loss'):
    check_sample(config, make_objective(config.loss))


def test_fewer_people_than_devices_are_refused():
  mesh = sharding.make_mesh(BATCH)
  loss = make_objective(config_of(sharded=True).loss)
  with pytest.raises(ValueError, match='splits 7 people over 8 devices'):
    loss.placed(mesh, 7)
