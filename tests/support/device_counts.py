"""The same computation on one device and on eight."""

import jax

from faceqat.training import sharding


def on_one_and_eight(run, batch, size: int = 16) -> list:
  """The two results of `run(batch, mesh)`, the batch spread over the mesh.

  Args:
    run: the computation.
    batch: arrays by name, each of `size` rows.
    size: of the batch; a multiple of 8.
  """
  assert len(jax.devices()) == 8
  results = []
  for devices in (jax.devices()[:1], jax.devices()):
    mesh = sharding.make_mesh(size, devices)
    parts = sharding.shard_batch(batch, mesh)
    results.append(jax.device_get(run(parts, mesh)))
  return results
