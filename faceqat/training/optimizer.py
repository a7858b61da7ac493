"""The optimiser and its learning-rate schedule, from the config."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from faceqat.losses.regularization import decay_mask

OPTIMIZERS = ('adamw', 'sgd')
SCHEDULES = ('constant', 'cosine', 'step')

# Names of the learned steps of an output and of a kernel.
_STEPS = ('step', 'kernel_step')

# What counts as the size of a kernel of zeros, which could not move otherwise:
# epsilon 2 of Adafactor.
_LEAST_SIZE = 1e-3


def relative_updates(
  inner: optax.GradientTransformation, kernel_rate: float
) -> optax.GradientTransformation:
  """Makes updates relative to what they move: learned steps, and kernels.

  Adam moves every parameter by about its learning rate, but steps span orders
  of magnitude; here each moves by about that share of itself: an update u
  becomes (e^u - 1) |step|. That is u for small u, and a positive step stays
  positive.

  With a `kernel_rate`, an update of a kernel, weight decay and all, is
  multiplied by it and by the kernel's root mean square, as Adafactor's are
  (Shazeer and Stern 2018, section 8): a layer of small weights is moved as
  gently as one of large ones.

  The state is that of `inner`; `optax.partition` would nest it, and checkpoints
  of earlier runs would no longer fit.

  Args:
    inner: AdamW.
    kernel_rate: 0: kernels move as `inner` says.
  """

  def update(gradients, state, params):
    updates, state = inner.update(gradients, state, params)

    def scale(path, update, param):
      name = jax.tree_util.keystr(path[-1:], simple=True)
      if name in _STEPS:
        return jnp.expm1(update) * jnp.abs(param)
      if name == 'kernel' and kernel_rate:
        size = jnp.sqrt(jnp.mean(jnp.square(param)))
        return update * (kernel_rate * jnp.maximum(size, _LEAST_SIZE))
      return update

    updates = jax.tree_util.tree_map_with_path(scale, updates, params)
    return updates, state

  return optax.GradientTransformation(inner.init, update)


def _check_settings(config: ml_collections.ConfigDict, total_steps: int):
  for field, choices in (('name', OPTIMIZERS), ('schedule', SCHEDULES)):
    if config[field] not in choices:
      raise ValueError(
        f'optimizer.{field} is {config[field]!r}; choose one of '
        f'{", ".join(choices)}'
      )
  if not 0 <= config.learning_rate < math.inf:
    raise ValueError(
      f'the learning rate is {config.learning_rate}; give 0 or more '
      '(optimizer.learning_rate, or that of a stage)'
    )
  if not 0 <= config.kernel_rate < math.inf:
    raise ValueError(
      f'optimizer.kernel_rate is {config.kernel_rate}; give 0 or more'
    )
  if config.kernel_rate and config.name != 'adamw':
    raise ValueError(
      f'optimizer.kernel_rate is {config.kernel_rate}, which is of adamw, but '
      f'optimizer.name is {config.name!r}; give 0, or take adamw'
    )
  if total_steps < 0:
    raise ValueError(
      f'total_steps is {total_steps}; give 0, to calibrate alone, or more'
    )
  if total_steps and not 0 <= config.warmup_steps <= total_steps:
    raise ValueError(
      f'optimizer.warmup_steps is {config.warmup_steps}, but the training has '
      f'{total_steps} steps; give 0 to {total_steps}'
    )
  boundaries = list(config.step_boundaries)
  if config.schedule == 'step' and (
    boundaries != sorted(boundaries)
    or not all(0 < boundary < 1 for boundary in boundaries)
  ):
    raise ValueError(
      f'optimizer.step_boundaries is {boundaries}; give rising fractions of '
      'the whole training, between 0 and 1'
    )


def make_schedule(
  config: ml_collections.ConfigDict, total_steps: int
) -> Callable[[Any], jax.Array]:
  """Builds the learning rate as a function of the step.

  The warm-up is linear and gives step s, counted from 0, the fraction
  (s + 1) / warmup_steps: no step is spent at a rate of zero. `cosine` then
  falls to 0 at `total_steps` (Loshchilov and Hutter 2017, equation 5, one
  period); `step` multiplies by `step_factor` at each fraction of the total.

  `optax.schedules` gives other last bits, and with them another network: the
  `linear` warm-up at half of its steps, `cosine_decay` at a fifth of them.

  Args:
    config: as in `make_optimizer`.
    total_steps: of the optimiser; 0, to calibrate alone: the rate is constant.

  Returns:
    A function from a step (int or int32 array) to a float32 learning rate.

  Raises:
    ValueError: as in `make_optimizer`.
  """
  _check_settings(config, total_steps)
  # Read here: a config may change after the step has been traced.
  peak, warmup = config.learning_rate, config.warmup_steps
  if total_steps == 0:
    return optax.constant_schedule(peak)
  name, factor = config.schedule, config.step_factor
  # 0.29 * 100 is 28.999999999999996 in floating point, and means step 29.
  boundaries = [
    int(fraction * total_steps + 1e-9) for fraction in config.step_boundaries
  ]

  def schedule(step):
    step = jnp.asarray(step, jnp.float32)
    rate = peak * jnp.minimum(1.0, (step + 1) / max(warmup, 1))
    if name == 'cosine':
      progress = (step - warmup) / max(total_steps - warmup, 1)
      rate *= 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1)))
    elif name == 'step':
      for boundary in boundaries:
        rate *= jnp.where(step >= boundary, factor, 1.0)
    return rate

  return schedule


def _cached(make: Callable) -> Callable:
  """Equal configs give the same object, for which steps are compiled once."""
  cached = functools.cache(make)

  @functools.wraps(make)
  def call(config, total_steps):
    return cached(ml_collections.FrozenConfigDict(config), total_steps)

  return call


@_cached
def make_optimizer(
  config: ml_collections.ConfigDict, total_steps: int
) -> tuple[optax.GradientTransformation, Callable[[Any], jax.Array]]:
  """Builds the optimiser and its schedule.

  Gradients are clipped first, as a whole, by the norm of the loss's gradient
  alone. SGD then adds `weight_decay * parameter` to the gradient before its
  momentum (the coupled form that the face literature uses); AdamW subtracts it
  after the adaptive step (Loshchilov and Hutter 2019).

  Learned quantization steps (`step`, `kernel_step`) move by shares of
  themselves with AdamW, and with `kernel_rate` kernels too. With SGD steps move
  as all else does: their gradient is scaled for it (Esser et al. 2020, section
  2.2).

  Args:
    config: the block `optimizer`; `momentum` is beta_1 of AdamW, and
      `clip_global_norm` 0 is off.
    total_steps: of the optimiser, or 0.

  Returns:
    The gradient transformation, and the schedule, for the logs.

  Raises:
    ValueError: naming the field that is wrong, and what it may be.
  """
  schedule = make_schedule(config, total_steps)
  # Has a place in the state also where it is off, so that a run may go on with
  # clipping.
  clip = config.clip_global_norm
  steps = [optax.clip_by_global_norm(clip) if clip else optax.identity()]
  if config.name == 'sgd':
    steps.append(optax.add_decayed_weights(config.weight_decay, decay_mask))
    steps.append(optax.sgd(schedule, momentum=config.momentum, nesterov=False))
  else:
    adamw = optax.adamw(
      schedule,
      b1=config.momentum,
      weight_decay=config.weight_decay,
      mask=decay_mask,
    )
    steps.append(relative_updates(adamw, config.kernel_rate))
  return optax.chain(*steps), schedule


def make_log_decay(
  config: ml_collections.ConfigDict,
  schedule: Callable[[Any], jax.Array],
  start: int,
) -> Callable[[jax.Array], jax.Array]:
  """What weight decay does in a step to a weight without gradient.

  AdamW leaves 1 - rate * decay of it. With SGD, decay passes through the
  momentum m, and of each step the sum of all that follows from it is counted:
  1 - rate * decay / (1 - m).

  Args:
    config: the block `optimizer`.
    schedule: as `make_schedule` gives it, by steps of the stage.
    start: the stage's first step.

  Returns:
    A function from a step of the training to the logarithm of that, float32.
  """
  decay = config.weight_decay
  if config.name == 'sgd':
    decay /= 1 - config.momentum
  return lambda step: jnp.log1p(-decay * schedule(step - start))
