"""The device mesh, and where each array lies on it."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from faceqat import distributed


def make_mesh(batch_size: int, devices: list | None = None) -> Mesh:
  """Makes a mesh with the one axis `data` over all devices of all processes.

  Args:
    batch_size: of the whole step; every device takes an equal part.
    devices: those to use; all by default.

  Raises:
    ValueError: the batch does not divide among the devices.
  """
  devices = jax.devices() if devices is None else devices
  if batch_size % len(devices):
    raise ValueError(
      f'batch_size {batch_size} does not divide among {len(devices)} devices; '
      f'choose a multiple of {len(devices)}'
    )
  return jax.make_mesh(
    (len(devices),), ('data',), axis_types=(AxisType.Auto,), devices=devices
  )


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Puts a copy of every leaf on every device.

  Of several processes, the copies are of what the first one has.
  """
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
  """Joins each process's part of a batch into global arrays split over `data`.

  Args:
    batch: this process's examples, leading axis first.
    mesh: as `make_mesh` makes it.
  """
  sharding = NamedSharding(mesh, PartitionSpec('data'))
  return {
    name: jax.make_array_from_process_local_data(sharding, value)
    for name, value in batch.items()
  }
