"""The objective of a training, made from the config's block `loss`."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
import ml_collections

from faceqat.fields import check_values, make_of_block
from faceqat.losses import margin, softmax
from faceqat.losses.center import center_loss, move_centers
from faceqat.losses.margin import normalize
from faceqat.losses.margin_objective import Margin, ShardedMargin
from faceqat.losses.objective_base import Objective
from faceqat.losses.triplet import MINING, triplet_loss


@dataclasses.dataclass(frozen=True)
class LinearSoftmax(Objective):
  """Classification by a linear layer with bias, on embeddings as they are."""

  label_smoothing: Annotated[float, '[0, 1)']

  def initial(self, key, dimension, classes):
    """Class weights [D, K] that keep the variance, and a bias [K] of 0."""
    weights = jax.random.normal(key, (dimension, classes)) / dimension**0.5
    return {'weights': weights, 'bias': jnp.zeros(classes)}

  def __call__(self, params, state, embeddings, batch):
    """Losses [B] in nats, and `accuracy` [B]."""
    labels = batch['label']
    logits = softmax.linear_logits(
      embeddings, params['weights'], params['bias']
    )
    losses = softmax.cross_entropy(logits, labels, self.label_smoothing)
    return losses, {'accuracy': softmax.hits(logits, labels)}, state

  @property
  def validation(self) -> 'LinearSoftmax':
    """No smoothing."""
    return dataclasses.replace(self, label_smoothing=0.0)


@dataclasses.dataclass(frozen=True)
class Center(LinearSoftmax):
  """The same, with embeddings drawn to the center of their class.

  Its state is `centers` [K, D], which are at 0 at first.

  Attributes:
    weight: lambda, of the center loss beside the softmax.
    alpha: rate of the centers.
  """

  weight: Annotated[float, '[0, inf)']
  alpha: Annotated[float, '(0, 1]']

  def initial_state(self, dimension, classes):
    """The centers."""
    return {'centers': jnp.zeros((classes, dimension))}

  def __call__(self, params, state, embeddings, batch):
    """Losses [B]; `accuracy` [B], and `center_distance` [B] before the move."""
    losses, scores, _ = super().__call__(params, state, embeddings, batch)
    centers, labels = state['centers'], batch['label']
    to_center, distances = center_loss(embeddings, centers, labels)
    moved = move_centers(centers, embeddings, labels, self.alpha)
    return (
      losses + self.weight * to_center,
      {**scores, 'center_distance': distances},
      {'centers': moved},
    )


@dataclasses.dataclass(frozen=True)
class Triplet(Objective):
  """Distances of a batch compared with each other; see `triplet_loss`."""

  mining: Annotated[str, MINING]
  # At 0 all embeddings in one point would be the best.
  margin: Annotated[float, '(0, inf)']
  squared: bool

  per_example = False

  def __call__(self, params, state, embeddings, batch):
    """The loss [], and `positive_fraction` and two mean distances, []."""
    loss, scores = triplet_loss(
      self.mining,
      embeddings,
      batch['label'],
      margin=self.margin,
      squared=self.squared,
    )
    return loss, scores, state


@dataclasses.dataclass(frozen=True)
class Distillation(Objective):
  """Learns the embeddings of a float teacher, without labels.

  Distillation (Hinton et al. 2015) of embeddings in place of class
  probabilities. A verification score is a cosine, so the length of an embedding
  plays no part here either.

  Attributes:
    teacher: its name, a run's folder or a file; '': the network that the run
      starts from.
    features: weight of the error of block outputs beside that of embeddings,
      for a teacher with blocks of the same shapes (FitNets, Romero et al. 2015,
      without its regressor).
  """

  teacher: str
  features: Annotated[float, '[0, inf)']

  needs_teacher = True

  @property
  def needs_features(self) -> bool:
    return self.features > 0

  @property
  def validation(self) -> 'Distillation':
    """Embeddings alone."""
    return dataclasses.replace(self, features=0.0)

  def __call__(self, params, state, embeddings, batch):
    """Losses [B], squared distances of unit vectors, and `cosine` [B].

    With `features` they are added times their weight, and `feature_error` [B]
    has them: the squared error of each block's output, relative to its squared
    length, on average over the blocks.
    """
    ours, teacher = (
      normalize(x, axis=1) for x in (embeddings, batch['target'])
    )
    cosines = jnp.sum(ours * teacher, axis=1)
    losses, scores = 2 - 2 * cosines, {'cosine': cosines}
    if self.features:
      errors = [
        relative_error(batch['features'][name], target)
        for name, target in batch['target_features'].items()
      ]
      scores['feature_error'] = sum(errors) / len(errors)
      losses += self.features * scores['feature_error']
    return losses, scores, state


def relative_error(x: jax.Array, target: jax.Array) -> jax.Array:
  """|x - t|^2 / |t|^2 of each example, [B]; both are [B, ...]."""
  axes = tuple(range(1, x.ndim))
  x, target = x.astype(jnp.float32), target.astype(jnp.float32)
  length = jnp.sum(jnp.square(target), axes)
  tiny = jnp.finfo(jnp.float32).tiny
  return jnp.sum(jnp.square(x - target), axes) / jnp.maximum(length, tiny)


def _softmax(
  scale: float, label_smoothing: float, margin: float | None = None
) -> Margin:
  # Of the block of another loss whose name alone was changed.
  del margin
  return Margin('softmax', scale, 0.0, label_smoothing)


def _combined(
  scale: float, m1: float, m2: float, m3: float, label_smoothing: float
) -> Margin:
  return Margin('combined', scale, (m1, m2, m3), label_smoothing)


# From so many people on a margin loss is in parts where `sharded` is None.
# Fewer cost little either way; see docs/identities.md.
PEOPLE_TO_SHARD = 10_000


@dataclasses.dataclass(frozen=True)
class _Sharding:
  """The fields that say how the classes of a margin loss are held."""

  sharded: bool | None
  sample_rate: Annotated[float, '(0, 1]']
  dtype: Annotated[str, ('float32', 'bfloat16')]

  def __post_init__(self):
    check_values(self)
    for name, value, plain in (
      ('sample_rate', self.sample_rate, 1),
      ('dtype', self.dtype, 'float32'),
    ):
      if value != plain and self.sharded is False:
        raise ValueError(
          f'{name} is {value!r}, which needs the classifier in parts; give '
          'loss.sharded=True'
        )

  def applies_to(self, people: int) -> bool:
    """The number of devices plays no part: a run may go on with others."""
    if self.sharded is not None:
      return self.sharded
    is_asked_for = self.sample_rate != 1 or self.dtype != 'float32'
    return is_asked_for or people >= PEOPLE_TO_SHARD


# By loss.name; what they take are the other fields of the block.
_MAKERS: dict[str, Callable[..., Objective]] = {
  'softmax': _softmax,
  'arcface': functools.partial(Margin, 'arcface'),
  'cosface': functools.partial(Margin, 'cosface'),
  'combined': _combined,
  'linear_softmax': LinearSoftmax,
  'center': Center,
  'triplet': Triplet,
  'distillation': Distillation,
}


def make_objective(
  config: ml_collections.ConfigDict, people: int = 0
) -> Objective:
  """Reads the block `loss`.

  Args:
    config: `name`, and the fields of that loss as `configs/losses.py` has them.
    people: of the training; where `sharded` is None, they decide.

  Raises:
    ValueError: an unknown name, a field too many or too few, a value out of
      range, or a loss that has no form in parts.
  """
  fields = config.to_dict()
  name = fields.pop('name')
  if name not in _MAKERS:
    raise ValueError(
      f'loss.name is {name!r}; choose one of {", ".join(_MAKERS)}'
    )
  fields_of_sharding = {
    field.name: fields.pop(field.name)
    for field in dataclasses.fields(_Sharding)
    if field.name in fields
  }
  owner = f'the loss {name!r}'
  objective = make_of_block(_MAKERS[name], fields, block='loss', owner=owner)
  if not isinstance(objective, Margin):
    if fields_of_sharding.get('sharded'):
      raise ValueError(
        f'loss.sharded is True, but the loss {name!r} has no form in parts; '
        f'choose one of {", ".join(margin.LOSSES)}, or loss.sharded=False'
      )
    return objective
  sharding = make_of_block(
    _Sharding, fields_of_sharding, block='loss', owner=owner
  )
  if not sharding.applies_to(people):
    return objective
  return ShardedMargin(objective, sharding.sample_rate, sharding.dtype)
