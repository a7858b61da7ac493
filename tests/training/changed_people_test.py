"""A run goes on with people who came and went, where that is asked for."""

import contextlib

import jax
import numpy as np
import pytest
from PIL import Image
from tiny_run import make_config

from faceqat.losses.objective import make_objective
from faceqat.training.checkpoint import Checkpointer
from faceqat.training.loop import train

ONE = jax.devices()[:1]


def write_people(root, names):
  rng = np.random.default_rng(0)
  for name in names:
    (root / name).mkdir(parents=True)
    for image in range(4):
      pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
      Image.fromarray(pixels).save(root / name / f'{image}.png')


def config_of(paths, **changes):
  config = make_config(total_steps=1, **changes)
  config.quant.enabled = False
  config.data.update(path=','.join(paths), validation_people=20)
  return config


def read(workdir):
  """Of the latest checkpoint: config, position and the class weights."""
  checkpointer = Checkpointer(str(workdir), create=False)
  with contextlib.closing(checkpointer):
    step = checkpointer.latest_step
    config, position = checkpointer.config(step), checkpointer.position(step)
    items = checkpointer._manager.restore(step)
  return config, position, np.array(items['training']['classifier']['weights'])


def test_class_weights_follow_the_names_of_people(tmp_path, capsys):
  run, faces = tmp_path / 'run', tmp_path / 'a'
  write_people(faces, [f'p{number:02d}' for number in range(26)])
  config = config_of([str(faces)])
  train(config, str(run), ONE)
  assert 'trains on 18 images of 6 people; 20 people held' in (
    capsys.readouterr().out
  )
  before, position, weights = read(run)
  people = position['people']
  assert len(before.data.held_out) == 20
  assert {*before.data.held_out}.isdisjoint(people)

  (faces / people[0]).rename(faces / 'zoe')
  write_people(tmp_path / 'b', ['ann', 'bob'])
  config = config_of([str(tmp_path / 'b'), str(faces)])
  config.total_steps = 2
  # So that no weight moves.
  config.optimizer.learning_rate = 0.0
  message = f'gone: {people[0]}; new: ann, bob, zoe.*changed_people=continue'
  with pytest.raises(ValueError, match=message):
    train(config, str(run), ONE)
  config.data.changed_people = 'continue'
  train(config, str(run), ONE)
  printed = capsys.readouterr().out
  assert f'gone: {people[0]}; new: ann, bob, zoe. Training' in printed
  assert '2 sets: b (8 images of 2 people), a (104 images of 26' in printed
  after, position, moved = read(run)
  assert list(after.data.held_out) == list(before.data.held_out)
  assert position['people'] == ['ann', 'bob', *people[1:], 'zoe']
  np.testing.assert_array_equal(moved[:, 2:7], weights[:, 1:])
  # Who is new has what a new run has.
  key = jax.random.split(jax.random.key(config.seed))[1]
  initial = jax.jit(make_objective(config.loss).initial, static_argnums=(1, 2))(
    key, 16, 8
  )
  np.testing.assert_allclose(
    moved[:, [0, 1, 7]], initial['weights'][:, [0, 1, 7]], rtol=1e-5
  )

  # The same command goes on, or is done.
  train(config, str(run), ONE)
  assert 'the people of the training set' not in capsys.readouterr().out

  # Another person, at the mean embedding of the images.
  write_people(tmp_path / 'b', ['cy'])
  config.data.changed_people = 'continue_with_means'
  config.total_steps = 3
  train(config, str(run), ONE)
  assert 'new: cy. Training' in (printed := capsys.readouterr().out)
  assert 'who is new begins at their mean' in printed
  _, position, last = read(run)
  assert position['people'].index('cy') == 2
  others = np.delete(last, 2, axis=1)
  np.testing.assert_array_equal(others, moved)
  # A mean of a few unit vectors of noise, and not a hundredth of a normal one.
  assert 0.5 < np.linalg.norm(last[:, 2]) <= 1.0
  assert np.all(np.linalg.norm(others, axis=0) < 0.2)
