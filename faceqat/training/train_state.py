"""The state of a training, and the pure functions that change it.

`trainer.py` jits the training step, as it donates the state; the others are
jitted here.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from clu.metrics import Average

from faceqat.compilation import jit_once
from faceqat.files.image_size import ImageSize, height_width
from faceqat.losses.objective_base import Objective
from faceqat.losses.regularization import Regularization
from faceqat.models.features import by_block, is_block
from faceqat.quant.spec import FLOAT, Mode
from faceqat.training import rounding, sampling, sharding


class TrainState(flax.struct.PyTreeNode):
  """Everything that a checkpoint holds.

  Attributes:
    step: [] int32, optimiser steps done.
    params: `backbone` (of the model) and `classifier` (of the objective; of a
      margin loss `weights` [D, K]).
    batch_stats: moving statistics of the batch norms.
    quant_stats: ranges of the activations.
    objective_state: updated by the objective without gradients, as centers.
    penalty_coefficient: [] float32, of the regularization.
    opt_state: of the optimiser.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  quant_stats: Any
  objective_state: Any
  penalty_coefficient: jax.Array
  opt_state: Any

  @property
  def variables(self) -> dict[str, Any]:
    """The model's."""
    return {
      'params': self.params['backbone'],
      'batch_stats': self.batch_stats,
      'quant_stats': self.quant_stats,
    }


class Recipe(NamedTuple):
  """Settings of all steps of a stage; static under `jit`.

  Attributes:
    model: the network.
    optimizer: of the stage.
    objective: what is minimised.
    regularization: a penalty added to it.
    train_backbone: off, the classifier alone is trained.
    micro_batches: parts of a batch whose gradients are computed one after
      another and averaged, which saves memory. Batch norms use the statistics
      of each part; moving averages and the objective's state are updated after
      each.
    seed: of the first weights, of dropout and of samples of classes.
    log_decay: from a step to the logarithm of what weight decay leaves of a
      weight in it; None where no classes are sampled.
  """

  model: nn.Module
  optimizer: optax.GradientTransformation
  objective: Objective
  regularization: Regularization
  train_backbone: bool
  micro_batches: int
  seed: int
  log_decay: Callable[[jax.Array], jax.Array] | None = None


def create_state(
  recipe: Recipe, *, num_classes: int, image_size: ImageSize
) -> TrainState:
  """Initialises a model, what its objective learns, and the optimiser."""
  create = make_create(recipe, num_classes, height_width(image_size))
  return create(jax.random.key(recipe.seed))


def state_shapes(
  recipe: Recipe, *, num_classes: int, image_size: ImageSize
) -> TrainState:
  """The shapes and types of what `create_state` makes."""
  create = make_create(recipe, num_classes, height_width(image_size))
  return create.eval_shape(jax.random.key(recipe.seed))


@functools.cache
def make_create(
  recipe: Recipe, num_classes: int, size: tuple[int, int]
) -> Callable[[jax.Array], TrainState]:
  """From a random key to a state; compiled once."""
  model, objective = recipe.model, recipe.objective

  def create(key):
    backbone_key, classifier_key = jax.random.split(key)
    images = jnp.zeros((1, *size, 3), jnp.uint8)
    variables = model.init(backbone_key, images, FLOAT)
    params = {
      'backbone': variables['params'],
      'classifier': objective.initial(
        classifier_key, model.embedding_size, num_classes
      ),
    }
    state = TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      # A network with group norms has no batch statistics.
      batch_stats=variables.get('batch_stats', {}),
      quant_stats=variables['quant_stats'],
      objective_state=objective.initial_state(
        model.embedding_size, num_classes
      ),
      penalty_coefficient=jnp.ones(()),
      opt_state=recipe.optimizer.init(_trained(params, recipe)),
    )
    return _in_place(state, objective)

  return jit_once(create)


