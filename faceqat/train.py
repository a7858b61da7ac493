"""Training: data, model, state, restore, step, loop; in that order."""

import contextlib
import functools
import pathlib
import signal
from collections.abc import Callable

import jax
import ml_collections
import numpy as np

from faceqat import sharding
from faceqat.calibration.calibrate import calibrate, has_ranges
from faceqat.checkpoint import Checkpointer, Network
from faceqat.data import pipeline, sources
from faceqat.data.augment import Augment
from faceqat.evaluators import verification
from faceqat.losses.objective import Objective, make_objective
from faceqat.models.build import make_model
from faceqat.optimizer import make_optimizer
from faceqat.progress import Progress
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode
from faceqat.report.history import MetricLog
from faceqat.start import make_teacher, start_from, with_class_means
from faceqat.train_state import (
  TrainState,
  create_state,
  make_predict,
  train_step,
  validation_step,
)


class StopRequest:
  """Notes Ctrl-C and SIGTERM, so that the loop can save before it leaves."""

  def __init__(self):
    self.signal: signal.Signals | None = None

  def __enter__(self) -> 'StopRequest':
    self._previous = {
      number: signal.signal(number, self._note)
      for number in (signal.SIGINT, signal.SIGTERM)
    }
    return self

  def _note(self, number, frame):
    del frame
    self.signal = signal.Signals(number)

  def __exit__(self, *_):
    for number, handler in self._previous.items():
      signal.signal(number, handler)


def mode_at(step: int, quant: ml_collections.ConfigDict) -> Mode:
  """The reading in which step `step` (from 0) trains."""
  quantize = quant.enabled and step >= quant.start_step
  return Mode(
    train=True,
    quantize=quantize,
    observe=quantize,
    freeze_bn=0 <= quant.freeze_bn_step <= step,
  )


