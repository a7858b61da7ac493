"""The blocked and sharded margin softmax is the dense one."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.losses.blocked_softmax import Settings
from faceqat.losses.margin import margin_loss
from faceqat.losses.sharded_softmax import sharded_margin_loss

WIDTH, BATCH = 16, 24
MARGINS = {
  'arcface': 0.5,
  'combined': (0.9, 0.4, 0.15),
  'cosface': 0.35,
  'softmax': 0.0,
}


def settings_of(name='arcface', smoothing=0.0, block=7, products='float32'):
  return Settings(name, 16.0, MARGINS[name], smoothing, products, block)


def mesh_of(devices):
  return jax.make_mesh(
    (devices,),
    ('data',),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices()[:devices],
  )


def example(classes, seed=0):
  rng = np.random.default_rng(seed)
  embeddings = rng.normal(size=(BATCH, WIDTH)).astype(np.float32)
  rows = rng.normal(size=(classes, WIDTH)).astype(np.float32)
  labels = rng.integers(classes, size=BATCH).astype(np.int32)
  # Half of the images lie at their class, so that there are hits.
  embeddings[::2] += 3 * rows[labels[::2]]
  cotangents = rng.normal(size=BATCH).astype(np.float32)
  return embeddings, rows, labels, cotangents


@functools.partial(jax.jit, static_argnames='settings')
def dense(settings, embeddings, rows, labels, cotangents):
  """Losses, hits and gradients of the form that has all logits at once."""

  def losses_of(embeddings, rows):
    return margin_loss(
      settings.name,
      embeddings,
      rows.T,
      labels,
      scale=settings.scale,
      margin=settings.margin,
      label_smoothing=settings.label_smoothing,
    )

  losses, pull, hits = jax.vjp(losses_of, embeddings, rows, has_aux=True)
  return losses, hits, *pull(cotangents)


@functools.partial(jax.jit, static_argnames=('settings', 'devices'))
def sharded(settings, devices, embeddings, rows, labels, cotangents):
  """The same, of rows that are padded with zeros until they divide."""
  classes, mesh = len(rows), mesh_of(devices)
  share = -(-classes // devices)
  rows = jnp.pad(rows, ((0, share * devices - classes), (0, 0)))
  counts = jnp.clip(classes - share * jnp.arange(devices), 0, share)

  def losses_of(embeddings, rows):
    return sharded_margin_loss(settings, mesh, embeddings, rows, labels, counts)

  losses, pull, hits = jax.vjp(losses_of, embeddings, rows, has_aux=True)
  of_embeddings, of_rows = pull(cotangents)
  return losses, hits, of_embeddings, of_rows[:classes], of_rows[classes:]


# Blocks that leave classes over, that are one class, and one that is
# larger than all classes; devices with padding, and one of nothing else.
@pytest.mark.parametrize(
  ('name', 'smoothing', 'classes', 'devices', 'block'),
  [
    ('arcface', 0.1, 29, 1, 7),
    ('combined', 0.1, 40, 3, 7),
    ('cosface', 0.0, 9, 8, 1),
    ('softmax', 0.1, 100, 8, 64),
  ],
)
def test_values_and_gradients_are_the_dense_ones(
  name, smoothing, classes, devices, block
):
  settings = settings_of(name, smoothing, block)
  values = example(classes)
  wanted = dense(settings, *values)
  *found, padding = sharded(settings, devices, *values)
  assert 0 < np.mean(wanted[1]) < 1
  np.testing.assert_array_equal(found[1], wanted[1])
  for index in (0, 2, 3):
    one, other = np.asarray(found[index]), np.asarray(wanted[index])
    # Sums in another order: each is exact to a few 2^-24 of its largest terms.
    assert np.abs(one - other).max() <= 1e-6 * np.abs(other).max(), index
  assert not np.any(padding)


def test_the_gradient_is_that_of_finite_differences():
  embeddings, rows, labels, _ = example(100)
  settings = settings_of('softmax', 0.1, 64)
  ones = np.ones(BATCH, np.float32)
  *_, of_embeddings, of_rows, _ = sharded(
    settings, 8, embeddings, rows, labels, ones
  )
  rng = np.random.default_rng(1)
  direction = rng.normal(size=embeddings.shape), rng.normal(size=rows.shape)

  def moved(step):
    x, w = embeddings + step * direction[0], rows + step * direction[1]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    logits = settings.scale * x @ w.T
    sums = np.log(np.exp(logits).sum(axis=1))
    at_label = logits[np.arange(BATCH), labels]
    return np.sum(sums - 0.9 * at_label - 0.1 * logits.mean(axis=1))

  expected = (moved(1e-5) - moved(-1e-5)) / 2e-5
  found = np.sum(of_embeddings * direction[0]) + np.sum(of_rows * direction[1])
  # Float32 against a central difference in float64.
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_products_in_bfloat16_are_near_and_not_the_same():
  values = example(40)
  exact = sharded(settings_of('combined', 0.1), 3, *values)
  rounded = sharded(
    settings_of('combined', 0.1, products='bfloat16'), 3, *values
  )
  for one, other in zip(rounded[:4], exact[:4]):
    assert one.dtype == np.float32
    # 8 bits of each vector: 2^-8 of a cosine, times the scale of 16.
    assert np.abs(one - other).max() < 0.1 * np.abs(other).max()
  assert not np.array_equal(rounded[0], exact[0])


def test_a_label_without_class_is_nan_and_a_tie_is_no_hit():
  embeddings, rows, labels, cotangents = example(9)
  rows[5] = rows[2]
  labels[:3] = 9, 2, 5
  embeddings[:3] = rows[2]
  settings = settings_of('cosface', block=1)
  found = sharded(settings, 8, embeddings, rows, labels, cotangents)
  np.testing.assert_array_equal(np.isnan(found[0]), np.arange(BATCH) == 0)
  np.testing.assert_array_equal(found[1][1:3], [0.0, 0.0])


def collectives(text):
  """The sizes of all arrays that a compiled program sends to other devices."""
  names = 'all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute'
  sizes = []
  for line in text.splitlines():
    if re.search(rf'= .*\b({names})(-start)?\(', line):
      shapes = re.findall(r'\w+\[([\d,]*)\]', line.partition('metadata')[0])
      sizes += [
        np.prod([int(n) for n in shape.split(',') if n], dtype=int)
        for shape in shapes
      ]
  return sizes


@functools.cache
def compiled_text(of_classes):
  """A step of gradient descent on classes split over 8 devices."""
  mesh = mesh_of(8)
  split = jax.NamedSharding(mesh, jax.P('data'))
  classes = 4096

  def step(embeddings, rows, labels):
    def loss(embeddings, rows):
      counts = jnp.full(8, classes // 8)
      losses, _ = sharded_margin_loss(
        settings_of(block=128), mesh, embeddings, rows, labels, counts
      )
      return jnp.mean(losses)

    value, grads = jax.value_and_grad(loss, (0, 1))(embeddings, rows)
    rows = rows - grads[1]
    if not of_classes:
      rows = jax.lax.with_sharding_constraint(
        rows, jax.NamedSharding(mesh, jax.P())
      )
    return value, grads[0], rows

  arrays = (
    jax.ShapeDtypeStruct((BATCH, WIDTH), np.float32, sharding=split),
    jax.ShapeDtypeStruct((classes, WIDTH), np.float32, sharding=split),
    jax.ShapeDtypeStruct((BATCH,), np.int32, sharding=split),
  )
  return jax.jit(step).lower(*arrays).compile().as_text()


def test_nothing_larger_than_the_embeddings_travels():
  sizes = collectives(compiled_text(True))
  assert BATCH * WIDTH in sizes
  assert max(sizes) == BATCH * WIDTH
  # So it would look if the classes travelled.
  assert max(collectives(compiled_text(False))) == 4096 * WIDTH
