"""Reorders arrays with an entry for each person, as people come and go.

They are the classifier, its averages in the optimiser, and centers.
"""

import collections
from collections.abc import Sequence

import jax
import numpy as np

from faceqat.training.sharding import class_axis
from faceqat.training.train_state import TrainState


def with_classes(state: TrainState, num_classes: int) -> TrainState:
  """The shapes and types of a state with another number of classes."""

  def resized(path, leaf):
    shape = list(leaf.shape)
    axis = class_axis(path)
    if axis is not None:
      shape[axis] = num_classes
    return jax.ShapeDtypeStruct(tuple(shape), leaf.dtype)

  return jax.tree_util.tree_map_with_path(resized, state)


def follow_names(
  state: TrainState,
  initial: TrainState,
  before: Sequence[str],
  now: Sequence[str],
) -> TrainState:
  """A state whose classes are the people of `now`.

  Args:
    state: of a checkpoint, with the classes `before`.
    initial: of a new run, which new people keep, with the classes `now`.
    before, now: names of people, in the order of their labels.

  Raises:
    ValueError: a name stands twice in a list.
  """
  for names in (before, now):
    name, count = collections.Counter(names).most_common(1)[0]
    if count > 1:
      raise ValueError(
        f'two people of the training set are called {name!r}, so what was '
        'learnt of them cannot follow their names; give them two names, or '
        'the same people as before'
      )
  old_label = {name: label for label, name in enumerate(before)}
  to = np.array([i for i, name in enumerate(now) if name in old_label], int)
  source = np.array([old_label[now[i]] for i in to], int)

  def moved(path, old, new):
    axis = class_axis(path)
    if axis is None:
      return old
    values = np.moveaxis(np.array(new), axis, 0)
    values[to] = np.moveaxis(np.asarray(old), axis, 0)[source]
    return np.moveaxis(values, 0, axis)

  return jax.tree_util.tree_map_with_path(moved, state, initial)
