"""The margin softmax whose classes are split over the devices of a mesh.

Each device holds a run of classes and gets the embeddings of the whole batch.
The softmax of an image is then joined from a few numbers of each device, so
nothing that travels between devices grows with the number of classes.

Source: An et al. 2022, "Killing two birds with one stone: efficient and robust
training of face recognition CNNs by partial FC", section 3; the blocks are
those of `blocked_softmax.py`.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from faceqat.losses import blocked_softmax
from faceqat.losses.blocked_softmax import Settings
from faceqat.losses.margin import normalize


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def sharded_margin_loss(
  settings: Settings,
  mesh: Mesh,
  embeddings: jax.Array,
  rows: jax.Array,
  labels: jax.Array,
  counts: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """As `margin.margin_loss`, with one class a row.

  Args:
    settings, mesh: static. The mesh has one axis, of n devices.
    embeddings: [B, D] any float type, not normalised; n divides B.
    rows: [K, D] any float type, not normalised; n divides K. Device i has the
      rows from i K / n to (i + 1) K / n.
    labels: [B] int32, the row of each class.
    counts: [n] int32, how many rows of each device are classes; those behind
      are padding, which is no class and has no gradient.

  Returns:
    The losses in nats and the hits, both [B] float32. The loss of a label
    without class is NaN; where another class is as near, there is no hit.
  """
  return _forward(settings, mesh, embeddings, rows, labels, counts)[0]


def _forward(settings, mesh, embeddings, rows, labels, counts):
  losses, hits, *sums = _on_devices(_local_losses, settings, mesh, 4)(
    embeddings, rows, labels, counts
  )
  return (losses, hits), (embeddings, rows, labels, counts, *sums)


def _backward(settings, mesh, saved, cotangents):
  # The hits have no gradient.
  of_losses, _ = cotangents
  gradients = _on_devices(_local_gradients, settings, mesh, 2)
  return *gradients(*saved, of_losses), None, None


sharded_margin_loss.defvjp(_forward, _backward)


def _on_devices(function, settings, mesh, outputs):
  """Runs a function on each device with its part of every array."""
  (axis,) = mesh.axis_names
  part = PartitionSpec(axis)
  return jax.shard_map(
    functools.partial(function, settings, axis),
    mesh=mesh,
    in_specs=part,
    out_specs=(part,) * outputs,
    # The loops over blocks carry values that differ between devices from the
    # second block on; they are declared nowhere else.
    check_vma=False,
  )


def _local_losses(settings, axis, embeddings, rows, labels, counts):
  """Losses, hits, logits at the label and logsumexp of this device's images."""
  unit, labels = _whole_batch(axis, embeddings, rows, labels)
  count = counts[0]
  at_label = blocked_softmax.target(settings, unit, rows, labels, count)
  target, cosine, is_class = jax.lax.psum(
    jnp.stack([x.astype(jnp.float32) for x in at_label]), axis
  )
  found = blocked_softmax.statistics(settings, unit, rows, labels, count)
  nearest = jax.lax.pmax(found.largest, axis)
  largest = jnp.maximum(nearest, target)
  of_others = found.exponentials * jnp.exp(found.largest - largest)
  exponentials, logits = jax.lax.psum(
    jnp.stack([of_others, found.logits]), axis
  )
  logsumexp = largest + jnp.log(exponentials + jnp.exp(target - largest))
  losses = logsumexp - target
  if smoothing := settings.label_smoothing:
    mean = (logits + target) / jax.lax.psum(count, axis)
    losses = (1 - smoothing) * losses + smoothing * (logsumexp - mean)
  losses = jnp.where(is_class > 0, losses, jnp.nan)
  # Where another class is as near, there is no hit.
  hits = (cosine > nearest).astype(jnp.float32)
  first = jax.lax.axis_index(axis) * len(embeddings)
  return tuple(
    jax.lax.dynamic_slice_in_dim(x, first, len(embeddings))
    for x in (losses, hits, target, logsumexp)
  )


def _local_gradients(
  settings, axis, embeddings, rows, labels, counts, *of_images
):
  """Of this device's images, and of its classes."""
  unit, labels = _whole_batch(axis, embeddings, rows, labels)
  target, logsumexp, cotangents = jax.lax.all_gather(
    jnp.stack(of_images), axis, axis=1, tiled=True
  )
  of_unit, of_rows = blocked_softmax.gradients(
    settings,
    unit,
    rows,
    labels,
    counts[0],
    target,
    logsumexp,
    jax.lax.psum(counts[0], axis),
    cotangents,
  )
  of_unit = jax.lax.psum_scatter(of_unit, axis, tiled=True)
  _, normalized = jax.vjp(lambda x: normalize(x, axis=1), embeddings)
  return *normalized(of_unit), of_rows


def _whole_batch(axis, embeddings, rows, labels):
  """Unit embeddings of all devices; labels relative to this one's classes."""
  unit = jax.lax.all_gather(normalize(embeddings, axis=1), axis, tiled=True)
  labels = jax.lax.all_gather(labels, axis, tiled=True)
  return unit, labels - jax.lax.axis_index(axis) * len(rows)