def _in_place(state, objective):
  """Keeps what is split over devices where it is."""
  mesh = objective.mesh
  return state if mesh is None else sharding.constrain(state, mesh)


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  recipe: Recipe,
  mode: Mode,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One step of the optimiser on one batch.

  Args:
    state: before the step.
    batch: `image` [B, H, W, 3] uint8, and `label` [B] int32 or `target` [B, D]
      of a teacher, as the objective needs.
    recipe, mode: static.

  Returns:
    The state after it, and float32 scalars: `loss`, the objective's scores
    (such as `accuracy` or `cosine`) and `grad_norm` before clipping; with
    regularization also `penalty` and `penalty_coefficient`.
  """
  objective = recipe.objective
  step = functools.partial(_step, recipe=recipe, mode=mode)
  sample = objective.sample(
    state.params['classifier'], state.step, batch.get('label'), recipe.seed
  )
  if sample is None:
    state, metrics = step(state, batch)
  else:
    state, metrics = sampling.step_on_sample(
      step,
      state,
      batch,
      sample,
      objective.mesh,
      recipe.log_decay(state.step),
      rounding.key_of(recipe.seed, state.step),
    )
  return _in_place(state, objective), metrics


def _step(state, batch, recipe, mode):
  """The same, of the classes that the state has."""
  parts = recipe.micro_batches
  key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)
  if parts == 1:
    state, sums = _add_gradients(state, batch, key, recipe, mode)
  else:
    # Every device takes a part of each micro-batch: the batch is split over
    # devices in runs, and a micro-batch takes each `parts`-th of a run.
    batches = jax.tree.map(
      lambda x: jnp.swapaxes(
        x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1
      ),
      batch,
    )

    def accumulate(carry, part):
      state, sums = carry
      index, batch = part
      part_key = jax.random.fold_in(key, index)
      state, more = _add_gradients(state, batch, part_key, recipe, mode)
      return (state, jax.tree.map(jnp.add, sums, more)), None

    shapes = jax.eval_shape(
      lambda: _add_gradients(
        state, jax.tree.map(lambda x: x[0], batches), key, recipe, mode
      )
    )[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (state, sums), _ = jax.lax.scan(
      accumulate, (state, zeros), (jnp.arange(parts), batches)
    )
  grads, metrics = jax.tree.map(lambda x: x / parts, sums)
  return _apply_gradients(state, grads, metrics, recipe)


def _add_gradients(state, batch, key, recipe, mode):
  """New statistics in the state, and a batch's gradients and metrics."""

  def compute_loss(trained):
    params = {**state.params, **trained}
    mutable, captures = ['batch_stats', 'quant_stats'], False
    if recipe.objective.needs_features:
      mutable, captures = [*mutable, 'intermediates'], is_block
    embeddings, updated = recipe.model.apply(
      {**state.variables, 'params': params['backbone']},
      batch['image'],
      mode,
      mutable=mutable,
      capture_intermediates=captures,
      rngs={'dropout': key},
    )
    features = by_block(updated.pop('intermediates', {}))
    losses, scores, objective_state = recipe.objective(
      params['classifier'],
      state.objective_state,
      embeddings,
      {**batch, 'features': features},
    )
    scores = jax.tree.map(jnp.mean, scores)
    updated = {**updated, 'objective_state': objective_state}
    return jnp.mean(losses), (scores, updated)

  (loss, (scores, updated)), grads = jax.value_and_grad(
    compute_loss, has_aux=True
  )(_trained(state.params, recipe))
  return state.replace(**updated), (grads, {'loss': loss, **scores})


def _trained(params: Any, recipe: Recipe) -> Any:
  """The parameters that a stage trains."""
  if recipe.train_backbone:
    return params
  return {'classifier': params['classifier']}


def _apply_gradients(state, grads, metrics, recipe):
  """One update of the parameters by averaged gradients."""
  trained = _trained(state.params, recipe)
  regularization, coefficient = recipe.regularization, state.penalty_coefficient
  if regularization.weight:
    penalty, penalty_grads = jax.value_and_grad(regularization.penalty)(
      trained, coefficient
    )
    grads = jax.tree.map(jnp.add, grads, penalty_grads)
    metrics = {
      **metrics,
      'penalty': penalty,
      'penalty_coefficient': coefficient,
    }
    coefficient = regularization.next(coefficient, metrics['loss'], penalty)
  updates, opt_state = recipe.optimizer.update(grads, state.opt_state, trained)
  moved = optax.apply_updates(trained, updates)
  rows = trained['classifier'].get('rows')
  if rows is not None and rows.dtype == jnp.bfloat16:
    rounded = rounding.add(
      rows,
      updates['classifier']['rows'],
      rounding.key_of(recipe.seed, state.step),
    )
    moved = {**moved, 'classifier': {**moved['classifier'], 'rows': rounded}}
  return state.replace(
    step=state.step + 1,
    params={**state.params, **moved},
    penalty_coefficient=coefficient,
    opt_state=opt_state,
  ), {**metrics, 'grad_norm': optax.tree.norm(grads)}


def restart_optimizer(state: TrainState, recipe: Recipe) -> TrainState:
  """The state at the start of a stage."""
  trained = _trained(state.params, recipe)
  return state.replace(opt_state=recipe.optimizer.init(trained))


def named_leaves(tree: Any) -> dict[str, Any]:
  """The leaves of a tree by their paths.

  >>> named_leaves({'stem': {'kernel': 1, 'bias': 2}, 'steps': (3,)})
  {'stem/bias': 2, 'stem/kernel': 1, 'steps/0': 3}
  """
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


@functools.partial(jax.jit, static_argnames='objective')
def validation_scores(
  classifier: Any,
  objective_state: Any,
  embeddings: jax.Array,
  batch: dict[str, jax.Array],
  *,
  objective: Objective,
) -> dict[str, Average]:
  """Averages over a padded batch of images that training left out.

  Args:
    classifier, objective_state: of a `TrainState`.
    embeddings: [B, D], of the images of the batch.
    batch: as of a training step, and `_mask` [B], 0 where a row is padding.
    objective: static.

  Returns:
    `loss` (without margin) and the objective's scores, to be merged with those
    of other batches.
  """
  losses, scores, _ = objective.validation(
    classifier, objective_state, embeddings, batch
  )
  return {
    name: Average.from_model_output(values, mask=batch['_mask'])
    for name, values in {'loss': losses, **scores}.items()
  }
