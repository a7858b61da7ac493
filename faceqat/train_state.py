"""What training changes, the step that changes it, and what predicts from it.

The functions are pure and live at module level, so that a test can call them.
`train.py` jits the training step, where it knows the mesh and donates the
state; the others are jitted here.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from faceqat.losses.objective import Objective
from faceqat.quant.spec import FLOAT, Mode


class TrainState(flax.struct.PyTreeNode):
  """Everything that a checkpoint holds.

  Attributes:
    step: [] int32, optimiser steps done.
    params: `backbone` (the model's) and `classifier` (the objective's own; of a
      margin loss `weights` [D, K]).
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
  objective: Objective,
  *,
  num_classes: int,
  image_size: int,
  seed: int,
) -> TrainState:
  """Initialises a model, what its objective learns, and the optimiser."""

  def create(key):
    backbone_key, classifier_key = jax.random.split(key)
    images = jnp.zeros((1, image_size, image_size, 3), jnp.uint8)
    variables = model.init(backbone_key, images, FLOAT)
    params = {
      'backbone': variables['params'],
      'classifier': objective.initial(
        classifier_key, model.embedding_size, num_classes
      ),
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
    batch: `image` [B, H, W, 3] uint8, and what the objective needs: `label`
      [B] int32, or `target` [B, D] of a teacher.
    model, optimizer, objective, mode: static.

  Returns:
    The state after it, and `loss`, the objective's score (`accuracy` or
    `cosine`) and `grad_norm` (before clipping), each a float32 scalar.
  """

  def compute_loss(params):
    embeddings, updated = model.apply(
      {**state.variables, 'params': params['backbone']},
      batch['image'],
      mode,
      mutable=['batch_stats', 'quant_stats'],
    )
    losses, scores = objective(params['classifier'], embeddings, batch)
    return jnp.mean(losses), (jax.tree.map(jnp.mean, scores), updated)

  (loss, (scores, updated)), grads = jax.value_and_grad(
    compute_loss, has_aux=True
  )(state.params)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  metrics = {
    'loss': loss,
    **scores,
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
  """Sums over a padded batch of images that training left out.

  Args:
    state: the training state.
    batch: as of a training step, and `_mask` [B], 0 where a row is padding.
    model, objective, mode: static.

  Returns:
    `loss` (without margin), the objective's score and `count`: sums over the
    batch.
  """
  embeddings = model.apply(state.variables, batch['image'], mode)
  losses, scores = objective.validation(
    state.params['classifier'], embeddings, batch
  )
  mask = batch['_mask'].astype(jnp.float32)
  return {
    **{
      name: jnp.sum(values * mask)
      for name, values in {'loss': losses, **scores}.items()
    },
    'count': jnp.sum(mask),
  }


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
