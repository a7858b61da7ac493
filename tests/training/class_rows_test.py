"""What was learnt of people follows their names."""

import contextlib
import itertools

import jax
import ml_collections
import numpy as np
import optax
import pytest

from faceqat.losses.objective import Center, Margin
from faceqat.losses.objective_base import CLASS_AXES
from faceqat.training import sharding
from faceqat.training.checkpoint import Checkpointer
from faceqat.training.class_rows import follow_names, with_classes
from faceqat.training.optimizer import relative_updates
from faceqat.training.resume import read_saved, restore_first
from faceqat.training.train_state import TrainState

BEFORE = ['ann', 'bob', 'cy', 'dee']
NOW = ['zoe', 'cy', 'ann', 'dee', 'eve']


def make_state(num_classes, start):
  """A state in which every number is another one, the first being `start`."""
  params = {
    # With the shapes and names of the classifier, but of no people.
    'backbone': {'weights': np.zeros((3, 4)), 'bias': np.zeros(4)},
    'classifier': {
      'weights': np.zeros((3, num_classes)),
      'bias': np.zeros(num_classes),
    },
  }
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), relative_updates(optax.adamw(0.1), 0)
  )
  state = TrainState(
    step=np.zeros((), np.int32),
    params=params,
    batch_stats={'weights': np.zeros(4)},
    quant_stats={},
    objective_state={'centers': np.zeros((num_classes, 3))},
    penalty_coefficient=np.zeros(()),
    opt_state=optimizer.init(params),
  )
  count = itertools.count(start)
  return jax.tree.map(
    lambda leaf: np.fromiter(count, np.float32, np.size(leaf)).reshape(
      np.shape(leaf)
    ),
    state,
  )


def of_classes(state):
  """By person's label, all numbers that a state has of each."""
  adam = state.opt_state[1][0]
  parts = []
  for params in (state.params, adam.mu, adam.nu):
    parts += [params['classifier']['weights'].T]
    parts += [params['classifier']['bias'][:, None]]
  parts.append(state.objective_state['centers'])
  return np.concatenate(parts, axis=1)


def test_who_stays_keeps_what_was_learnt_and_who_is_new_begins():
  old, new = make_state(4, 0), make_state(5, 5000)
  found = follow_names(old, new, BEFORE, NOW)
  rows = of_classes(found)
  np.testing.assert_array_equal(rows[[2, 1, 3]], of_classes(old)[[0, 2, 3]])
  np.testing.assert_array_equal(rows[[0, 4]], of_classes(new)[[0, 4]])
  # All else is the old state's.
  assert found.step == old.step
  for part in (lambda s: s.params, lambda s: s.opt_state[1][0].nu):
    for one, other in zip(
      jax.tree.leaves(part(found)['backbone']),
      jax.tree.leaves(part(old)['backbone']),
    ):
      np.testing.assert_array_equal(one, other)
  np.testing.assert_array_equal(
    found.batch_stats['weights'], old.batch_stats['weights']
  )
  assert found.opt_state[1][0].count == old.opt_state[1][0].count


def test_the_shapes_are_those_of_the_classes():
  shapes = with_classes(make_state(5, 0), 4)
  for there, here in zip(
    jax.tree.leaves(make_state(4, 0)), jax.tree.leaves(shapes), strict=True
  ):
    assert (there.shape, there.dtype) == (here.shape, here.dtype)


def test_a_name_that_two_have_cannot_be_followed():
  old, new = make_state(4, 0), make_state(5, 5000)
  for before, now, name in (
    (['ann', 'ann', 'cy', 'dee'], NOW, 'ann'),
    (BEFORE, ['zoe', 'cy', 'cy', 'dee', 'eve'], 'cy'),
  ):
    with pytest.raises(ValueError, match=f"training set are called '{name}'"):
      follow_names(old, new, before, now)


@pytest.mark.parametrize(
  'objective',
  [Margin('arcface', 8.0, 0.5, 0.0), Center(0.0, weight=1.0, alpha=0.5)],
)
def test_every_part_of_an_objective_says_where_its_classes_are(objective):
  def parts(classes):
    return jax.eval_shape(
      lambda: {
        **objective.initial(jax.random.key(0), 3, classes),
        **objective.initial_state(3, classes),
      }
    )

  few, many = parts(4), parts(5)
  for name in few:
    other = [
      axis
      for axis, (a, b) in enumerate(zip(few[name].shape, many[name].shape))
      if a != b
    ]
    assert other == [CLASS_AXES[name]]


def test_a_checkpoint_goes_on_with_other_people(tmp_path):
  mesh = sharding.make_mesh(1, jax.devices()[:1])
  old, new = make_state(4, 0), make_state(5, 5000)
  config = ml_collections.ConfigDict({'seed': 0})
  with contextlib.closing(Checkpointer(str(tmp_path))) as checkpointer:
    checkpointer.save(old, {'people': BEFORE, 'place': 7}, config)
    checkpointer._manager.wait_until_finished()
    saved = read_saved(checkpointer)
    state = restore_first(checkpointer, saved, new, mesh, NOW)
    same = restore_first(checkpointer, saved, old, mesh, BEFORE)
  assert saved.position['place'] == 7
  np.testing.assert_array_equal(
    of_classes(state), of_classes(follow_names(old, new, BEFORE, NOW))
  )
  np.testing.assert_array_equal(of_classes(same), of_classes(old))
