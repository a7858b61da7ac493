"""Checkpoints by Orbax: the state, the position in the data, the config."""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from faceqat.calibration import packaged_files, packaged_network
from faceqat.calibration.older_configs import with_added_fields
from faceqat.files import strict_json
from faceqat.models.build import make_model
from faceqat.models.network import Network, variable_shapes
from faceqat.training import distributed, sharding
from faceqat.training.array_digest import digest_arrays
from faceqat.training.train_state import TrainState, named_leaves

# The metric of Orbax that the best checkpoint is chosen by.
_SCORE = 'score'

_HANDLERS = {
  'variables': ocp.StandardCheckpointHandler,
  'training': ocp.StandardCheckpointHandler,
  'data': ocp.JsonCheckpointHandler,
  'config': ocp.JsonCheckpointHandler,
  'digests': ocp.JsonCheckpointHandler,
}


class Checkpointer:
  """Keeps the latest two checkpoints of a run, and its best.

  A checkpoint has four parts: `variables` (of the model), `training` (step,
  classifier, the objective's state, optimiser), `data` (the position) and
  `config`. An evaluation does not read `training`, which is larger than the
  network. Each part is compared with its digest; older checkpoints have none.

  What is split over devices is written and read in parts, each from and to its
  device. Its padding is written as well, but is in no digest: it is cut or
  added where a checkpoint is read on another number of devices.

  Of several processes the first one saves. Any process that has the folder can
  read alone: none waits for another.

  Attributes:
    folder: `<workdir>/checkpoints`.
  """

  def __init__(self, workdir: str | os.PathLike, *, create: bool = True):
    self.folder = pathlib.Path(workdir).resolve() / 'checkpoints'
    if not create and not self.folder.is_dir():
      fault = 'does not exist'
      if os.path.exists(workdir):
        is_folder = os.path.isdir(workdir)
        fault = 'holds no checkpoints' if is_folder else 'is a file'
      raise ValueError(f'{workdir} {fault}; give the folder of a training run')
    if create:
      self.folder.mkdir(parents=True, exist_ok=True)
    alone = ocp.options.MultiprocessingOptions(
      primary_host=jax.process_index(),
      active_processes={jax.process_index()},
    )
    for path in sorted(self.folder.glob('*/metrics/metrics')):
      # Orbax reads them at once, and does not name the file in its error.
      with self._reading(path.parents[1].name):
        strict_json.parse(path.read_bytes(), dict)
    self._manager = ocp.CheckpointManager(
      epath.Path(self.folder),
      options=ocp.CheckpointManagerOptions(
        create=False,
        multiprocessing_options=alone,
        # Without it, Orbax does not write the metrics that `BestN` reads.
        best_fn=_score,
        preservation_policy=policies.AnyPreservationPolicy(
          [
            # The latest may be damaged.
            policies.LatestN(2),
            policies.BestN(get_metric_fn=_score, n=1),
          ]
        ),
      ),
      item_handlers={
        name: handler(multiprocessing_options=alone)
        for name, handler in _HANDLERS.items()
      },
    )

  def save(
    self,
    state: TrainState,
    data: dict[str, Any],
    config: ml_collections.ConfigDict,
    score: float | None = None,
    classes: int = 0,
  ):
    """Writes a checkpoint in the background; it appears whole or not at all.

    Where arrays are split over devices, it is written at once: there may be no
    room for a copy of them, and the next step overwrites them.

    Args:
      state: of the training.
      data: the position in the training data, as JSON takes it.
      config: of the run.
      score: 0 or more; None: the checkpoint is no candidate for the best.
      classes: rows of what is split that are no padding.
    """
    step = int(state.step)
    if not distributed.is_first() or step in self._manager.all_steps():
      return
    # A copy, as the next step overwrites the state.
    state = jax.tree_util.tree_map_with_path(
      lambda path, leaf: leaf if sharding.is_sharded(path) else np.array(leaf),
      state,
    )
    training, settings = _training_part(state), config.to_dict()
    digests = {
      'variables': digest_arrays(state.variables),
      'training': digest_arrays(training, classes),
      'data': _digest_json(data),
      'config': _digest_json(settings),
    }
    self._manager.save(
      step,
      args=ocp.args.Composite(
        variables=ocp.args.StandardSave(state.variables),
        training=ocp.args.StandardSave(training),
        data=ocp.args.JsonSave(data),
        config=ocp.args.JsonSave(settings),
        digests=ocp.args.JsonSave(digests),
      ),
      metrics={_SCORE: -1.0 if score is None else score},
    )
    if _sharded_leaves(training):
      self._manager.wait_until_finished()

  @property
  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  @property
  def steps(self) -> list[int]:
    return sorted(self._manager.all_steps())

  def find(self, which: str | int) -> int:
    """The step that 'latest', 'best' or a number, also as text, means.

    Raises:
      ValueError: there is no such checkpoint; it lists those there are.
    """
    steps = self.steps
    step = {
      'latest': self._manager.latest_step(),
      'best': self._manager.best_step(),
    }.get(str(which), int(which) if str(which).isdecimal() else None)
    if step not in steps:
      raise ValueError(
        f'{self.folder}: no checkpoint {which!r}; there are '
        f'{", ".join(map(str, steps)) or "none"}'
      )
    return step

  def config(self, step: int) -> ml_collections.ConfigDict:
    """The config with which a checkpoint was trained.

    Raises:
      ValueError: it is damaged.
    """
    items = self._read(step, config=ocp.args.JsonRestore())
    config = ml_collections.ConfigDict(items['config'])
    return with_added_fields(config)

  def position(self, step: int) -> dict[str, Any]:
    """The position of the training data, as it was given.

    Raises:
      ValueError: it is damaged.
    """
    return self._read(step, data=ocp.args.JsonRestore())['data']

  def restore(
    self, step: int, state: TrainState, classes: int = 0
  ) -> TrainState:
    """Reads a state of the shapes and types of `state`, as numpy's arrays.

    Args:
      step: of the checkpoint.
      state: what is split over devices in it comes to lie there.
      classes: as of `save`.

    Raises:
      ValueError: the checkpoint is of another model, or damaged.
    """
    state = jax.tree_util.tree_map_with_path(_destination, state)
    training = _training_part(state)
    self._check_shapes(step, 'variables', state.variables)
    self._check_shapes(step, 'training', training, classes)
    items = self._read(
      step,
      classes,
      variables=ocp.args.StandardRestore(state.variables),
      # Padding is cut or added.
      training=ocp.args.StandardRestore(training, strict=False),
    )
    variables, training = items['variables'], items['training']
    return TrainState(
      step=training['step'],
      params={
        'backbone': variables['params'],
        'classifier': training['classifier'],
      },
      batch_stats=variables['batch_stats'],
      quant_stats=variables['quant_stats'],
      objective_state=training['objective'],
      penalty_coefficient=training['regularization'],
      opt_state=training['opt_state'],
    )

  def restore_variables(self, step: int, variables: Any) -> Any:
    """Reads variables of the shapes of `variables`, as numpy's arrays.

    Raises:
      ValueError: the checkpoint is of another model, or damaged.
    """
    variables = jax.tree_util.tree_map_with_path(_destination, variables)
    self._check_shapes(step, 'variables', variables)
    items = self._read(step, variables=ocp.args.StandardRestore(variables))
    return items['variables']

  def _read(self, step: int, classes: int = 0, **parts) -> dict[str, Any]:
    """Reads parts of a checkpoint and compares them with their digests."""
    folder = self.folder / str(step)
    has_digests = (folder / 'digests').is_dir()
    more = {'digests': ocp.args.JsonRestore()} if has_digests else {}
    with self._reading(step):
      items = self._manager.restore(
        step, args=ocp.args.Composite(**parts, **more)
      )
      for name, how in parts.items() if has_digests else ():
        if isinstance(how, ocp.args.JsonRestore):
          digest = _digest_json(items[name])
        else:
          digest = digest_arrays(items[name], classes)
        if digest != items['digests'].get(name):
          raise OSError(f'{folder / name} is not what was saved')
    return items

  @contextlib.contextmanager
  def _reading(self, step: int | str) -> Iterator[None]:
    """Names the checkpoint whose files cannot be read, and another one."""
    try:
      yield
    # Orbax and TensorStore raise many kinds of errors.
    except Exception as error:
      why = (str(error).splitlines() or [''])[0][:300]
      others = sorted(
        int(path.name)
        for path in self.folder.iterdir()
        if path.name.isdecimal() and path.name != str(step)
      )
      remedy = (
        f'remove that folder to go on from step {others[-1]}'
        if others
        else 'there is no other; start anew in another --workdir'
      )
      raise ValueError(
        f'{self.folder}/{step} is damaged ({type(error).__name__}: {why}); '
        f'{remedy}'
      ) from error

  def _check_shapes(self, step: int, item: str, wanted: Any, classes: int = 0):
    """Compares names and shapes before anything is read."""
    with self._reading(step):
      there = _shapes(self._manager.item_metadata(step)[item])
    here = _shapes(wanted)
    for name in _sharded_leaves(wanted).keys() & there.keys():
      # Padding may be other.
      if there[name][0] >= classes:
        there[name] = (here[name][0], *there[name][1:])
    for name in sorted(there.keys() | here.keys()):
      if there.get(name) != here.get(name):
        raise ValueError(
          f'{self.folder}/{step} is a checkpoint of another model: {name} is '
          f'{there.get(name, "absent")} there and {here.get(name, "absent")} '
          'by this config; give the config that it was trained with, or '
          'another --workdir'
        )

  def close(self):
    """Waits until everything is written."""
    self._manager.wait_until_finished()
    self._manager.close()


