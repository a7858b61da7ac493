"""Going on from a checkpoint of the same run."""

import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh

from faceqat.data import datasets
from faceqat.data.contents import CHANGED_PEOPLE
from faceqat.losses.margin_objective import ShardedMargin
from faceqat.losses.objective import make_objective
from faceqat.training import class_parts, distributed, sharding
from faceqat.training.checkpoint import Checkpointer, latest_config
from faceqat.training.class_rows import follow_names, with_classes
from faceqat.training.train_state import TrainState

# How a run is watched, and where its files lie: these may change unnoticed.
_FREE = (
  'checkpoint_steps',
  'data.cache_gb',
  'data.changed_people',
  'data.check_images',
  # The summary of the data names the people who are gone.
  'data.held_out',
  'data.num_threads',
  'data.path',
  'data.skip_damaged',
  'data.tfds_dir',
  'eval',
  'eval_steps',
  'log_steps',
  # `teacher.check_same` compares the networks.
  'loss.teacher',
  'pretrained',
  'quick_compilation',
)
# How the training goes on: these may change, and a note says so. What is
# advised where a training diverges is among them. The optimiser's name is not:
# its state would not fit.
_CHANGEABLE = (
  # Somebody with another name is another person.
  'data.same_names',
  'loss.scale',
  'micro_batches',
  'optimizer.clip_global_norm',
  'optimizer.kernel_rate',
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
# The user chooses the keys of these blocks, so an absent one means something.
_OPEN = ('quant.overrides', 'stages')
_ABSENT = 'absent'


class Saved(NamedTuple):
  """The latest checkpoint of a run, without its arrays.

  Attributes:
    step: of the checkpoint.
    folder: `<workdir>/checkpoints/<step>`.
    config: of the training that wrote it.
    position: as `TrainIterator.get_state` gave it.
  """

  step: int
  folder: pathlib.Path
  config: ml_collections.ConfigDict
  position: dict[str, Any]


def read_saved(checkpointer: Checkpointer) -> Saved | None:
  """What the first process finds, in all of them; None: nothing is saved.

  Raises:
    ValueError: the checkpoint is damaged.
  """
  found = None
  if distributed.is_first() and checkpointer.latest_step is not None:
    step = checkpointer.latest_step
    config = checkpointer.config(step).to_dict()
    found = step, config, checkpointer.position(step)
  found = distributed.value_of_first(found)
  if found is None:
    return None
  step, config, position = found
  return Saved(
    step,
    checkpointer.folder / str(step),
    ml_collections.ConfigDict(config),
    position,
  )


def check_config(
  before: ml_collections.ConfigDict,
  now: ml_collections.ConfigDict,
  checkpoint: str | os.PathLike,
) -> list[str]:
  """Compares the config of a checkpoint with the one to go on with.

  Fields that only one of them has are left out: another version of the code
  wrote the checkpoint.

  Returns:
    A sentence for each field that changes how the training goes on.

  Raises:
    ValueError: fields differ that decide what is trained; it names them all.
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
  """Opens the training set; people whom a run has held out stay held out.

  Returns:
    The config with `data.held_out`, the names of those people, and with
    `loss.sharded`, where that is None, as the run has it; and the set.

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
  before = {'data': {}, 'loss': {}}
  # The folder is not locked yet: a run that still writes there may save another
  # checkpoint, but holds out the same people.
  if distributed.is_first() and (found := latest_config(workdir)):
    before = {name: found[0][name].to_dict() for name in before}
  before = distributed.value_of_first(before)
  names = before['data'].get('held_out')
  with config.unlocked():
    if names is not None:
      config.data.held_out = names
    elif (
      before['data'].get('validation_people')
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
    if config.loss.get('sharded', False) is None:
      objective = make_objective(config.loss, len(data.train.class_names))
      is_sharded = isinstance(objective, ShardedMargin)
      config.loss.sharded = before['loss'].get('sharded', is_sharded)
  return config, data


def restore_first(
  checkpointer: Checkpointer,
  saved: Saved,
  state: TrainState,
  mesh: Mesh,
  people: Sequence[str],
) -> TrainState:
  """A checkpoint that the first process reads, on the devices of all.

  Args:
    checkpointer, saved: of the run.
    state: of a new run; new people keep what it has of them. What is split of
      it is given away.
    mesh: to put it on, however many devices the run had.
    people: the names of the classes, which what was learnt of people follows.
  """
  before = saved.position.get('people', list(people))
  folder = checkpointer.folder
  in_parts = class_parts.folder_of(folder, saved.step).is_dir()
  if before != list(people) and (in_parts or class_parts.are_apart(state)):
    raise ValueError(
      f'{saved.folder} is of other people, and its classifier is in parts of '
      'several processes; add or remove people in a run of one process without '
      'such a checkpoint'
    )
  # Others read as well where each has classes of its own.
  if distributed.is_first() or class_parts.are_apart(state):
    state = _restored(checkpointer, saved.step, state, mesh, before, people)
  return sharding.place(state, mesh)


def _restored(checkpointer, step, state, mesh, before, people):
  folder = checkpointer.folder
  if class_parts.folder_of(folder, step).is_dir():
    rest = checkpointer.restore(step, class_parts.without(state))
    return class_parts.restore(folder, step, state, rest, mesh)
  if before == list(people):
    # A process that has a part reads all of what one process wrote.
    is_apart = class_parts.are_apart(state)
    wanted = with_classes(state, len(people)) if is_apart else _emptied(state)
    return checkpointer.restore(step, wanted, len(people))
  wanted = with_classes(state, len(before))
  restored = checkpointer.restore(step, wanted, len(before))
  initial = sharding.without_padding(state, len(people))
  return follow_names(restored, initial, before, people)


def _emptied(state: TrainState) -> TrainState:
  """Makes room where what is split lies: its arrays are gone."""

  def emptied(path, leaf):
    if not sharding.is_sharded(path):
      return leaf
    shape = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    leaf.delete()
    return shape

  return jax.tree_util.tree_map_with_path(emptied, state)


def _differences(
  before: ml_collections.ConfigDict, now: ml_collections.ConfigDict
) -> Iterator[tuple[str, Any, Any]]:
  """Yields name, old and new value of the fields that differ."""
  old, new = _fields(before), _fields(now)
  for name in sorted(old.keys() | new.keys()):
    if not _is_among(name, _OPEN) and (name not in old or name not in new):
      continue
    values = old.get(name, _ABSENT), new.get(name, _ABSENT)
    if values[0] != values[1]:
      yield name, *values


def _fields(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The values of a config by dotted names, as JSON keeps them."""
  return flatten_dict(json.loads(json.dumps(config.to_dict())), sep='.')


def _is_among(name: str, fields: tuple[str, ...]) -> bool:
  return any(name == field or name.startswith(f'{field}.') for field in fields)
