"""What a training minimises, made from the config's block `loss`.

An objective has parameters of its own (the class weights, for one), which are
trained beside the backbone, and a score that says how far it has come.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from faceqat.losses import distillation, margin

Scored = tuple[jax.Array, dict[str, jax.Array]]


class Margin(NamedTuple):
  """Classification by labels: softmax, ArcFace or CosFace.

  Attributes:
    name: of the loss, a key of `margin.LOSSES`.
    scale: s.
    margin: m.
  """

  name: str
  scale: float
  margin: float

  needs_teacher = False

  def initial(self, key: jax.Array, dimension: int, classes: int) -> Any:
    """Class weights [D, K] of a network that has learnt nothing."""
    return {'weights': 0.01 * jax.random.normal(key, (dimension, classes))}

  def __call__(
    self, params: Any, embeddings: jax.Array, batch: dict[str, jax.Array]
  ) -> Scored:
    """Losses [B] in nats, and `accuracy` [B] of the margin-free logits."""
    losses, hits = margin.loss(
      self.name,
      embeddings,
      params['weights'],
      batch['label'],
      scale=self.scale,
      margin=self.margin,
    )
    return losses, {'accuracy': hits}

  @property
  def validation(self) -> 'Margin':
    """What a validation measures: the same without margin."""
    return Margin('softmax', self.scale, 0.0)


class Distillation(NamedTuple):
  """Learning the embeddings of a float teacher, by no labels."""

  needs_teacher = True

  def initial(self, key: jax.Array, dimension: int, classes: int) -> Any:
    """No parameters of its own."""
    del key, dimension, classes
    return {}

  def __call__(
    self, params: Any, embeddings: jax.Array, batch: dict[str, jax.Array]
  ) -> Scored:
    """Losses [B], and `cosine` [B] to the teacher's `target` [B, D]."""
    del params
    losses, cosines = distillation.loss(embeddings, batch['target'])
    return losses, {'cosine': cosines}

  @property
  def validation(self) -> 'Distillation':
    return self


Objective = Margin | Distillation


def make_objective(config: ml_collections.ConfigDict) -> Objective:
  """Reads the block `loss`.

  Args:
    config: `name` 'distillation', or one of the margin losses with `scale` and
      `margin`.

  Raises:
    ValueError: an unknown name or a margin out of range.
  """
  if config.name == 'distillation':
    return Distillation()
  accepted = sorted([*margin.LOSSES, 'distillation'])
  if config.name not in accepted:
    raise ValueError(f'Unknown loss {config.name!r}; accepted: {accepted}.')
  objective = Margin(**config)
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
