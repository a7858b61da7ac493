"""PReLU with the backward pass that XLA:CPU runs fastest."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def prelu(x: jax.Array, alpha: jax.Array) -> jax.Array:
  """x where it is not negative, else alpha * x; `[..., C]` and `[C]`."""
  return jnp.where(x >= 0, x, alpha * x)


def _prelu_fwd(x, alpha):
  return prelu(x, alpha), (x, alpha)


def _prelu_bwd(residuals, g):
  # Left to itself, XLA's CPU backend fuses the slope's gradient with whatever
  # g is computed from, a depthwise convolution's gradient, and computes that a
  # second time.
  x, alpha = residuals
  axes = tuple(range(x.ndim - 1))
  dalpha = jnp.sum(g * jnp.minimum(x, 0), axes, dtype=jnp.float32)
  return jnp.where(x >= 0, g, alpha * g), dalpha.astype(alpha.dtype)


prelu.defvjp(_prelu_fwd, _prelu_bwd)
