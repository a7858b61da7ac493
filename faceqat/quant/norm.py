"""The norms that may follow a linear layer, as the config has them."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from faceqat.fields import check_value, check_values, make_of_block


@dataclasses.dataclass(frozen=True)
class BatchNorm:
  """Batch normalisation (Ioffe and Szegedy 2015).

  Attributes:
    momentum: of the moving statistics, per update.
    epsilon: added to the variance.
  """

  momentum: Annotated[float, '[0, 1)']
  # A constant channel would be divided by zero.
  epsilon: Annotated[float, '(0, inf)']

  def __post_init__(self):
    check_values(self)


@dataclasses.dataclass(frozen=True)
class BatchRenorm(BatchNorm):
  """Batch renormalisation (Ioffe 2017), for small batches.

  For the first `start` updates it is batch norm (r_max 1, d_max 0). Then the
  limits widen linearly, up to `r_max` at `r_end` and `d_max` at `d_end`. The
  moving spread is the root of the moving variance, where the paper averages the
  spreads themselves.

  Attributes:
    r_max: the batch's spread is clipped to the moving one times 1 / r_max to
      r_max.
    d_max: its mean, to so many moving spreads about the moving mean.
    start, r_end, d_end: updates of the statistics; one a step, or one for each
      micro-batch of a step.
  """

  r_max: Annotated[float, '[1, inf)']
  d_max: Annotated[float, '[0, inf)']
  start: Annotated[int, '[0, inf)']
  r_end: int
  d_end: int

  def __post_init__(self):
    super().__post_init__()
    if self.start > min(self.r_end, self.d_end):
      raise ValueError(
        f'start is {self.start}, r_end {self.r_end}, d_end {self.d_end}; the '
        'limits widen from start on, so neither end is before it'
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

  groups: Annotated[int, '[1, inf)']
  epsilon: Annotated[float, '(0, inf)']

  def __post_init__(self):
    check_values(self)


Norm = BatchNorm | BatchRenorm | GroupNorm
NORMS = {'batch': BatchNorm, 'renorm': BatchRenorm, 'group': GroupNorm}


class NoIntegerFormError(ValueError):
  """The network computes what no integer program can."""


def group_norm(
  norm: GroupNorm, channels: int
) -> Callable[[jax.Array], jax.Array]:
  """Returns a function that normalises `[B, ..., C]` by a module `gn`."""
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
  check_value('model.norm.name', name, NORMS)
  return make_of_block(
    NORMS[name], fields, block='model.norm', owner=repr(name)
  )
