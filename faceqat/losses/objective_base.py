"""What a training minimises; `objective.py` makes it from the config."""

import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh

from faceqat.fields import check_values
from faceqat.losses.sampled_classes import Sample

Batch = dict[str, jax.Array]
# Of the parameters and states below, by name, the axis over the classes.
CLASS_AXES = {'weights': 1, 'bias': 0, 'centers': 0, 'rows': 0, 'decayed': 0}
# Of these, what is split over the devices of a mesh; the rest is on each.
SHARDED = ('rows', 'decayed')
# Losses [B], or one loss []; scores by name; the objective's next state.
Scored = tuple[jax.Array, dict[str, jax.Array], Any]


@dataclasses.dataclass(frozen=True)
class Objective:
  """A loss with its own parameters and state, both checkpointed.

  The parameters (class weights, for one) are trained beside the backbone; the
  state (centers) is updated by a rule of its own.
  """

  # A batch then holds the embeddings `target` [B, D] of a float network.
  needs_teacher = False
  # It then also holds what blocks put out, [B, H, W, C] by name: `features` of
  # the network in training, `target_features` of the teacher.
  needs_features = False
  # Its loss is a mean over losses of single images. Only then it can be
  # measured on images left out, and averaged over micro-batches.
  per_example = True
  # A step trains a sample of the classes.
  samples = False
  # The devices that its classes are split over.
  mesh = None

  def __post_init__(self):
    check_values(self)

  def initial(self, key: jax.Array, dimension: int, classes: int) -> Any:
    """The parameters of a network that has learnt nothing: here none."""
    del key, dimension, classes
    return {}

  def initial_state(self, dimension: int, classes: int) -> Any:
    """The state before the first batch: here none."""
    del dimension, classes
    return {}

  def __call__(
    self, params: Any, state: Any, embeddings: jax.Array, batch: Batch
  ) -> Scored:
    """Losses and scores of a batch, and the state after it.

    Args:
      params: the objective's own, as `initial` makes them.
      state: as `initial_state` makes it.
      embeddings: [B, D], not normalised.
      batch: `label` [B] int32, or `target` [B, D] of a teacher.

    Returns:
      The losses, [B] float32 or where they are not per example [] float32;
      scores by name, of the same shape; the next state.
    """
    raise NotImplementedError

  @property
  def validation(self) -> 'Objective':
    """The objective that a validation measures."""
    return self

  def placed(self, mesh: Mesh, classes: int) -> 'Objective':
    """The objective of a training on the devices of a mesh."""
    del mesh, classes
    return self

  def sample(
    self, params: Any, step: jax.Array, labels: jax.Array, seed: int
  ) -> Sample | None:
    """The classes that a step trains; None: all of them."""
    del params, step, labels, seed
    return None
