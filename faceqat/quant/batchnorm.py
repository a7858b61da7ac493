"""Batch normalisation that folds into the convolution before it.

The device multiplies by the folded kernel `kernel * gamma / sqrt(var + eps)`,
so that is the kernel which training must quantize (Jacob et al. 2018, section
3.2, equation 14, with the moving variance). The batch statistics are taken
from the same product and corrected for the fold (Krishnamoorthi 2018, section
3.2.2), so a training step convolves once.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from faceqat.quant.spec import Mode


class FoldedBatchNorm(nn.Module):
  """Normalises a linear layer's output over all axes but the last.

  Parameters are `scale` and `bias` [C], statistics `mean` and `var` [C], as in
  `nn.BatchNorm`. Statistics of a batch that is sharded over devices are those
  of the whole batch.

  Attributes:
    features: C.
    momentum: of the moving statistics, per step.
    epsilon: added to the variance.
  """

  features: int
  momentum: float = 0.9
  epsilon: float = 1e-3

  def setup(self):
    shape = (self.features,)
    self.scale = self.param('scale', nn.initializers.ones, shape)
    self.bias = self.param('bias', nn.initializers.zeros, shape)
    self.mean = self.variable('batch_stats', 'mean', jnp.zeros, shape)
    self.var = self.variable('batch_stats', 'var', jnp.ones, shape)

  def fold(self) -> tuple[jax.Array, jax.Array]:
    """Returns the kernel's factor [C] and the bias [C] by moving statistics."""
    factor = self.scale * jax.lax.rsqrt(self.var.value + self.epsilon)
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
    # The factor cancels out of the result, so no gradient goes through it.
    factor = jax.lax.stop_gradient(factor) if mode.quantize else None
    y = product(factor).astype(jnp.float32)
    axes = tuple(range(y.ndim - 1))
    mean = jnp.mean(y, axes)
    var = jnp.maximum(jnp.mean(jnp.square(y), axes) - jnp.square(mean), 0.0)
    if factor is None:
      sign, square = 1.0, 1.0
      self._update(mean, var)
    else:
      sign, square = jnp.sign(factor), jnp.square(factor)
      # A channel whose scale has reached zero carries no statistics.
      safe = jnp.where(jnp.abs(factor) < 1e-9, 1.0, factor)
      self._update(mean / safe, var / jnp.square(safe))
    tiny = jnp.finfo(jnp.float32).tiny
    spread = jax.lax.rsqrt(jnp.maximum(var + self.epsilon * square, tiny))
    return (y - mean) * (self.scale * sign * spread) + self.bias

  def _update(self, mean: jax.Array, var: jax.Array):
    if self.is_initializing():
      return
    for moving, batch in ((self.mean, mean), (self.var, var)):
      batch = jax.lax.stop_gradient(batch)
      moving.value += (1.0 - self.momentum) * (batch - moving.value)