def train(
  config: ml_collections.ConfigDict,
  workdir: str,
  devices: list[jax.Device] | None = None,
) -> signal.Signals | None:
  """Trains, or continues to train, until `config.total_steps` are done.

  Args:
    config: as in `configs/`; every field is used.
    workdir: takes `checkpoints/`, TensorBoard's events and `metrics.jsonl`.
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
  data = sources.make_training_data(config.data)
  iterator = pipeline.make_train_iterator(
    data.train,
    batch_size=config.batch_size,
    seed=config.seed,
    augment=Augment(**config.data.augment),
    skip_damaged=config.data.skip_damaged,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    num_threads=config.data.num_threads,
  )

  # Model and optimiser.
  model = make_model(config)
  optimizer, schedule = make_optimizer(config.optimizer, config.total_steps)
  objective = make_objective(config.loss)

  # State, replicated over the mesh.
  mesh = sharding.make_mesh(config.batch_size, devices)
  state = create_state(
    model,
    optimizer,
    objective,
    num_classes=len(data.train.class_names),
    image_size=config.data.image_size,
    seed=config.seed,
  )
  model.quant.check_patterns(layer_paths(state))
  state = sharding.replicate(state, mesh)

  # Step.
  step_fn = jax.jit(
    functools.partial(
      train_step, model=model, optimizer=optimizer, objective=objective
    ),
    static_argnames='mode',
    donate_argnames='state',
  )

  # Restore: 1. this run's own latest checkpoint, 2. weights of another project
  # or run, 3. from scratch. A teacher is needed to the end.
  pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
  with (
    StopRequest() as stop,
    contextlib.closing(iterator),
    contextlib.closing(Checkpointer(workdir)) as checkpointer,
    contextlib.closing(MetricLog(pathlib.Path(workdir))) as log,
  ):
    start = checkpointer.latest_step
    if config.pretrained and (start is None or objective.needs_teacher):
      state = start_from(state, model, config.pretrained)
      state = sharding.replicate(state, mesh)
    with_targets = make_teacher(model, state.variables, objective)
    if start is not None:
      state, position = checkpointer.restore(start, state)
      iterator.set_state(position)
      print(f'continues from step {start} of {config.total_steps}')
    elif config.pretrained:
      print(f'starts from {config.pretrained}')
      if not objective.needs_teacher:
        state = with_class_means(
          state, model, data.train, config.eval.batch_size
        )
        state = sharding.replicate(state, mesh)

    def validate_and_save(done, mode):
      with progress.paused():
        scores = validate(
          state, model, objective, with_targets, data, config, mode
        )
      log.write(done, {**scores, **range_metrics(state)})
      progress.show_validation(scores)
      checkpointer.save(
        state,
        iterator.get_state(),
        config,
        score=best_score(scores, config, mode),
      )

    # Loop.
    finished = start == config.total_steps
    start = start or 0
    progress = Progress(start, config.total_steps, config.batch_size)
    calibrated = has_ranges(state.quant_stats)
    pending = compiled = None
    for step in range(start, config.total_steps):
      mode = mode_at(step, config.quant)
      if mode.quantize and not calibrated:
        with progress.paused():
          state = with_calibration(state, model, data.train, config)
        calibrated = True
      batch = with_targets(sharding.shard_batch(next(iterator), mesh))
      state, metrics = step_fn(state, batch, mode=mode)
      if mode != compiled:
        jax.block_until_ready(metrics)
        progress.restart(step + 1)
        compiled = mode
      # The device works on this step while the host looks at the last one's.
      if pending is not None:
        check_finite(*pending)
      pending = (step, metrics)
      done = step + 1
      last = done == config.total_steps
      # Read once: a signal that comes later belongs to the next step.
      stops = stop.signal is not None
      logs = done % config.log_steps == 0 or last or stops
      evaluates = done % config.eval_steps == 0 and not stops and not last
      saves = done % config.checkpoint_steps == 0 or stops
      if logs or saves or evaluates:
        check_finite(*pending)
      if logs:
        values = {f'train/{k}': float(v) for k, v in metrics.items()}
        values['train/learning_rate'] = float(schedule(step))
        values['train/images_per_second'] = progress.rate(done)
        log.write(done, values)
        progress.show(done, values, mode)
      if last:
        break
      if evaluates:
        validate_and_save(done, mode)
      elif saves:
        checkpointer.save(state, iterator.get_state(), config)
      if stops:
        break

    # The end; a calibration alone comes here without a step.
    if int(state.step) == config.total_steps and not finished:
      if not calibrated:
        state = with_calibration(state, model, data.train, config)
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


def check_steps(config: ml_collections.ConfigDict):
  """Refuses intervals and batches that no loop can be made of.

  Raises:
    ValueError: naming the field.
  """
  for name, value in (
    ('log_steps', config.log_steps),
    ('eval_steps', config.eval_steps),
    ('checkpoint_steps', config.checkpoint_steps),
    ('eval.batch_size', config.eval.batch_size),
  ):
    if value < 1:
      raise ValueError(f'{name} is {value}; it is 1 or more')
  if config.quant.enabled and config.quant.calibration_steps < 1:
    raise ValueError(
      f'quant.calibration_steps is {config.quant.calibration_steps}; it is 1 '
      'or more where quant.enabled is on'
    )
  if config.loss.name == 'distillation' and not config.pretrained:
    raise ValueError(
      "loss.name is 'distillation', but pretrained is empty; give the teacher: "
      'a weight file, or the folder of a run'
    )


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


def validate(
  state: TrainState,
  model,
  objective: Objective,
  with_targets: Callable[[dict], dict],
  data: sources.TrainingData,
  config: ml_collections.ConfigDict,
  mode: Mode,
) -> dict[str, float]:
  """The objective on known people, verification on kept-out ones."""
  reading = FAKE_QUANT if mode.quantize else FLOAT
  scores = {}
  sums = [
    validation_step(
      state, with_targets(batch), model=model, objective=objective, mode=reading
    )
    for batch in pipeline.batches(data.known, config.eval.batch_size)
  ]
  if sums:
    total = {name: sum(float(s[name]) for s in sums) for name in sums[0]}
    count = total.pop('count')
    for name, value in total.items():
      scores[f'validation/{name}'] = value / count
  if data.validation is not None:
    predict = make_predict(model, state.variables, reading)
    for name, value in verification.evaluate(
      predict, data.validation, batch_size=config.eval.batch_size
    ):
      scores[f'validation/verification_{name}'] = value
  return scores


def best_score(
  scores: dict[str, float] | None,
  config: ml_collections.ConfigDict,
  mode: Mode,
) -> float | None:
  """What the best checkpoint is chosen by; None where it is no candidate.

  A float network may verify better than its quantized successor, but could
  not be lowered.
  """
  if scores is None or (config.quant.enabled and not mode.quantize):
    return None
  return scores.get('validation/verification_accuracy')


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


def range_metrics(state: TrainState) -> dict[str, float]:
  """The activation ranges, for TensorBoard."""
  return {
    f'ranges/{name}': float(leaf)
    for name, leaf in _observed(state).items()
    if name.endswith(('/minimum', '/maximum'))
  }


def layer_paths(state: TrainState) -> list[str]:
  """The layers that have a quantizer."""
  return [
    name.removesuffix('/count')
    for name in _observed(state)
    if name.endswith('/count')
  ]


def _observed(state: TrainState) -> dict[str, jax.Array]:
  """`<layer>/minimum`, `<layer>/maximum`, `<layer>/count`, for one."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/').replace(
      '/quantizer/range', ''
    ): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.quant_stats)
  }
