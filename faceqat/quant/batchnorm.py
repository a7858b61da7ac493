"""Batch norm and batch renorm, which fold into the convolution before them.

The device multiplies by `kernel * gamma / sqrt(var + eps)`, so training has to
quantize that kernel (Jacob et al. 2018, section 3.2, equation 14, with the
moving variance). The batch statistics come from the same product, corrected for
the fold (Krishnamoorthi 2018, section 3.2.2): a training step convolves once.

Batch renorm (Ioffe 2017) moves the batch's statistics towards the moving ones,
by a factor r and a shift d that carry no gradient. It folds in the same way.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from faceqat.quant import exact
from faceqat.quant.norm import BatchNorm, BatchRenorm
from faceqat.quant.reductions import channel_sums
from faceqat.quant.spec import Mode

# A smaller factor would make the gradient of the spread overflow.
_LEAST_FACTOR = 1e-9


class FoldedBatchNorm(nn.Module):
  """Normalises a linear layer's output over all axes but the last.

  Parameters are `scale` and `bias` [C], statistics `mean` and `var` [C], as in
  `nn.BatchNorm`; batch renorm also counts its updates, `count` []. Statistics
  of a batch that is sharded over devices are those of the whole batch.

  Attributes:
    features: C.
    norm: momentum and epsilon, and the limits of batch renorm.
    initial_gamma: every `scale` before it is trained.
  """

  features: int
  norm: BatchNorm | BatchRenorm
  initial_gamma: float = 1.0

  def setup(self):
    shape = (self.features,)
    self.scale = self.param(
      'scale', nn.initializers.constant(self.initial_gamma), shape
    )
    self.bias = self.param('bias', nn.initializers.zeros, shape)
    self.mean = self.variable('batch_stats', 'mean', jnp.zeros, shape)
    self.var = self.variable('batch_stats', 'var', jnp.ones, shape)
    if isinstance(self.norm, BatchRenorm):
      self.count = self.variable('batch_stats', 'count', jnp.zeros, ())

  def values(self) -> dict[str, jax.Array]:
    """Returns all that is folded, by its path within the layer; each [C]."""
    return {
      'bn/scale': self.scale,
      'bn/bias': self.bias,
      'bn/mean': self.mean.value,
      'bn/var': self.var.value,
    }

  def fold(self) -> tuple[jax.Array, jax.Array]:
    """Returns the kernel's factor [C] and the bias [C] by moving statistics."""
    # Exact: lowering folds in another program and has to get the same kernel.
    factor = self.scale * exact.inverse_root(self.var.value + self.norm.epsilon)
    return factor, self.bias - self.mean.value * factor

  def __call__(
    self, product: Callable[[jax.Array | None], jax.Array], mode: Mode
  ) -> jax.Array:
    """Returns the normalised output, float32.

    Args:
      product: from a factor [C] on the output channels of the kernel (None: 1)
        to the layer's output `[..., C]` without bias.
      mode: of the call.
    """
    factor, bias = self.fold()
    if not mode.batch_statistics:
      return product(factor).astype(jnp.float32) + bias
    if mode.quantize:
      # The factor cancels out of the result, so it has no gradient, and a dead
      # channel may have another.
      dead = jnp.abs(factor) < _LEAST_FACTOR
      factor = jax.lax.stop_gradient(jnp.where(dead, _LEAST_FACTOR, factor))
      sign, square = jnp.sign(factor), jnp.square(factor)
    else:
      factor, sign, square = None, 1.0, 1.0
    y = product(factor).astype(jnp.float32)
    scale, bias = self.scale * sign, self.bias
    if isinstance(self.norm, BatchRenorm) and not self.is_initializing():
      # The same reductions as those of _normalize, which XLA computes once.
      origin, offset, var = batch_moments(jax.lax.stop_gradient(y))
      r, d = self._renorm(origin + offset, var, factor)
      scale, bias = scale * r, bias + self.scale * d
    y, mean, var = _normalize(y, scale, bias, self.norm.epsilon * square)
    if mode.quantize:
      mean, var = mean / factor, var / square
    self._update(mean, var)
    return y

  def _renorm(self, mean, var, factor) -> tuple[jax.Array, jax.Array]:
    """r and d [C] (Ioffe 2017, section 3) of statistics before the fold."""
    if factor is not None:
      mean, var = mean / factor, var / jnp.square(factor)
    r_max, d_max = self.norm.limits(self.count.value)
    spread = jnp.sqrt(self.var.value + self.norm.epsilon)
    r = jnp.sqrt(var + self.norm.epsilon) / spread
    d = (mean - self.mean.value) / spread
    return jnp.clip(r, 1 / r_max, r_max), jnp.clip(d, -d_max, d_max)

  def _update(self, mean: jax.Array, var: jax.Array):
    if self.is_initializing():
      return
    for moving, batch in ((self.mean, mean), (self.var, var)):
      batch = jax.lax.stop_gradient(batch)
      moving.value += (1.0 - self.norm.momentum) * (batch - moving.value)
    if isinstance(self.norm, BatchRenorm):
      self.count.value += 1


@jax.custom_vjp
def _normalize(y, scale, bias, epsilon):
  """Returns the output, and mean and variance of y, which carry no gradient.

  y is [..., C] float32, the others [C] or scalars. The backward pass is that
  of Ioffe and Szegedy 2015, section 3: two sums and one pass, where automatic
  differentiation would take four passes more over the activations.
  """
  return _normalize_fwd(y, scale, bias, epsilon)[0]


def batch_moments(y):
  """Returns an origin o, the mean of y - o, and the variance of y, all [C].

  E[y^2] - E[y]^2 loses all digits of a variance that is small beside the mean.
  E[(y - o)^2] - E[y - o]^2 is exact to about 1 + (mean - o)^2 / var roundings,
  at most H with o the mean of the middle row: the squared deviations of its N /
  H values sum to at most N var. The mean of all values as o would cost another
  pass over y.
  """
  row = y[:, y.shape[1] // 2] if y.ndim > 2 else y
  origin = jnp.mean(row, tuple(range(row.ndim - 1)))
  shifted = y - origin
  count = y.size // y.shape[-1]
  offset, square = (
    total / count for total in channel_sums(shifted, jnp.square(shifted))
  )
  return origin, offset, jnp.maximum(square - jnp.square(offset), 0.0)


def _normalize_fwd(y, scale, bias, epsilon):
  origin, offset, var = batch_moments(y)
  spread = jax.lax.rsqrt(var + epsilon)
  # Not y less the mean, which is rounded: y - origin is exact where it matters.
  normalized = (y - origin - offset) * (scale * spread) + bias
  residuals = y, origin, offset, spread, scale
  return (normalized, origin + offset, var), residuals


def _normalize_bwd(residuals, cotangents):
  y, origin, offset, spread, scale = residuals
  g, _, _ = cotangents
  # Off the rounded mean, and what that rounding took: with a difference that is
  # computed elsewhere too, XLA would write it to memory.
  mean = origin + offset
  rest = offset - (mean - origin)
  g_sum, gy_sum = channel_sums(g, g * (y - mean))
  gy_sum -= rest * g_sum
  count = y.size // y.shape[-1]
  slope = jnp.square(spread) * gy_sum / count
  deviation = y - origin - offset
  dy = (g - g_sum / count - deviation * slope) * (scale * spread)
  return dy, spread * gy_sum, g_sum, None


_normalize.defvjp(_normalize_fwd, _normalize_bwd)
