"""A run that trains in seconds, and how tests look into it."""

import contextlib
import functools
import json
import os
import signal
import zlib

import jax
import numpy as np
from settings import ROOT

from configs import common, mbv2_int8
from faceqat import models
from faceqat.data.pipeline import TrainIterator
from faceqat.training import sharding
from faceqat.training.checkpoint import Checkpointer
from faceqat.training.loop import train
from faceqat.training.plan import Plan
from faceqat.training.train_state import create_state, named_leaves, train_step

# `model.name = 'tiny'` finds a module there as it finds those of the package.
models.__path__.append(str(ROOT / 'tests' / 'extra_models'))

# Training people of the smoke form: 32 less 20 kept out.
NUM_CLASSES = 12


def make_config(**changes):
  """The smoke form of the main config, with the network of extra_models/.

  Four float steps, four quantized ones, two with frozen batch norms.
  """
  config = mbv2_int8.get_config('smoke')
  config.model = {
    'name': 'tiny',
    'embedding_size': 16,
    'depth_multiplier': 1.0,
    'features': 8,
    'activation': 'relu6',
    'global_depthwise': False,
    'norm': common.batch_norm(),
    'dtype': 'float32',
  }
  # Faces that tests write are of this size.
  config.data.stored_size = config.eval.stored_size = 0
  config.update(total_steps=10, eval_steps=3, checkpoint_steps=3)
  config.quant.update(start_step=4, freeze_bn_step=8)
  config.update(changes)
  return config


def get_config():
  """For a command that takes the file of a config."""
  return make_config()


def make_start(config):
  """The model, the initial state and the step of its last stage."""
  # On one device, and compiled as `train` does: it is compiled only once.
  mesh = sharding.make_mesh(config.batch_size, jax.devices()[:1])
  plan = Plan(config, mesh, NUM_CLASSES)
  recipe = plan.recipe_at(config.total_steps)
  state = create_state(
    recipe, num_classes=NUM_CLASSES, image_size=config.data.image_size
  )
  step = jax.jit(
    train_step, static_argnames=('recipe', 'mode'), donate_argnames='state'
  )
  step = functools.partial(step, recipe=recipe)
  return plan.model, sharding.place(state, mesh), step


def read_state(config, workdir, step):
  """A checkpoint of a run: the training state and the data's position."""
  _, state, _ = make_start(config)
  with contextlib.closing(Checkpointer(workdir, create=False)) as checkpointer:
    return checkpointer.restore(step, state), checkpointer.position(step)


def read_log(workdir):
  """The lines of a run's metrics.jsonl without their times."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [
    {name: value for name, value in json.loads(line).items() if name != 'time'}
    for line in lines
  ]


def leaves(tree):
  """Every array of a tree by its path."""
  return {name: np.asarray(leaf) for name, leaf in named_leaves(tree).items()}


def make_batch(size=8, seed=0):
  """A batch as a training step takes it."""
  rng = np.random.default_rng(seed)
  return {
    'image': rng.integers(0, 256, (size, 32, 32, 3), np.uint8),
    'label': rng.integers(0, NUM_CLASSES, size, np.int32),
  }


def stop_and_resume(config, workdir, at_batch, number=signal.SIGTERM):
  """Trains on one device, stopped by a signal as a batch is taken, to the end.

  Returns the batches taken before the stop and after it.
  """

  def stop(batch):
    if batch == at_batch:
      os.kill(os.getpid(), number)

  with taken_batches(stop) as first:
    assert train(config, str(workdir), jax.devices()[:1]) == number
  with taken_batches() as later:
    assert train(config, str(workdir), jax.devices()[:1]) is None
  return first, later


def assert_same_end(config, one, other):
  """That two runs ended with the same bits."""
  whole, whole_position = read_state(config, one, config.total_steps)
  parts, parts_position = read_state(config, other, config.total_steps)
  assert parts_position == whole_position
  whole, parts = leaves(whole), leaves(parts)
  assert whole.keys() == parts.keys()
  assert any('opt_state' in name for name in whole)
  # One program, compiled alike for one device of one processor.
  for name, array in whole.items():
    assert array.dtype == parts[name].dtype
    assert array.tobytes() == parts[name].tobytes(), name


def assert_trained_alike(config, one, other, share=0.02):
  """That two states come of the same batches, whatever the order of sums.

  The movement of each parameter and momentum is compared with that of all. Sums
  in another order differ by some 1e-6 of it, and an activation on the other
  side of a tie by a 255th in one of thousands; with a small learning rate
  neither grows. A gradient or statistics of a part of the batch would be off by
  more than a tenth.
  """
  start = leaves(make_start(config)[1])
  one, other = leaves(one), leaves(other)
  assert start.keys() == one.keys() == other.keys()
  for part in ('params', 'batch_stats', 'quant_stats', 'opt_state'):
    names = [name for name in start if name.startswith(part)]
    moved = [one[name] - start[name] for name in names]
    apart = [other[name] - one[name] for name in names]
    whole = np.sqrt(sum(np.sum(np.square(m)) for m in moved))
    assert whole > 0, part
    for name, a, b in zip(names, apart, moved):
      bound = share * np.linalg.norm(b) + 0.01 * share * whole
      assert np.linalg.norm(a) <= bound, name


@contextlib.contextmanager
def taken_batches(at_batch=lambda number: None):
  """Notes a digest of every batch that training takes.

  `at_batch` is called with the number of the batch, from 0, as it is taken.
  """
  digests, original = [], TrainIterator.__next__

  def take(iterator):
    at_batch(len(digests))
    batch = original(iterator)
    digests.append(
      (zlib.crc32(batch['image'].tobytes()), batch['label'].tolist())
    )
    return batch

  TrainIterator.__next__ = take
  try:
    yield digests
  finally:
    TrainIterator.__next__ = original
