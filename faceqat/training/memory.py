"""What the classifier of a training needs of each device, before it starts."""

import os

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from faceqat.losses.margin_objective import Margin, ShardedMargin
from faceqat.losses.objective import LinearSoftmax
from faceqat.losses.objective_base import Objective
from faceqat.losses.sampled_classes import places

_FLOAT = 4
# Arrays of the shape of the class weights that the optimiser keeps.
SLOTS = {'sgd': 1, 'adamw': 2}


def classifier_bytes(
  objective: Objective,
  *,
  people: int,
  dimension: int,
  batch_size: int,
  optimizer: str,
  devices: int,
) -> int:
  """Bytes on each device of class weights, optimiser, gradient and logits.

  What does not grow with the people is left out. `benchmarks/identities.py`
  compares it with what XLA reserves.

  Args:
    objective: of the training; without a classifier it needs 0.
    people: K.
    dimension: D, of the embeddings.
    batch_size: B, of all devices.
    optimizer: a key of `SLOTS`.
    devices: n.
  """
  row, kept = dimension * _FLOAT, 1 + SLOTS[optimizer]
  if isinstance(objective, ShardedMargin):
    share = -(-people // devices)
    stored = dimension * jnp.dtype(objective.dtype).itemsize
    if not objective.samples:
      return share * stored * (kept + 1)
    # Beside the hash and the rank of each class, and when it was decayed, the
    # sampled rows are there before the step and after it.
    sampled = places(objective.sample_rate, share, batch_size)
    return share * (stored * kept + 4 * _FLOAT) + sampled * row * (2 * kept + 1)
  if isinstance(objective, Margin | LinearSoftmax):
    # Logits, and their gradient.
    logits = batch_size // devices * _FLOAT
    return people * (row * (kept + 1) + 2 * logits)
  return 0


def check_memory(
  objective: Objective,
  mesh: Mesh,
  *,
  people: int,
  dimension: int,
  batch_size: int,
  optimizer: str,
):
  """Refuses more people than the devices of a mesh can hold.

  Args as of `classifier_bytes`.

  Raises:
    ValueError: it says what is needed, what there is, and the ways out.
  """
  needed = classifier_bytes(
    objective,
    people=people,
    dimension=dimension,
    batch_size=batch_size,
    optimizer=optimizer,
    devices=mesh.size,
  )
  there = memory_of(mesh.local_devices[0])
  if needed <= there:
    return
  ways = ['more devices', f'a smaller model.embedding_size than {dimension}']
  if isinstance(objective, LinearSoftmax):
    ways.append('a margin loss, which has loss.sharded')
  elif not isinstance(objective, ShardedMargin):
    ways = ['loss.sharded=True']
  else:
    if objective.dtype == 'float32':
      ways.insert(0, 'loss.dtype=bfloat16')
    if not objective.samples:
      ways.insert(0, 'loss.sample_rate=0.1')
  if optimizer == 'adamw':
    ways.append('optimizer.name=sgd')
  raise ValueError(
    f'the classifier of {people:,} people needs {needed / 1e9:,.1f} GB on each '
    f'of {mesh.size} devices, which have {there / 1e9:,.1f} GB; give '
    f'{", ".join(ways[:-1])}{" or " * (len(ways) > 1)}{ways[-1]}'
  )


def memory_of(device: jax.Device) -> int:
  """Bytes of memory that JAX may use on a device of this process."""
  # A CPU device has no statistics, and shares the memory of the machine.
  if stats := device.memory_stats():
    return stats['bytes_limit']
  pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  return pages // jax.local_device_count()
