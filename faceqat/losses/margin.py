"""Softmax, ArcFace, CosFace and their combination on the sphere, in float32.

All are a softmax over `scale * cos(theta)`, where theta is the angle between an
embedding and a class weight; they differ in what they add to the cosine of the
example's own class. The derivative of `arccos` at 1 is infinite, so that is
added under `stop_gradient`: `d logits / d cosine = scale`.

A row whose label is not among the columns has no margin. A shard that holds a
part of the classes calls `margin_logits` with labels relative to its first.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from faceqat.losses.softmax import cross_entropy, hits

# One number; of the combined margin three.
Margins = float | tuple[float, float, float]

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
  # Accelerators multiply float32 as bfloat16 by default; a scale of 64 would
  # turn its 2^-9 into an eighth of a nat.
  return jnp.matmul(
    normalize(embeddings, axis=1),
    normalize(weights, axis=0),
    precision=jax.lax.Precision.HIGHEST,
  )


def arcface(cosine: jax.Array, margin: float) -> jax.Array:
  """Adds an angular margin: cos(theta + m) - cos(theta).

  Where theta + m exceeds pi the cosine would rise again. There the target is
  cos(theta) - m sin(m), which keeps falling with theta: the fallback of the
  authors' own code with `easy_margin` off (insightface, `mm = sin(pi - m) m`).

  Source: Deng et al. 2019, "ArcFace", equation 3.

  Args:
    cosine: float32, at the label.
    margin: m, an angle in radians from 0 to pi / 2.

  Raises:
    ValueError: the margin is outside [0, pi / 2].
  """
  if not 0 <= margin <= math.pi / 2:
    raise ValueError(
      f'margin is {margin}; for ArcFace it is an angle in radians from 0 to '
      'pi / 2, and 28.6 degrees are 0.5'
    )
  c, sine = _cosine_and_sine(cosine)
  # cos(theta + m) without arccos.
  moved = c * math.cos(margin) - sine * math.sin(margin)
  fallback = c - margin * math.sin(margin)
  return jnp.where(c > -math.cos(margin), moved, fallback) - cosine


def combined(
  cosine: jax.Array, margin: tuple[float, float, float]
) -> jax.Array:
  """Adds three margins: cos(m1 theta + m2) - m3 - cos(theta).

  Beyond pi the cosine would rise again. From k pi to (k + 1) pi the target is
  (-1)^k cos(m1 theta + m2) - 2 k - m3, which is continuous and keeps falling:
  psi of SphereFace. (4, 0, 0) is SphereFace, (1, 0, m) CosFace, and (1, m, 0)
  ArcFace up to an angle of pi - m, where that has a fallback.

  Source: Deng et al. 2019, "ArcFace", equation 4; Liu et al. 2017,
  "SphereFace", equation 7.

  Args:
    cosine: float32, at the label.
    margin: m1, a factor of the angle above 0; m2, an angle in radians from 0
      to pi / 2; m3, a difference of cosines, 0 or more.

  Raises:
    ValueError: naming the margin that is out of range.
  """
  m1, m2, m3 = margin
  for name, value, fits, wanted in (
    ('m1', m1, m1 > 0, 'a factor of the angle above 0'),
    ('m2', m2, 0 <= m2 <= math.pi / 2, 'radians from 0 to pi / 2'),
    ('m3', m3, m3 >= 0, 'a difference of cosines, 0 or more'),
  ):
    if not fits:
      raise ValueError(f'{name} is {value}; it is {wanted}')
  c, sine = _cosine_and_sine(cosine)
  # Near +-1 as exact as the cosine, unlike arccos of a float32.
  angle = m1 * jnp.arctan2(sine, c) + m2
  half_turns = jnp.floor(angle / math.pi)
  sign = 1 - 2 * (half_turns % 2)
  return sign * jnp.cos(angle) - 2 * half_turns - m3 - cosine


def _cosine_and_sine(cosine):
  # Rounding can leave a cosine of parallel vectors just above 1. The product
  # (1 - c)(1 + c) does not cancel near +-1.
  c = jnp.clip(cosine, -1.0, 1.0)
  return c, jnp.sqrt((1.0 - c) * (1.0 + c))


# What each adds to the cosine at the label.
LOSSES: dict[str, Callable[[jax.Array, Margins], jax.Array]] = {
  'arcface': arcface,
  'combined': combined,
  # Wang et al. 2018, "CosFace", equation 4.
  'cosface': lambda cosine, margin: jnp.full_like(cosine, -margin),
  # Wang et al. 2017, "NormFace", section 3.3: there is no margin.
  'softmax': lambda cosine, margin: jnp.zeros_like(cosine),
}


def margin_logits(
  name: str,
  cosine: jax.Array,
  labels: jax.Array,
  *,
  scale: float,
  margin: Margins,
) -> jax.Array:
  """Scaled cosines, with a margin at the label.

  Args:
    name: one of `LOSSES`.
    cosine: [B, K] float32.
    labels: [B] int32.
    scale: s, the radius of the sphere or inverse temperature.
    margin: as the function of this name takes it.

  Returns:
    [B, K] float32.

  Raises:
    ValueError: the name is not one of `LOSSES`, or the margin out of range.
  """
  if name not in LOSSES:
    raise ValueError(
      f'{name!r} is no margin loss; choose one of {", ".join(LOSSES)}'
    )
  is_target = labels[:, None] == jnp.arange(cosine.shape[1])
  # Any column will do for a row without target: its result is not used.
  column = jnp.clip(labels, 0, cosine.shape[1] - 1)[:, None]
  at_label = jnp.take_along_axis(cosine, column, axis=1)
  shift = jnp.where(is_target, LOSSES[name](at_label, margin), 0.0)
  return scale * (cosine + jax.lax.stop_gradient(shift))


def margin_loss(
  name: str,
  embeddings: jax.Array,
  weights: jax.Array,
  labels: jax.Array,
  *,
  scale: float,
  margin: Margins,
  label_smoothing: float,
) -> tuple[jax.Array, jax.Array]:
  """Cross-entropy of the margin logits, and hits of the margin-free ones.

  Args as of `cosine_logits`, `margin_logits` and `softmax.cross_entropy`.

  Returns:
    The loss of each example in nats, [B] float32, and whether the nearest
    class is the right one, [B] float32 in {0, 1}; its mean is the accuracy.

  Raises:
    ValueError: the name is not one of `LOSSES`, or the margin out of range.
  """
  cosine = cosine_logits(embeddings, weights)
  moved = margin_logits(name, cosine, labels, scale=scale, margin=margin)
  return cross_entropy(moved, labels, label_smoothing), hits(cosine, labels)
