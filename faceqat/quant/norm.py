"""Which normalisation follows a linear layer, as values of a config."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from faceqat.quant.fields import check_fields


@dataclasses.dataclass(frozen=True)
class BatchNorm:
  """Batch normalisation (Ioffe and Szegedy 2015).

  Attributes:
    momentum: of the moving statistics, per update.
    epsilon: added to the variance.
  """

  momentum: float
  epsilon: float

  def __post_init__(self):
    if not 0 <= self.momentum < 1:
      raise ValueError(f'momentum is {self.momentum}; it lies in [0, 1)')
    _check_epsilon(self.epsilon)


@dataclasses.dataclass(frozen=True)
class BatchRenorm(BatchNorm):
  """Batch renormalisation (Ioffe 2017), for small batches.

  For the first `start` updates it is batch norm (r_max 1, d_max 0). Then the
  limits widen linearly, up to `r_max` at `r_end` and `d_max` at `d_end`. The
  moving spread is the root of the moving variance, where the paper averages the
  spreads themselves.

  Attributes:
    r_max: the batch's spread counts as at most so many times the moving one,
      and no less than 1 / r_max of it.
    d_max: its mean, as at most so many moving spreads off the moving mean.
    start, r_end, d_end: updates of the statistics; one a step, or one for each
      micro-batch of a step.
  """

  r_max: float
  d_max: float
  start: int
  r_end: int
  d_end: int

  def __post_init__(self):
    super().__post_init__()
    if self.r_max < 1 or self.d_max < 0:
      raise ValueError(
        f'r_max is {self.r_max} and d_max {self.d_max}; the least are 1 and 0'
      )
    if not 0 <= self.start <= min(self.r_end, self.d_end):
      raise ValueError(
        f'start is {self.start}, r_end {self.r_end}, d_end {self.d_end}; the '
        'limits widen from start on, 0 or more, to the two ends, which are not '
        'before it'
      )

  def limits(self, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(r_max, d_max) after `count` updates."""

    def share(end):
      return jnp.clip((count - self.start) / max(end - self.start, 1), 0, 1)

    return 1 + (self.r_max - 1) * share(self.r_end), self.d_max * share(
      self.d_end
    )


@dataclasses.dataclass(frozen=True)
class GroupNorm:
  """Group normalisation (Wu and He 2018): each image by its own statistics.

  It needs them at inference too, and so neither folds nor has integers here.
  An output of one position, as of a dense layer, is one group, which is layer
  norm (Ba et al. 2016): of a group of two numbers nothing but a sign is left.

  Attributes:
    groups: of the channels; a layer whose channels they do not divide takes
      the greatest number below that does.
    epsilon: added to the variance.
  """

  groups: int
  epsilon: float

  def __post_init__(self):
    if self.groups < 1:
      raise ValueError(f'groups is {self.groups}; it is 1 or more')
    _check_epsilon(self.epsilon)


Norm = BatchNorm | BatchRenorm | GroupNorm
NORMS = {'batch': BatchNorm, 'renorm': BatchRenorm, 'group': GroupNorm}


class NoIntegerFormError(ValueError):
  """What the network computes, no integer program can."""


def group_norm(
  norm: GroupNorm, channels: int
) -> Callable[[jax.Array], jax.Array]:
  """What normalises `[B, ..., C]`, C channels, in float32, by a module `gn`."""
  groups = min(norm.groups, channels)
  while channels % groups:
    groups -= 1

  def normalize(y: jax.Array) -> jax.Array:
    alone = math.prod(y.shape[1:-1]) == 1
    return nn.GroupNorm(
      num_groups=1 if alone else groups,
      epsilon=norm.epsilon,
      dtype=jnp.float32,
      # E[y^2] - E[y]^2 loses a variance that is small beside the mean.
      use_fast_variance=False,
      name='gn',
    )(y)

  return normalize


def make_norm(config: Mapping[str, Any]) -> Norm:
  """Builds the norm of the config's block `model.norm`.

  Args:
    config: `name`, one of `NORMS`, and all fields of that norm.

  Raises:
    ValueError: an unknown name or field, a field too few, or a value out of
      range.
  """
  fields = dict(config)
  name = fields.pop('name')
  if name not in NORMS:
    raise ValueError(
      f'model.norm.name is {name!r}; choose one of {", ".join(NORMS)}'
    )
  check_fields(fields, NORMS[name], block='model.norm', owner=repr(name))
  try:
    return NORMS[name](**fields)
  except ValueError as error:
    raise ValueError(f'model.norm: {error}') from error


def _check_epsilon(epsilon: float):
  # A channel that is constant would be divided by zero.
  if not epsilon > 0:
    raise ValueError(f'epsilon is {epsilon}; it is more than 0')
