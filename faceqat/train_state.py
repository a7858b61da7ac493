"""What training changes, the step that changes it, and what predicts from it.

The functions are pure and live at module level, so that a test can call them.
`train.py` jits the training step, where it knows the mesh and donates the
state; the others are jitted here.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from faceqat.losses import margin
from faceqat.quant.spec import CALIBRATE, FLOAT, Mode


class Objective(NamedTuple):
  """The classification loss: its name, the scale s and the margin m."""

  name: str
  scale: float
  margin: float


def make_objective(config: ml_collections.ConfigDict) -> Objective:
  """Reads the block `loss`.

  Raises:
    ValueError: an unknown name or a margin out of range.
  """
  objective = Objective(**config)
  # The loss checks its own settings: tried on one example, ahead of the model.
  jax.eval_shape(
    functools.partial(
      margin.loss,
      objective.name,
      scale=objective.scale,
      margin=objective.margin,
    ),
    jnp.zeros((1, 1)),
    jnp.zeros((1, 1)),
    jnp.zeros(1, jnp.int32),
  )
  return objective


class TrainState(flax.struct.PyTreeNode):
  """Everything that a checkpoint holds.

  Attributes:
    step: [] int32, optimiser steps done.
    params: `backbone` (the model's) and `classifier` (`weights` [D, K]).
    batch_stats: moving statistics of the batch norms.
    quant_stats: ranges of the activations.
    opt_state: of the optimiser.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  quant_stats: Any
  opt_state: Any

  @property
  def variables(self) -> dict[str, Any]:
    """What the model is called with."""
    return {
      'params': self.params['backbone'],
      'batch_stats': self.batch_stats,
      'quant_stats': self.quant_stats,
    }


def create_state(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  *,
  num_classes: int,
  image_size: int,
  seed: int,
) -> TrainState:
  """Initialises a model, a classifier over `num_classes`, and the optimiser."""

  def create(key):
    backbone_key, classifier_key = jax.random.split(key)
    images = jnp.zeros((1, image_size, image_size, 3), jnp.uint8)
    variables = model.init(backbone_key, images, FLOAT)
    weights = jax.random.normal(
      classifier_key, (model.embedding_size, num_classes)
    )
    params = {
      'backbone': variables['params'],
      'classifier': {'weights': 0.01 * weights},
    }
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      batch_stats=variables['batch_stats'],
      quant_stats=variables['quant_stats'],
      opt_state=optimizer.init(params),
    )

  return jax.jit(create)(jax.random.key(seed))


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  objective: Objective,
  mode: Mode,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One step of the optimiser on one batch.

  Args:
    state: before the step.
    batch: `image` [B, H, W, 3] uint8, `label` [B] int32.
    model, optimizer, objective, mode: static.

  Returns:
    The state after it, and `loss` (nats), `accuracy` (of the margin-free
    logits) and `grad_norm` (before clipping), each a float32 scalar.
  """

  def compute_loss(params):
    embeddings, updated = model.apply(
      {**state.variables, 'params': params['backbone']},
      batch['image'],
      mode,
      mutable=['batch_stats', 'quant_stats'],
    )
    losses, hits = margin.loss(
      objective.name,
      embeddings,
      params['classifier']['weights'],
      batch['label'],
      scale=objective.scale,
      margin=objective.margin,
    )
    return jnp.mean(losses), (jnp.mean(hits), updated)

  (loss, (accuracy, updated)), grads = jax.value_and_grad(
    compute_loss, has_aux=True
  )(state.params)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  metrics = {
    'loss': loss,
    'accuracy': accuracy,
    'grad_norm': optax.tree.norm(grads),
  }
  return state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    opt_state=opt_state,
    **updated,
  ), metrics


@functools.partial(jax.jit, static_argnames=('model', 'objective', 'mode'))
def validation_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  model: nn.Module,
  objective: Objective,
  mode: Mode,
) -> dict[str, jax.Array]:
  """Sums over a padded batch of people that the classifier knows.

  Args:
    state: the training state.
    batch: `image`, `label`, and `_mask` [B], 0 where a row is padding.
    model, objective, mode: static.

  Returns:
    `loss` (without margin), `accuracy` and `count`: sums over the batch.
  """
  embeddings = model.apply(state.variables, batch['image'], mode)
  losses, hits = margin.loss(
    'softmax',
    embeddings,
    state.params['classifier']['weights'],
    batch['label'],
    scale=objective.scale,
    margin=0.0,
  )
  mask = batch['_mask'].astype(jnp.float32)
  return {
    'loss': jnp.sum(losses * mask),
    'accuracy': jnp.sum(hits * mask),
    'count': jnp.sum(mask),
  }


@functools.partial(jax.jit, static_argnames='model')
def calibrate_step(
  state: TrainState, images: jax.Array, *, model: nn.Module
) -> TrainState:
  """Shows a batch `[B, H, W, 3] uint8` to the observers; nothing else moves."""
  _, updated = model.apply(
    state.variables, images, CALIBRATE, mutable=['quant_stats']
  )
  return state.replace(quant_stats=updated['quant_stats'])


@functools.partial(jax.jit, static_argnames=('model', 'mode'))
def embed(
  variables: dict[str, Any],
  images: jax.Array,
  *,
  model: nn.Module,
  mode: Mode,
) -> jax.Array:
  """Embeds `[B, H, W, 3] uint8` as `[B, D] float32`, not normalised."""
  return model.apply(variables, images, mode)


def make_predict(
  model: nn.Module, variables: dict[str, Any], mode: Mode
) -> Callable[[np.ndarray], np.ndarray]:
  """Makes the function from images to embeddings that evaluators take."""
  return functools.partial(embed, variables, model=model, mode=mode)


def has_ranges(state: TrainState) -> bool:
  """Whether every activation range has been observed at least once."""
  counts = [
    leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.quant_stats)
    if jax.tree_util.keystr(path).endswith('.count')
  ]
  return bool(counts) and all(int(count) > 0 for count in counts)
