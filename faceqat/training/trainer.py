"""Restores, trains, validates and saves the state of a run."""

import contextlib
import functools
from collections.abc import Collection, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh

from faceqat.calibration.calibrate import calibrate, has_ranges
from faceqat.data import pipeline
from faceqat.data.augment_batch import augment_batch
from faceqat.data.datasets import TrainingData
from faceqat.data.pipeline import TrainIterator
from faceqat.models.network import Network
from faceqat.progress import Bar, Pace, doing
from faceqat.training import class_parts, resume, sharding
from faceqat.training.checkpoint import Checkpointer
from faceqat.training.history import MetricLog
from faceqat.training.plan import Plan, Step
from faceqat.training.start import (
  start_from,
  with_class_means,
  with_fingerprint,
)
from faceqat.training.step_line import print_step, print_validation
from faceqat.training.stop import StopRequest
from faceqat.training.teacher import (
  check_same,
  load_teacher,
  make_teacher,
  with_digest,
)
from faceqat.training.train_state import (
  TrainState,
  restart_optimizer,
  train_step,
)
from faceqat.training.validation import best_score, range_metrics, validate


class Trainer:
  """Holds the state of a run.

  Attributes:
    state: on the mesh, as `sharding.place` puts it.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    plan: Plan,
    data: TrainingData,
    iterator: TrainIterator,
    state: TrainState,
    mesh: Mesh,
    checkpointer: Checkpointer,
    log: MetricLog,
  ):
    self._config, self._plan = config, plan
    self._data, self._iterator = data, iterator
    self._mesh = mesh
    self._checkpointer, self._log = checkpointer, log
    self._step = jax.jit(
      train_step, static_argnames=('recipe', 'mode'), donate_argnames='state'
    )
    self._compiled = None
    # Adds what the objective needs besides images and labels.
    self._with_targets = lambda batch: batch
    # Number and metrics of the last step, which are not checked yet.
    self._pending = None
    self._put(state)

  def restore(self) -> int | None:
    """Restores the state from the first of these that is there.

    1. The run's own latest checkpoint.
    2. The weights of another project or run, `config.pretrained`. Where there
       is no other teacher, it is made of them even if there is a checkpoint.
    3. Random weights.

    Returns:
      The step to go on from; None where the run begins.

    Raises:
      ValueError: the checkpoint is of another training, or the weights are of
        another network.
    """
    saved = resume.read_saved(self._checkpointer)
    if saved is not None:
      for note in (
        *resume.check_config(saved.config, self._config, saved.folder),
        *self._iterator.check_state(saved.position),
      ):
        print(note)
    config = with_fingerprint(self._config, saved)
    objective = self._plan.objective
    learns_from_start = objective.needs_teacher and not objective.teacher
    if config.pretrained and (saved is None or learns_from_start):
      state, config = start_from(self.state, self._plan.model, config)
      self._put(state)
    if objective.needs_teacher:
      config = self._learn_from_teacher(config, saved)
    self._config = config
    if saved is not None:
      self._continue_from(saved)
      return saved.step
    if config.pretrained:
      print(f'starts from {config.pretrained}')
      if not objective.needs_teacher:
        self._set_class_means()
    return None

  def _set_class_means(self, people: Collection[str] | None = None):
    self._put(
      with_class_means(
        self.state,
        self._plan.model,
        self._data.train,
        self._config.eval.batch_size,
        self._data.skipped,
        people,
      )
    )

  def _learn_from_teacher(
    self, config: ml_collections.ConfigDict, saved: resume.Saved | None
  ) -> ml_collections.ConfigDict:
    """Prepares the targets; the config says whose they are."""
    teacher = load_teacher(config, self._plan.model, self.state.variables)
    config = with_digest(config, teacher)
    if saved is not None:
      check_same(saved.config, config, saved.folder)
    variables = sharding.replicate(teacher.variables, self._mesh)
    self._with_targets = make_teacher(
      teacher._replace(variables=variables),
      self._plan.objective.needs_features,
    )
    return config

  def _continue_from(self, saved: resume.Saved):
    # At the end of a stage, the checkpoint still has the optimiser of it.
    recipe = self._plan.recipe_at(max(saved.step - 1, 0))
    self._put(restart_optimizer(self.state, recipe))
    self.state = resume.restore_first(
      self._checkpointer,
      saved,
      self.state,
      self._mesh,
      self._data.train.class_names,
    )
    if self._config.data.changed_people == 'continue_with_means':
      people = set(self._data.train.class_names)
      if new := people.difference(saved.position.get('people', people)):
        self._set_class_means(new)
    self._iterator.set_state(saved.position)
    print(f'continues from step {saved.step} of {self._plan.total}')

  def run(self, start: int, stop: StopRequest):
    """Trains from a step to the end, or until it is asked to stop.

    Raises:
      ValueError: an image is damaged; the state is saved first.
      FloatingPointError: the training has diverged; nothing is saved.
    """
    plan, images = self._plan, self._config.batch_size
    self._pace = Pace(start, plan.total, images)
    self._bar = Bar('step', plan.total, start, images)
    with self._bar:
      self._run(start, stop)

  def _run(self, start: int, stop: StopRequest):
    plan = self._plan
    self._calibrated = has_ranges(self.state.quant_stats)
    for number in range(start, plan.total):
      batch = self._next_batch(number, start)
      step = plan[number]
      if step.begins_stage:
        self._put(restart_optimizer(self.state, step.recipe))
      if step.mode.quantize:
        self._calibrate()
      batch = augment_batch(sharding.shard_batch(batch, self._mesh))
      batch = self._with_targets(batch)
      metrics = self._advance(number, step, batch)
      done = number + 1
      # A later signal belongs to the next step, unless this one is saved.
      stops = stop.agreed(plan.is_logged(done))
      due = plan.due(done, stops)
      if any(due):
        check_finite(*self._pending)
      if due.log:
        lasts = due.evaluate or stops or done == plan.total
        self._log_step(done, step, metrics, lasts)
      if due.evaluate or due.save or done == plan.total:
        self._check_next(done, step, batch)
      if due.evaluate:
        self._validate_and_save(done, step.mode)
      elif due.save and done < plan.total:
        self._save()
      saved = due.evaluate or due.save
      if done < plan.total and (stops or (saved and stop.agreed(False))):
        return
    # A calibration alone has no steps.
    self._calibrate()
    self._validate_and_save(plan.total, plan.last_mode)

  def _put(self, state: TrainState):
    self.state = sharding.place(state, self._mesh)

  def _next_batch(self, number: int, start: int) -> dict[str, Any]:
    try:
      return next(self._iterator)
    except ValueError:
      # Several processes cannot save: the others are in the next step already.
      if number > start and jax.process_count() == 1:
        check_finite(*self._pending)
        self._check_next(number, *self._before)
        self._save_before_error()
      raise

  def _advance(self, number: int, step: Step, batch) -> dict[str, jax.Array]:
    recipe, mode = step.recipe, step.mode
    is_new = (recipe, mode) != self._compiled
    text = 'compiling the training step'
    with doing(text) if is_new else contextlib.nullcontext():
      self.state, metrics = self._step(
        self.state, batch, recipe=recipe, mode=mode
      )
      if is_new:
        jax.block_until_ready(metrics)
        self._pace.restart(number + 1)
        self._bar.restart()
        self._compiled = recipe, mode
    # The device works on this step while the host checks the one before.
    loss = ''
    if self._pending is not None:
      check_finite(*self._pending)
      loss = f'loss {float(self._pending[1]["loss"]):.3f}'
    self._bar.advance(loss)
    self._pending, self._before = (number, metrics), (step, batch)
    return metrics

  def _calibrate(self):
    if self._calibrated:
      return
    self._calibrated = True
    with self._paused():
      self._put(
        with_calibration(
          self.state, self._plan.model, self._data.train, self._config
        )
      )

  @contextlib.contextmanager
  def _paused(self) -> Iterator[None]:
    """Leaves the time spent inside out of the rates."""
    with self._pace.paused():
      yield
    self._bar.restart()

  def _log_step(
    self, done: int, step: Step, metrics: dict[str, jax.Array], lasts: bool
  ):
    """Logs a step, and prints it where no bar shows it or where it `lasts`."""
    values = {f'train/{name}': float(value) for name, value in metrics.items()}
    values['train/learning_rate'] = self._plan.learning_rate(done - 1)
    # A step that was compiled is not measured.
    if rate := self._pace.rate(done):
      values['train/images_per_second'] = rate
    self._log.write(done, values)
    if lasts or not self._bar.is_shown:
      print_step(done, self._plan.total, values, self._pace, step.mode)

  def _check_next(self, done: int, step: Step, batch):
    # Weights may be finite and yet destroyed: the next loss shows it.
    if step.recipe.objective.mesh is None:
      copy = jax.tree.map(jnp.copy, self.state)
      _, after = self._step(copy, batch, recipe=step.recipe, mode=step.mode)
    else:
      # There may be no room for two classifiers.
      after = _next_metrics(
        self.state, batch, recipe=step.recipe, mode=step.mode
      )
    check_finite(done, after)

  def _validate_and_save(self, done: int, mode):
    try:
      with doing('validating'), self._paused():
        scores = validate(
          self.state,
          self._plan,
          self._with_targets,
          self._data,
          self._config,
          mode,
        )
    except ValueError:
      self._save_before_error()
      raise
    self._log.write(done, {**scores, **range_metrics(self.state)})
    print_validation(scores)
    self._save(best_score(scores, self._config, mode))

  def _save(self, score: float | None = None):
    state, checkpointer = self.state, self._checkpointer
    classes = len(self._data.train.class_names)
    if class_parts.are_apart(state):
      class_parts.save(
        checkpointer.folder, int(state.step), state, checkpointer.steps
      )
      state = class_parts.without(state)
    position = self._iterator.get_state()
    checkpointer.save(state, position, self._config, score, classes)

  def _save_before_error(self):
    self._save()
    print(f'saved step {int(self.state.step)}, before the error in the data')


@functools.partial(jax.jit, static_argnames=('recipe', 'mode'))
def _next_metrics(state, batch, *, recipe, mode):
  return train_step(state, batch, recipe=recipe, mode=mode)[1]


def check_finite(step: int, metrics: dict[str, jax.Array]):
  """Stops a training that has diverged.

  Raises:
    FloatingPointError: naming the step (from 0) and which metric it was.
  """
  for name in ('loss', 'grad_norm'):
    value = float(metrics[name])
    if not np.isfinite(value):
      raise FloatingPointError(
        f'step {step}: {name} is {value}; the last checkpoint is from before. '
        'Lower optimizer.learning_rate or loss.scale, lengthen '
        'optimizer.warmup_steps, or set optimizer.clip_global_norm'
      )


def with_calibration(
  state: TrainState, model, source, config: ml_collections.ConfigDict
) -> TrainState:
  """A state ready for quantized modes, calibrated on training images.

  The optimiser's averages stay, even where weights change (`quant.equalize`,
  `quant.correct_biases`). With `quant.calibration_steps` 0 the network stays
  float.
  """
  if not config.quant.calibration_steps:
    return state
  iterator = pipeline.make_train_iterator(
    source,
    batch_size=config.batch_size,
    seed=config.seed,
    augment=None,
    skip_damaged=config.data.skip_damaged,
    num_threads=1,
  )
  with contextlib.closing(iterator):
    batches = [
      next(iterator)['image'] for _ in range(config.quant.calibration_steps)
    ]
  network = Network(model, state.variables, config, int(state.step))
  variables = calibrate(network, batches)
  return state.replace(
    params={**state.params, 'backbone': variables['params']},
    batch_stats=variables['batch_stats'],
    quant_stats=variables['quant_stats'],
  )
