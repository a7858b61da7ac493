"""Going on from a checkpoint of the same run."""

import os
from collections.abc import Iterator
from typing import Any

import ml_collections
from jax.sharding import Mesh

from faceqat import distributed, sharding
from faceqat.checkpoint import Checkpointer
from faceqat.train_state import TrainState

# How a run is watched, and where its files lie.
_FREE = (
  'checkpoint_steps',
  'data.check_images',
  'data.num_threads',
  'data.path',
  'data.skip_damaged',
  'data.tfds_dir',
  'eval',
  'eval_steps',
  'log_steps',
  'pretrained',
  'quick_compilation',
)
# How it goes on; among them what is advised where a training diverges. The
# optimiser's state has to fit, so its name stays.
_CHANGEABLE = (
  'loss.scale',
  'micro_batches',
  'optimizer.clip_global_norm',
  'optimizer.learning_rate',
  'optimizer.schedule',
  'optimizer.step_boundaries',
  'optimizer.step_factor',
  'optimizer.warmup_steps',
  'optimizer.weight_decay',
  'quant.freeze_bn_step',
  'quant.start_step',
  'stages',
  'total_steps',
)
# Whose keys are the user's own: one that is absent means something.
_OPEN = ('quant.overrides', 'stages')
_ABSENT = 'absent'


def check_config(
  before: ml_collections.ConfigDict,
  now: ml_collections.ConfigDict,
  checkpoint: str | os.PathLike,
) -> list[str]:
  """Compares the config of a checkpoint with the one to go on with.

  Fields that only one of them has are left out: another version of the code
  wrote the checkpoint.

  Args:
    before: of the checkpoint.
    now: of this run.
    checkpoint: its folder, for messages.

  Returns:
    A sentence for each field that changes how the training goes on.

  Raises:
    ValueError: a field differs that decides what is trained; it names all of
      them, and what to do.
  """
  notes, refused = [], []
  for name, old, new in _differences(before, now):
    if _is_among(name, _FREE):
      continue
    sentence = f'{name} is {new!r}, before it was {old!r}'
    (notes if _is_among(name, _CHANGEABLE) else refused).append(sentence)
  if refused:
    raise ValueError(
      f'{checkpoint} was trained with another config: {"; ".join(refused)}. '
      'Give the config that it was trained with to go on, or another --workdir '
      'to start anew (--config.pretrained=RUN starts from the weights of a run)'
    )
  return notes


def restore_first(
  checkpointer: Checkpointer, step: int, state: TrainState, mesh: Mesh
) -> tuple[TrainState, dict[str, Any]]:
  """A checkpoint of the first process, in all of them.

  Returns:
    The state, replicated, and the position of the training data.
  """
  position = None
  if distributed.is_first():
    state, position = checkpointer.restore(step, state)
  state = sharding.replicate(state, mesh)
  return state, distributed.value_of_first(position)


def _differences(
  before: ml_collections.ConfigDict, now: ml_collections.ConfigDict
) -> Iterator[tuple[str, Any, Any]]:
  """Yields name, old and new value of the fields that differ."""
  old, new = dict(_fields(before)), dict(_fields(now))
  for name in sorted(old.keys() | new.keys()):
    if not _is_among(name, _OPEN) and (name not in old or name not in new):
      continue
    values = old.get(name, _ABSENT), new.get(name, _ABSENT)
    if values[0] != values[1]:
      yield name, *values


def _fields(
  config: ml_collections.ConfigDict, prefix: str = ''
) -> Iterator[tuple[str, Any]]:
  """Yields the values of a config by dotted names, as JSON keeps them."""
  for key, value in config.items():
    name = f'{prefix}{key}'
    if isinstance(value, ml_collections.ConfigDict):
      yield from _fields(value, f'{name}.')
    else:
      yield name, list(value) if isinstance(value, tuple) else value


def _is_among(name: str, fields: tuple[str, ...]) -> bool:
  return any(name == field or name.startswith(f'{field}.') for field in fields)
