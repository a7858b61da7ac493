"""A step on a sample of the classes: the others and their averages stay.

What belongs to the sampled classes (class weights and what the optimiser keeps
of them) is taken out of the state as a smaller state, which is trained as any
other, and put back.

A class that was not sampled has missed the weight decay of that step. It
catches up when it is sampled again, before anything is computed of it: its
weights are multiplied by what the missed steps would have left of them. The
product of all steps so far is kept as a sum of logarithms, and of each class
where that sum stood when it was trained last. Sources: Carpenter 2008, "Lazy
sparse stochastic gradient descent for regularized multinomial logistic
regression", section 4; Bottou 2012, "Stochastic gradient descent tricks",
section 5.1.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from faceqat.losses.sampled_classes import Sample
from faceqat.training import rounding, sharding


def step_on_sample(
  step: Callable[[Any, dict], tuple[Any, dict]],
  state: Any,
  batch: dict[str, jax.Array],
  sample: Sample,
  mesh: Mesh,
  log_decay: jax.Array,
  rounding_key: jax.Array,
) -> tuple[Any, dict[str, jax.Array]]:
  """Trains the sampled classes, and all else as ever.

  Args:
    step: from a state and a batch to the next state and metrics.
    state: a `TrainState` of all classes.
    batch: its labels are rows of `state`.
    sample: the classes of the step.
    mesh: that the classes are split over.
    log_decay: [] float32, the logarithm of what weight decay leaves of a weight
      in this step.
    rounding_key: where class weights are in bfloat16, of this step; the sampled
      ones are trained in float32.
  """
  before = state.objective_state
  small = _map_sharded(_take, mesh, sample.rows, state)
  behind = before['log_decay'] - small.objective_state['decayed']
  classifier = dict(small.params['classifier'])
  classifier['rows'] *= jnp.exp(behind)[:, None]
  small = small.replace(
    params={**small.params, 'classifier': classifier},
    objective_state={'counts': sample.counts},
  )
  small, metrics = step(small, {**batch, 'label': sample.labels})
  rows = state.params['classifier']['rows']
  if rows.dtype == jnp.bfloat16:
    of_device = jnp.arange(mesh.size)[:, None] * (len(rows) // mesh.size)
    classes = (sample.rows.reshape(mesh.size, -1) + of_device).reshape(-1)
    classifier = dict(small.params['classifier'])
    classifier['rows'] = rounding.round_at_random(
      classifier['rows'], classes, rounding_key
    )
    small = small.replace(params={**small.params, 'classifier': classifier})
  after = before['log_decay'] + log_decay
  small = small.replace(
    objective_state={
      'log_decay': after,
      'decayed': jnp.full(sample.rows.shape, after),
    }
  )
  return _map_sharded(_put, mesh, sample.rows, state, small), metrics


def _map_sharded(function, mesh: Mesh, rows: jax.Array, *states: Any) -> Any:
  """Of split leaves `function(rows, leaf, ...)`, on each device its part.

  Of the others, that of the last state.
  """
  part = PartitionSpec(*mesh.axis_names)
  run = jax.shard_map(function, mesh=mesh, in_specs=part, out_specs=part)
  return jax.tree_util.tree_map_with_path(
    lambda path, *leaves: (
      run(rows, *leaves) if sharding.is_sharded(path) else leaves[-1]
    ),
    *states,
  )


def _take(rows, leaf):
  # An empty place has the row behind the last one.
  taken = jnp.take(_bits(leaf), rows, axis=0, mode='clip')
  return taken.view(leaf.dtype)


def _put(rows, leaf, small):
  small = _bits(small.astype(leaf.dtype))
  after = _bits(leaf).at[rows].set(small, mode='drop', indices_are_sorted=True)
  return after.view(leaf.dtype)


def _bits(x):
  # A CPU would move numbers of 16 bits by way of a copy of all in 32.
  return x.view(jnp.uint16) if x.dtype == jnp.bfloat16 else x
