"""Going on from a checkpoint of the same run."""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import ml_collections
from jax.sharding import Mesh

from faceqat.data import datasets
from faceqat.data.contents import CHANGED_PEOPLE
from faceqat.data.pipeline import TrainIterator
from faceqat.training import distributed, sharding
from faceqat.training.checkpoint import Checkpointer
from faceqat.training.class_rows import follow_names, with_classes
from faceqat.training.train_state import TrainState

# How a run is watched, and where its files lie.
_FREE = (
  'checkpoint_steps',
  'data.changed_people',
  'data.check_images',
  # Of the people who are gone, the summary of the data speaks.
  'data.held_out',
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
  # Whoever is called otherwise by it is another person.
  'data.same_names',
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


def check(
  checkpointer: Checkpointer,
  step: int,
  config: ml_collections.ConfigDict,
  iterator: TrainIterator,
) -> list[str]:
  """Compares a checkpoint with what is to go on from it.

  Args:
    checkpointer: of the run.
    step: which.
    config: of this run.
    iterator: over its training data.

  Returns:
    A sentence for everything that changes how the training goes on.

  Raises:
    ValueError: it would be another training; as `check_config` and
      `TrainIterator.check_state`.
  """
  folder = checkpointer.folder / str(step)
  return [
    *check_config(checkpointer.config(step), config, folder),
    *iterator.check_state(checkpointer.position(step)),
  ]


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


def open_data(
  config: ml_collections.ConfigDict, workdir: str
) -> tuple[ml_collections.ConfigDict, datasets.TrainingData]:
  """Opens the training set; whom a run has held out stays held out.

  Args:
    config: of this run.
    workdir: its folder, which may hold checkpoints to go on from.

  Returns:
    The config with `data.held_out`, the names of those people, and the set.

  Raises:
    ValueError: as `datasets.make_training_data`; or people may have come or
      gone, and the checkpoint does not say who was held out.
  """
  config = config.copy_and_resolve_references()
  if config.data.changed_people not in CHANGED_PEOPLE:
    raise ValueError(
      f'data.changed_people is {config.data.changed_people!r}; give '
      f'{" or ".join(CHANGED_PEOPLE)}'
    )
  before = _data_before(workdir) if distributed.is_first() else None
  before = distributed.value_of_first(before)
  names = before and before.get('held_out')
  with config.unlocked():
    if names is not None:
      config.data.held_out = names
    elif (
      before
      and before['validation_people']
      and config.data.changed_people != 'refuse'
    ):
      raise ValueError(
        f'{workdir} is of a version that did not note who was held out of '
        'training, so others may not come or go: leave '
        'data.changed_people=refuse'
      )
    data = datasets.make_training_data(
      config.data, jax.process_index(), jax.process_count()
    )
    config.data.held_out = data.held_out
  return config, data


def restore_first(
  checkpointer: Checkpointer,
  step: int,
  state: TrainState,
  mesh: Mesh,
  people: Sequence[str],
) -> tuple[TrainState, dict[str, Any]]:
  """A checkpoint of the first process, in all of them.

  Args:
    checkpointer: of the run.
    step: which.
    state: as a new run has it; who is new keeps what it has of them.
    mesh: to replicate over.
    people: the names of the classes. What was learnt of somebody follows the
      name; a set that does not allow it was refused before.

  Returns:
    The state, replicated, and the position of the training data.
  """
  position = None
  if distributed.is_first():
    before = checkpointer.position(step).get('people', list(people))
    if before == list(people):
      state, position = checkpointer.restore(step, state)
    else:
      wanted = with_classes(state, len(before))
      restored, position = checkpointer.restore(step, wanted)
      state = follow_names(restored, state, before, people)
  state = sharding.replicate(state, mesh)
  return state, distributed.value_of_first(position)


def _data_before(workdir: str) -> dict[str, Any] | None:
  """The block `data` of a run's latest checkpoint, if there is one."""
  if not (pathlib.Path(workdir) / 'checkpoints').is_dir():
    return None
  with contextlib.closing(Checkpointer(workdir, create=False)) as checkpointer:
    step = checkpointer.latest_step
    return None if step is None else checkpointer.config(step).data.to_dict()


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
