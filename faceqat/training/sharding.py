"""The device mesh, and the placement of arrays on it.

What has an entry for each person in the sharded classifier is split over the
devices; `objective_base.SHARDED` names it. It is padded with zeros until it
divides. All else is on every device.
"""

from collections.abc import Container
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from faceqat.losses.objective_base import CLASS_AXES, SHARDED
from faceqat.training import distributed


def make_mesh(
  batch_size: int, devices: list | None = None, micro_batches: int = 1
) -> Mesh:
  """Makes a mesh with one axis, `data`, over all devices of all processes.

  Args:
    batch_size: of the whole step.
    devices: all by default.
    micro_batches: of a step; every device takes an equal part of each.

  Raises:
    ValueError: the batch does not divide among the devices.
  """
  devices = jax.devices() if devices is None else devices
  parts = len(devices) * micro_batches
  if batch_size % parts:
    times = f' times {micro_batches} micro_batches' if micro_batches > 1 else ''
    raise ValueError(
      f'batch_size {batch_size} does not divide among {len(devices)} '
      f'devices{times}; choose a multiple of {parts}'
    )
  return jax.make_mesh(
    (len(devices),), ('data',), axis_types=(AxisType.Auto,), devices=devices
  )


def class_axis(path: tuple, names: Container[str] = CLASS_AXES) -> int | None:
  """The axis over the classes of a leaf of a state.

  Args:
    path: of the leaf.
    names: those that count.

  Returns:
    None where it has no entries for classes.
  """
  *parents, name = jax.tree_util.keystr(path, simple=True, separator='/').split(
    '/'
  )
  is_learnt = 'classifier' in parents or parents == ['objective_state']
  return CLASS_AXES.get(name) if is_learnt and name in names else None


def is_sharded(path: tuple) -> bool:
  """Whether a leaf of a state is split over the devices, by its first axis."""
  return class_axis(path, SHARDED) is not None


def placement(path: tuple, mesh: Mesh) -> NamedSharding:
  """Where a leaf of a state lies."""
  spec = (
    PartitionSpec(*mesh.axis_names) if is_sharded(path) else PartitionSpec()
  )
  return NamedSharding(mesh, spec)


def place(state: Any, mesh: Mesh) -> Any:
  """Puts a state on a mesh.

  Leaves that are not split are those of the first process. The others are whole
  in every process, with or without padding, or on the mesh already.
  """
  parts = jax.tree_util.tree_map_with_path(
    lambda path, leaf: leaf if is_sharded(path) else None, state
  )
  rest = jax.tree_util.tree_map_with_path(
    lambda path, leaf: None if is_sharded(path) else leaf, state
  )
  parts = jax.tree_util.tree_map_with_path(
    lambda path, leaf: _sharded(leaf, placement(path, mesh)), parts
  )
  return jax.tree.map(
    lambda part, whole: whole if part is None else part,
    parts,
    replicate(rest, mesh),
    is_leaf=lambda leaf: leaf is None,
  )


def _sharded(leaf, sharding):
  if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(
    sharding, leaf.ndim
  ):
    return leaf
  padding = -len(leaf) % sharding.mesh.size
  padded = np.pad(leaf, [(0, padding)] + [(0, 0)] * (leaf.ndim - 1))
  return jax.make_array_from_callback(
    padded.shape, sharding, lambda index: padded[index]
  )


def constrain(state: Any, mesh: Mesh) -> Any:
  """Keeps a state in its place; called under `jit`."""
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: jax.lax.with_sharding_constraint(
      leaf, placement(path, mesh)
    ),
    state,
  )


def without_padding(state: Any, classes: int) -> Any:
  """A state whose split leaves are numpy's, with a row for each class."""
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: np.asarray(leaf)[:classes] if is_sharded(path) else leaf,
    state,
  )


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Puts a copy of every leaf, as the first process has it, on every device."""
  everywhere = NamedSharding(mesh, PartitionSpec())
  if jax.process_count() == 1:
    return jax.device_put(tree, everywhere)
  return jax.tree.map(
    lambda leaf: jax.make_array_from_process_local_data(
      everywhere, leaf, leaf.shape
    ),
    distributed.arrays_of_first(tree),
  )


def shard_batch(batch: dict[str, Any], mesh: Mesh) -> dict[str, Any]:
  """Joins each process's part of a batch into arrays split over `data`."""
  sharding = NamedSharding(mesh, PartitionSpec('data'))
  return jax.tree.map(
    lambda value: jax.make_array_from_process_local_data(sharding, value), batch
  )