def latest_config(
  workdir: str | os.PathLike,
) -> tuple[ml_collections.ConfigDict, int] | None:
  """The config and the step of a run's latest checkpoint; None without one."""
  if not (pathlib.Path(workdir) / 'checkpoints').is_dir():
    return None
  checkpointer = Checkpointer(workdir, create=False)
  with contextlib.closing(checkpointer):
    step = checkpointer.latest_step
    return None if step is None else (checkpointer.config(step), step)


def load_network(workdir: str, which: str | int = 'latest') -> Network:
  """Reads the network of a run: its 'latest', its 'best' or that of a step.

  In place of a run's folder, `workdir` may be a name of
  `packaged_files.NAMES`, which has no steps.

  Raises:
    ValueError: there is no such checkpoint, or it is damaged.
  """
  if workdir in packaged_files.NAMES:
    return packaged_network.load_packaged(workdir)
  checkpointer = Checkpointer(workdir, create=False)
  with contextlib.closing(checkpointer):
    step = checkpointer.find(which)
    config = checkpointer.config(step)
    model = make_model(config)
    shapes = variable_shapes(model, config.data.image_size)
    # A network with group norms has no batch statistics.
    shapes = {'batch_stats': {}, **shapes}
    variables = jax.device_put(checkpointer.restore_variables(step, shapes))
  return Network(model, variables, config, step)


def _sharded_leaves(tree: Any) -> dict[str, Any]:
  """What of a part of a checkpoint is split over devices: the rest is numpy's.

  It has arrays, or as `_destination` gives them.
  """
  return {
    name: leaf
    for name, leaf in named_leaves(tree).items()
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)
  }


def _score(metrics: dict[str, float]) -> float:
  return metrics[_SCORE]


def _destination(path: tuple, leaf: Any) -> Any:
  """What to read into: on the host, but for what is split over devices."""
  place = getattr(leaf, 'sharding', None)
  if sharding.is_sharded(path) and place is not None:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
  return np.empty(leaf.shape, leaf.dtype)


def _training_part(state: TrainState) -> dict[str, Any]:
  return {
    'step': state.step,
    'classifier': state.params['classifier'],
    'objective': state.objective_state,
    'regularization': state.penalty_coefficient,
    'opt_state': state.opt_state,
  }


def _digest_json(value: Any) -> str:
  text = json.dumps(value, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  return {
    name: tuple(leaf.shape)
    for name, leaf in named_leaves(tree).items()
    if hasattr(leaf, 'shape')
  }
