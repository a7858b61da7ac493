"""Batch norm and batch renorm, which fold into the convolution before them.

The device multiplies by the folded kernel `kernel * gamma / sqrt(var + eps)`,
so that is the kernel which training must quantize (Jacob et al. 2018, section
3.2, equation 14, with the moving variance). The batch statistics are taken
from the same product and corrected for the fold (Krishnamoorthi 2018, section
3.2.2), so a training step convolves once.

Batch renorm (Ioffe 2017) moves the batch's statistics towards the moving ones,
by a factor r and a shift d that carry no gradient. It folds alike.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from faceqat.quant.norm import BatchNorm, BatchRenorm
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
  """

  features: int
  norm: BatchNorm | BatchRenorm

  def setup(self):
    shape = (self.features,)
    self.scale = self.param('scale', nn.initializers.ones, shape)
    self.bias = self.param('bias', nn.initializers.zeros, shape)
    self.mean = self.variable('batch_stats', 'mean', jnp.zeros, shape)
    self.var = self.variable('batch_stats', 'var', jnp.ones, shape)
    if isinstance(self.norm, BatchRenorm):
      self.count = self.variable('batch_stats', 'count', jnp.zeros, ())

  def fold(self) -> tuple[jax.Array, jax.Array]:
    """Returns the kernel's factor [C] and the bias [C] by moving statistics."""
    factor = self.scale * jax.lax.rsqrt(self.var.value + self.norm.epsilon)
    return factor, self.bias - self.mean.value * factor

  def __call__(
    self, product: Callable[[jax.Array | None], jax.Array], mode: Mode
  ) -> jax.Array:
    """Normalises.

    Args:
      product: from a factor [C] on the output channels of the kernel (None: as
        it is) to the layer's output `[..., C]` without bias.
      mode: the reading.

    Returns:
      The normalised output, float32.
    """
    factor, bias = self.fold()
    if not mode.batch_statistics:
      return product(factor).astype(jnp.float32) + bias
    if mode.quantize:
      # The factor cancels out of the result: no gradient goes through it, and
      # another stands in for that of a channel whose scale has died.
      dead = jnp.abs(factor) < _LEAST_FACTOR
      factor = jax.lax.stop_gradient(jnp.where(dead, _LEAST_FACTOR, factor))
      sign, square = jnp.sign(factor), jnp.square(factor)
    else:
      factor, sign, square = None, 1.0, 1.0
    y = product(factor).astype(jnp.float32)
    scale, bias = self.scale * sign, self.bias
    if isinstance(self.norm, BatchRenorm) and not self.is_initializing():
      # The same reductions as those of _normalize, which XLA computes once.
      r, d = self._renorm(*_statistics(jax.lax.stop_gradient(y)), factor)
      scale, bias = scale * r, bias + self.scale * d
    y, mean, var = _normalize(y, scale, bias, self.norm.epsilon * square)
    if mode.quantize:
      self._update(mean / factor, var / square)
    else:
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
  of Ioffe and Szegedy 2015, section 3, in the two sums and one pass that it
  needs: derived automatically it takes four passes more over the activations.
  """
  return _normalize_fwd(y, scale, bias, epsilon)[0]


def _statistics(y):
  """Mean and variance [C] of y [..., C]."""
  axes = tuple(range(y.ndim - 1))
  mean = jnp.mean(y, axes)
  return mean, jnp.maximum(
    jnp.mean(jnp.square(y), axes) - jnp.square(mean), 0.0
  )


def _normalize_fwd(y, scale, bias, epsilon):
  mean, var = _statistics(y)
  spread = jax.lax.rsqrt(var + epsilon)
  normalized = (y - mean) * (scale * spread) + bias
  return (normalized, mean, var), (y, mean, spread, scale)


def _normalize_bwd(residuals, cotangents):
  y, mean, spread, scale = residuals
  g, _, _ = cotangents
  axes = tuple(range(y.ndim - 1))
  g_sum = jnp.sum(g, axes)
  # As exact as the variance, which is computed alike; with y - mean in the sum
  # XLA would write that difference to memory.
  gy_sum = jnp.sum(g * y, axes) - mean * g_sum
  count = y.size // y.shape[-1]
  slope = jnp.square(spread) * gy_sum / count
  dy = (g - g_sum / count - (y - mean) * slope) * (scale * spread)
  return dy, spread * gy_sum, g_sum, None


_normalize.defvjp(_normalize_fwd, _normalize_bwd)
