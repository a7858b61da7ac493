"""The device mesh, and the placement of arrays on it."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

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


def shard_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict:
  """Joins each process's part of a batch into arrays split over `data`."""
  sharding = NamedSharding(mesh, PartitionSpec('data'))
  return {
    name: jax.make_array_from_process_local_data(sharding, value)
    for name, value in batch.items()
  }
