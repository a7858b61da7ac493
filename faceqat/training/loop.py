"""Training: data, model, state, restore, step, loop; in that order."""

import contextlib
import pathlib
import signal
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from faceqat.calibration.calibrate import calibrate, has_ranges
from faceqat.data import pipeline
from faceqat.data.augment import Augment
from faceqat.losses.objective import Objective, make_objective
from faceqat.losses.regularization import make_regularization
from faceqat.models.build import make_model
from faceqat.models.network import Network
from faceqat.training import distributed, resume, sharding
from faceqat.training.checkpoint import Checkpointer
from faceqat.training.checks import check_batches, check_steps, with_start_step
from faceqat.training.history import MetricLog
from faceqat.training.optimizer import make_optimizer
from faceqat.training.parameters import write_parameters
from faceqat.training.progress import Progress
from faceqat.training.stages import Stage, make_stages, mode_at, stage_at
from faceqat.training.start import (
  make_teacher,
  start_from,
  with_class_means,
  with_fingerprint,
)
from faceqat.training.stop import StopRequest
from faceqat.training.train_state import (
  Recipe,
  TrainState,
  create_state,
  restart_optimizer,
  train_step,
)
from faceqat.training.validation import (
  best_score,
  layer_paths,
  range_metrics,
  validate,
)
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
    devices: to train on; all by default. Results do not depend on their
      number but for the rounding of sums.

  Returns:
    The signal that stopped it early, with its state saved; None at the end.

  Raises:
    ValueError: the config or the data is wrong; it says what and where.
    FloatingPointError: the loss or the gradient is no longer finite.
  """
  check_steps(config)

  # Data. Every process reads its own part of each batch.
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

  # Model, objective, and the recipe of each stage.
  model = make_model(config)
  objective = make_objective(config.loss)
  check_batches(config, objective)
  stages = make_stages(config)
  recipes = {
    stage: make_recipe(config, model, objective, stage) for stage in stages
  }

  # State, replicated over the mesh.
  mesh = sharding.make_mesh(config.batch_size, devices, config.micro_batches)
  state = create_state(
    recipes[stages[0]][0],
    num_classes=len(data.train.class_names),
    image_size=config.data.image_size,
  )
  model.quant.check_patterns(layer_paths(state))
  if distributed.is_first():
    print('\n'.join(data.summary), flush=True)
  state = sharding.replicate(state, mesh)

  # Step.
  step_fn = jax.jit(
    train_step, static_argnames=('recipe', 'mode'), donate_argnames='state'
  )

  # Restore: 1. this run's own latest checkpoint, 2. weights of another project
  # or run, 3. from scratch. A teacher is needed to the end.
  pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
  with (
    locked(workdir) if distributed.is_first() else contextlib.nullcontext(),
    StopRequest() as stop,
    contextlib.closing(iterator),
    contextlib.closing(Checkpointer(workdir)) as checkpointer,
    contextlib.closing(MetricLog(pathlib.Path(workdir))) as log,
  ):
    start = distributed.value_of_first(checkpointer.latest_step)
    if start is not None:
      for note in resume.check(checkpointer, start, config, iterator):
        print(note)
    config = with_fingerprint(config, checkpointer)
    if config.pretrained and (start is None or objective.needs_teacher):
      state, config = start_from(state, model, config)
      state = sharding.replicate(state, mesh)
    with_targets = make_teacher(model, state.variables, objective)
    if start is not None:
      # At the end of a stage, its optimiser is still the one of the checkpoint.
      recipe, _ = recipes[stage_at(max(start - 1, 0), stages)]
      state = sharding.replicate(restart_optimizer(state, recipe), mesh)
      state, position = resume.restore_first(
        checkpointer, start, state, mesh, data.train.class_names
      )
      iterator.set_state(position)
      print(f'continues from step {start} of {config.total_steps}')
    elif config.pretrained:
      print(f'starts from {config.pretrained}')
      if not objective.needs_teacher:
        state = with_class_means(
          state, model, data.train, config.eval.batch_size, data.skipped
        )
        state = sharding.replicate(state, mesh)
    if start is None and distributed.is_first():
      print(write_parameters(state.params, workdir))

    def save(score=None):
      checkpointer.save(state, iterator.get_state(), config, score)

    def save_before_error():
      save()
      print(f'saved step {int(state.step)}, before the error in the data')

    def check_next(done):
      # Finite weights may be destroyed already: the next loss tells.
      copy = jax.tree.map(jnp.copy, state)
      _, after = step_fn(copy, batch, recipe=recipe, mode=mode)
      check_finite(done, after)

    def validate_and_save(done, mode):
      try:
        with progress.paused():
          scores = validate(
            state, model, objective, with_targets, data, config, mode
          )
      except ValueError:
        save_before_error()
        raise
      log.write(done, {**scores, **range_metrics(state)})
      progress.show_validation(scores)
      save(best_score(scores, config, mode))

    # Loop.
    finished = start == config.total_steps
    start = start or 0
    progress = Progress(start, config.total_steps, config.batch_size)
    calibrated = has_ranges(state.quant_stats)
    pending = compiled = None
    for step in range(start, config.total_steps):
      try:
        taken = next(iterator)
      except ValueError:
        # Of several processes, the others are in the next step already.
        if step > start and jax.process_count() == 1:
          check_finite(*pending)
          check_next(step)
          save_before_error()
        raise
      stage = stage_at(step, stages)
      recipe, schedule = recipes[stage]
      mode = mode_at(step, config.quant, stage.train_backbone)
      if step == stage.start and step:
        state = sharding.replicate(restart_optimizer(state, recipe), mesh)
      if mode.quantize and not calibrated:
        with progress.paused():
          state = with_calibration(state, model, data.train, config)
          state = sharding.replicate(state, mesh)
        calibrated = True
      batch = with_targets(sharding.shard_batch(taken, mesh))
      state, metrics = step_fn(state, batch, recipe=recipe, mode=mode)
      if (recipe, mode) != compiled:
        jax.block_until_ready(metrics)
        progress.restart(step + 1)
        compiled = recipe, mode
      # The device works on this step while the host looks at the last one's.
      if pending is not None:
        check_finite(*pending)
      pending = (step, metrics)
      done = step + 1
      last = done == config.total_steps
      # Read once: a signal that comes later belongs to the next step.
      stops = stop.agreed(done % config.log_steps == 0 or last)
      logs = done % config.log_steps == 0 or last or stops
      evaluates = done % config.eval_steps == 0 and not stops and not last
      saves = done % config.checkpoint_steps == 0 or stops
      if logs or saves or evaluates:
        check_finite(*pending)
      if logs:
        values = {f'train/{k}': float(v) for k, v in metrics.items()}
        rate = float(schedule(step - stage.start))
        values['train/learning_rate'] = rate
        values['train/images_per_second'] = progress.rate(done)
        log.write(done, values)
        progress.show(done, values, mode)
      if saves or evaluates or last:
        check_next(done)
      if last:
        break
      if evaluates:
        validate_and_save(done, mode)
      elif saves:
        save()
      if stops:
        break

    # The end; a calibration alone comes here without a step.
    if int(state.step) == config.total_steps and not finished:
      if not calibrated:
        state = with_calibration(state, model, data.train, config)
        state = sharding.replicate(state, mesh)
      last_step = max(config.total_steps - 1, 0)
      validate_and_save(config.total_steps, mode_at(last_step, config.quant))
  if stop.signal:
    print(
      f'{stop.signal.name}: saved step {int(state.step)} in {workdir}; the '
      'same command continues from there'
    )
  if iterator.num_skipped:
    print(f'damaged images were skipped {iterator.num_skipped} times')
  return stop.signal


def make_recipe(
  config: ml_collections.ConfigDict, model, objective: Objective, stage: Stage
) -> tuple[Recipe, Callable[[int], jax.Array]]:
  """What the steps of a stage have in common, and its learning rate.

  Returns:
    The recipe, and the learning rate as a function of the stage's own steps.
  """
  settings = ml_collections.ConfigDict(config.optimizer)
  settings.learning_rate = stage.learning_rate
  optimizer, schedule = make_optimizer(settings, stage.steps)
  recipe = Recipe(
    model=model,
    optimizer=optimizer,
    objective=objective,
    regularization=make_regularization(config.regularization),
    train_backbone=stage.train_backbone,
    micro_batches=config.micro_batches,
    seed=config.seed,
  )
  return recipe, schedule


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
  """A state ready for quantized readings, calibrated on training images.

  Where that changes weights (`quant.equalize`, `quant.correct_biases`) in the
  middle of a training, the optimiser's averages are still those of before. With
  no `quant.calibration_steps` it stays the float network that it is.
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
