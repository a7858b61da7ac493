"""Softmax, ArcFace and CosFace on the unit sphere, in float32.

All three are a softmax over `scale * cos(theta)`, where theta is the angle
between an embedding and a class weight; they differ in what they take away
from the cosine of the example's own class. The difference is always added
under `stop_gradient`: the derivative of `arccos` at 1 is infinite, and so the
gradient passes straight through the margin, `d logits / d cosine = scale`.

The functions need no label inside [0, K): a row whose label is not among the
columns has no margin anywhere. A shard that holds a part of the classes
therefore calls them with labels relative to its own first class.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

# Below this squared norm a vector has no direction: it is left as it is (zero
# logits, gradient of the identity) instead of being divided by almost zero.
_MIN_SQUARED_NORM = 1e-12


def normalize(x: jax.Array, axis: int) -> jax.Array:
  """Unit vectors along `axis`, float32, finite gradients at the zero vector."""
  x = x.astype(jnp.float32)
  squared = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
  # The inner `where` keeps rsqrt(0) out of the backward pass as well.
  has_direction = squared > _MIN_SQUARED_NORM
  return x * jax.lax.rsqrt(jnp.where(has_direction, squared, 1.0))


def cosine_logits(embeddings: jax.Array, weights: jax.Array) -> jax.Array:
  """Cosines between embeddings and class weights.

  Args:
    embeddings: [B, D] any float type, not normalised.
    weights: [D, K] any float type, one class a column, not normalised.

  Returns:
    [B, K] float32 in [-1, 1] up to rounding; 0 where either vector is zero.
  """
  # A scale of 64 turns the 2^-9 of a bfloat16 product, which accelerators use
  # for float32 by default, into an eighth of a nat: ask for all 24 bits.
  return jnp.matmul(
    normalize(embeddings, axis=1),
    normalize(weights, axis=0),
    precision=jax.lax.Precision.HIGHEST,
  )


def _is_target(cosine: jax.Array, labels: jax.Array) -> jax.Array:
  return labels[:, None] == jnp.arange(cosine.shape[1])


def softmax(
  cosine: jax.Array, labels: jax.Array, scale: float, margin: float
) -> jax.Array:
  """Logits without a margin: s cos(theta).

  Source: Wang et al. 2017, "NormFace", section 3.3. `labels` and `margin` are
  not used, so that an experiment can change the loss and nothing else.

  Args:
    cosine: [B, K] float32.
    labels: [B] int32.
    scale: s, the inverse temperature.
    margin: Ignored.

  Returns:
    [B, K] float32 logits.
  """
  del labels, margin
  return scale * cosine


def arcface(
  cosine: jax.Array, labels: jax.Array, scale: float, margin: float
) -> jax.Array:
  """Logits with an additive angular margin: s cos(theta + m) at the label.

  Where theta + m exceeds pi the cosine would rise again. There the target is
  cos(theta) - m sin(m), which keeps falling with theta: the fallback of the
  authors' own code with `easy_margin` off (insightface, `mm = sin(pi - m) m`).

  Source: Deng et al. 2019, "ArcFace", equation 3.

  Args:
    cosine: [B, K] float32.
    labels: [B] int32.
    scale: s, the radius of the sphere.
    margin: m, an angle in radians from 0 to pi / 2.

  Returns:
    [B, K] float32 logits.

  Raises:
    ValueError: The margin is outside [0, pi / 2].
  """
  if not 0 <= margin <= math.pi / 2:
    raise ValueError(
      f'The ArcFace margin is an angle in radians from 0 to pi / 2, got '
      f'{margin}; 28.6 degrees are 0.5.'
    )
  # Rounding can leave a cosine of parallel vectors just above 1.
  c = jnp.clip(cosine, -1.0, 1.0)
  # cos(theta + m) without arccos; (1 - c)(1 + c) does not cancel near +-1.
  sine = jnp.sqrt((1.0 - c) * (1.0 + c))
  moved = c * math.cos(margin) - sine * math.sin(margin)
  fallback = c - margin * math.sin(margin)
  target = jnp.where(c > -math.cos(margin), moved, fallback)
  shift = jnp.where(_is_target(cosine, labels), target - cosine, 0.0)
  return scale * (cosine + jax.lax.stop_gradient(shift))


def cosface(
  cosine: jax.Array, labels: jax.Array, scale: float, margin: float
) -> jax.Array:
  """Logits with an additive cosine margin: s (cos(theta) - m) at the label.

  Source: Wang et al. 2018, "CosFace", equation 4.

  Args:
    cosine: [B, K] float32.
    labels: [B] int32.
    scale: s, the radius of the sphere.
    margin: m, a difference of cosines.

  Returns:
    [B, K] float32 logits.
  """
  return scale * (cosine - jnp.where(_is_target(cosine, labels), margin, 0.0))


LOSSES: dict[str, Callable[..., jax.Array]] = {
  'arcface': arcface,
  'cosface': cosface,
  'softmax': softmax,
}


def loss(
  name: str,
  embeddings: jax.Array,
  weights: jax.Array,
  labels: jax.Array,
  *,
  scale: float,
  margin: float,
) -> tuple[jax.Array, jax.Array]:
  """Cross-entropy of the margin logits, and hits of the margin-free ones.

  Args:
    name: One of `LOSSES`.
    embeddings: [B, D] any float type, not normalised.
    weights: [D, K] class weights, not normalised.
    labels: [B] int32 in [0, K). A label of K or more gives a loss of NaN.
    scale: Factor of the cosines.
    margin: Margin at the label; radians for ArcFace, a cosine for CosFace.

  Returns:
    The loss of each example in nats, [B] float32, and whether the nearest
    class is the right one, [B] float32 in {0, 1}; its mean is the accuracy.

  Raises:
    ValueError: The name is not one of `LOSSES`.
  """
  if name not in LOSSES:
    raise ValueError(f'Unknown loss {name!r}; accepted: {sorted(LOSSES)}.')
  cosine = cosine_logits(embeddings, weights)
  logits = LOSSES[name](cosine, labels, scale, margin)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  hits = (jnp.argmax(cosine, axis=1) == labels).astype(jnp.float32)
  return losses, hits


def check_labels(labels: np.ndarray, num_classes: int) -> None:
  """Refuses labels outside [0, num_classes); a host-side check of a dataset.

  Args:
    labels: [N] integers.
    num_classes: K, the number of columns of the class weights.

  Raises:
    ValueError: A label is negative or num_classes or more, as in a dataset
      that counts its people 1..N.
  """
  labels = np.asarray(labels)
  wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
  if wrong.size:
    first = int(wrong[0])
    raise ValueError(
      f'{wrong.size} labels are outside 0..{num_classes - 1}; the first is '
      f'label {int(labels[first])} of example {first}. Number the people from '
      f'0 without gaps.'
    )
