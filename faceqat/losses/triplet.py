"""Triplet losses over all triplets that a batch holds, in float32.

A triplet is an anchor, a positive (another image of the same person) and a
negative (an image of another person); it is satisfied once the negative is
farther from the anchor than the positive is, by the margin. A batch of P people
with K images each holds P K (K - 1) (P - 1) K of them.

The comparisons are of [B, B, B] numbers: at B = 256 a step of batch-all takes
200 MB beside the network on a CPU, batch-hard 70 MB. Both grow with B^3.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from faceqat.losses.margin import normalize

# Below this squared distance, ten roundings of a unit vector, two embeddings
# are one: their distance has no direction and its gradient is zero.
_MIN_SQUARED_DISTANCE = 1e-12


class Triplets(NamedTuple):
  """The distances of a batch, and who is who.

  Attributes:
    distances: [B, B] float32.
    positive: [B, B] bool, another image of the same person.
    negative: [B, B] bool, an image of another person.
  """

  distances: jax.Array
  positive: jax.Array
  negative: jax.Array

  @property
  def valid(self) -> jax.Array:
    """[B, B, B] bool: anchor, positive, negative."""
    return self.positive[:, :, None] & self.negative[:, None, :]

  @property
  def excess(self) -> jax.Array:
    """[B, B, B]: by how much a positive is farther than a negative."""
    return self.distances[:, :, None] - self.distances[:, None, :]


def distances(embeddings: jax.Array, *, squared: bool) -> jax.Array:
  """Distances between the directions of all embeddings of a batch.

  Args:
    embeddings: [B, D] any float type, not normalised.
    squared: their squares instead.

  Returns:
    [B, B] float32 from 0 to 2, or to 4; the gradient at 0 is finite: 0.
  """
  unit = normalize(embeddings, axis=1)
  # Distances do not depend on the origin. Where the embeddings lie close
  # together, that of their mean saves the digits that 2 - 2 cos would lose.
  unit -= jax.lax.stop_gradient(jnp.mean(unit, axis=0))
  lengths = jnp.sum(jnp.square(unit), axis=1)
  products = jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)
  squares = lengths[:, None] + lengths[None, :] - 2 * products
  # NaN stays NaN: the comparison with it is false.
  same = squares <= _MIN_SQUARED_DISTANCE
  if squared:
    return jnp.where(same, 0.0, squares)
  return jnp.where(same, 0.0, jnp.sqrt(jnp.where(same, 1.0, squares)))


def batch_all(triplets: Triplets, margin: float) -> jax.Array:
  """The mean over the triplets that are not satisfied.

  A mean over all would fade as more are satisfied. Source: Hermans et al. 2017,
  "In defense of the triplet loss", equation 6 and section 3.2.
  """
  losses = jnp.where(triplets.valid, jax.nn.relu(triplets.excess + margin), 0)
  return jnp.sum(losses) / jnp.maximum(jnp.count_nonzero(losses), 1)


def batch_hard(triplets: Triplets, margin: float) -> jax.Array:
  """The farthest positive and nearest negative of each anchor.

  Source: Hermans et al. 2017, equation 5.
  """
  far = jnp.where(triplets.positive, triplets.distances, 0)
  near = jnp.where(triplets.negative, triplets.distances, jnp.inf)
  losses = jax.nn.relu(jnp.max(far, axis=1) - jnp.min(near, axis=1) + margin)
  return _mean(
    losses, jnp.any(triplets.positive, 1) & jnp.any(triplets.negative, 1)
  )


def semi_hard(triplets: Triplets, margin: float) -> jax.Array:
  """Each pair with the nearest negative beyond its positive, or the farthest.

  Source: Schroff et al. 2015, "FaceNet", section 3.2.
  """
  farther = triplets.negative[:, None, :] & (triplets.excess < 0)
  nearest = jnp.min(
    triplets.distances[:, None, :], axis=2, where=farther, initial=jnp.inf
  )
  farthest = jnp.max(
    jnp.where(triplets.negative, triplets.distances, 0), axis=1, keepdims=True
  )
  chosen = jnp.where(jnp.any(farther, axis=2), nearest, farthest)
  losses = jax.nn.relu(triplets.distances - chosen + margin)
  return _mean(
    losses, triplets.positive & jnp.any(triplets.negative, 1, keepdims=True)
  )


MINING: dict[str, Callable[[Triplets, float], jax.Array]] = {
  'batch_all': batch_all,
  'batch_hard': batch_hard,
  'semi_hard': semi_hard,
}


def triplet_loss(
  mining: str,
  embeddings: jax.Array,
  labels: jax.Array,
  *,
  margin: float,
  squared: bool,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The loss of a batch; 0, with a gradient of 0, where it holds no triplet.

  Args:
    mining: one of `MINING`, which triplets count.
    embeddings: [B, D] any float type, not normalised.
    labels: [B] int32.
    margin: between the distances; above 0, or all embeddings in one point are
      the best.
    squared: take the squares of the distances. Their gradient fades as all
      embeddings draw together, which is what keeps a collapsed network
      collapsed; that of a distance does not, until they are one point.

  Returns:
    The loss, [] float32, and scores, each [] float32: `positive_fraction`, the
    share of all triplets that are not satisfied; `positive_distance` and
    `negative_distance`, the mean distance of two images of one person and of
    two people. They fall to 0 together where the network collapses.
  """
  same = labels[:, None] == labels[None, :]
  triplets = Triplets(
    distances=distances(embeddings, squared=squared),
    positive=same & ~jnp.eye(len(labels), dtype=bool),
    negative=~same,
  )
  plain = distances(jax.lax.stop_gradient(embeddings), squared=False)
  not_satisfied = triplets.excess + margin > 0
  return MINING[mining](triplets, margin), {
    'positive_fraction': _mean(not_satisfied, triplets.valid),
    'positive_distance': _mean(plain, triplets.positive),
    'negative_distance': _mean(plain, triplets.negative),
  }


def _mean(values, where):
  """The mean of some of the values; 0 of none."""
  total = jnp.sum(jnp.where(where, values, 0), dtype=jnp.float32)
  return total / jnp.maximum(jnp.count_nonzero(where), 1)
