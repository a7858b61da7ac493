"""The training: data, plan, state, restore, loop; in that order."""

import contextlib
import pathlib
import signal
import zlib

import jax
import ml_collections
import numpy as np

from faceqat import progress
from faceqat.data import datasets, pipeline
from faceqat.data.augment import Augment
from faceqat.models.network import check_overrides
from faceqat.training import distributed, resume, sharding
from faceqat.training.checkpoint import Checkpointer
from faceqat.training.checks import check_steps, with_start_step
from faceqat.training.class_rows import with_classes
from faceqat.training.history import MetricLog
from faceqat.training.memory import check_memory
from faceqat.training.parameters import write_parameters
from faceqat.training.plan import Plan
from faceqat.training.stop import StopRequest
from faceqat.training.train_state import create_state
from faceqat.training.trainer import Trainer
from faceqat.training.workdir import locked


def train(
  config: ml_collections.ConfigDict,
  workdir: str,
  devices: list[jax.Device] | None = None,
) -> signal.Signals | None:
  """Trains, or continues to train, until `config.total_steps` are done.

  Args:
    config: as in `configs/`; every field is used.
    workdir: takes `checkpoints/`, `parameters.txt`, TensorBoard's events and
      `metrics.jsonl`.
    devices: to train on; all by default. Results depend on their number only
      through the rounding of sums.

  Returns:
    The signal that stopped it early, with its state saved; None at the end.

  Raises:
    ValueError: the config or the data is wrong; it says what and where.
    FloatingPointError: the loss or the gradient is no longer finite.
  """
  check_steps(config)
  config, data, iterator = _open_data(config, workdir)
  mesh = sharding.make_mesh(config.batch_size, devices, config.micro_batches)
  num_classes = len(data.train.class_names)
  plan = _make_plan(config, mesh, num_classes)
  recipe, size = plan.recipe_at(0), config.data.image_size
  state = create_state(recipe, num_classes=num_classes, image_size=size)
  notes = check_overrides(plan.model, state.quant_stats, size)
  progress.note('\n'.join([*data.summary, *notes]))

  # Nothing is written before all of that has passed.
  pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
  is_first = distributed.is_first()
  with (
    locked(workdir) if is_first else contextlib.nullcontext(),
    StopRequest() as stop,
    contextlib.closing(iterator),
    contextlib.closing(Checkpointer(workdir)) as checkpointer,
    contextlib.closing(MetricLog(pathlib.Path(workdir))) as log,
  ):
    trainer = Trainer(
      config, plan, data, iterator, state, mesh, checkpointer, log
    )
    start = trainer.restore()
    if start is None and is_first:
      shapes = with_classes(trainer.state, num_classes)
      progress.note(write_parameters(shapes.params, workdir))
    if start != plan.total:
      trainer.run(start or 0, stop)
  if stop.signal:
    print(
      f'{stop.signal.name}: saved step {int(trainer.state.step)} in {workdir}; '
      'the same command continues from there'
    )
  if iterator.num_skipped:
    print(f'damaged images were skipped {iterator.num_skipped} times')
  return stop.signal


def _make_plan(
  config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh, num_classes: int
) -> Plan:
  """The plan of a training whose classifier fits the devices."""
  plan = Plan(config, mesh, num_classes)
  check_memory(
    plan.objective,
    mesh,
    people=num_classes,
    dimension=plan.model.embedding_size,
    batch_size=config.batch_size,
    optimizer=config.optimizer.name,
  )
  return plan


def _open_data(
  config: ml_collections.ConfigDict, workdir: str
) -> tuple[
  ml_collections.ConfigDict, datasets.TrainingData, pipeline.TrainIterator
]:
  """Opens the training set; every process reads its own part of each batch.

  Returns:
    The config, with the names of the people held out and the step at which
    quantizers start; the set; and an iterator over its batches.
  """
  config, data = resume.open_data(config, workdir)
  distributed.check_same(
    {
      'config': config.to_dict(),
      'training images': zlib.crc32(np.ascontiguousarray(data.train.labels)),
    }
  )
  config = with_start_step(config, len(data.train))
  iterator = pipeline.make_train_iterator(
    data.train,
    batch_size=config.batch_size,
    seed=config.seed,
    augment=Augment(**config.data.augment),
    skip_damaged=config.data.skip_damaged,
    skipped=data.skipped,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    num_threads=config.data.num_threads,
    people_per_batch=config.data.people_per_batch,
    changed_people=config.data.changed_people,
  )
  return config, data, iterator
