"""The quantizers that layers are built with: of an output, and of a kernel."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from faceqat.integer.program import QParams
from faceqat.quant import numerics, observers
from faceqat.quant.spec import LayerQuant, Mode

# A channel whose weights have died keeps a scale of at least this part of the
# layer's largest, or its bias, in steps of that scale, would not fit int32.
# What its weights still do is below one step of the layer's output.
_LEAST_RELATIVE_SCALE = 2.0**-12


class RangesMissingError(ValueError):
  """A quantized reading was asked of a model whose ranges were never seen."""


class OutputQuantizer(nn.Module):
  """Observes the range of a layer's output and fake-quantizes it."""

  layer: LayerQuant

  def setup(self):
    self.range = self.variable('quant_stats', 'range', observers.initial_range)

  def _limits(self) -> tuple[jax.Array, jax.Array]:
    minimum, maximum, _ = self.range.value
    if not self.layer.symmetric:
      return minimum, maximum
    widest = jnp.maximum(-minimum, maximum)
    return -widest, widest

  def __call__(self, y: jax.Array, mode: Mode) -> jax.Array:
    if mode.observe and not self.is_initializing():
      self.range.value = observers.observe(
        self.range.value,
        jax.lax.stop_gradient(y).astype(jnp.float32),
        observer=self.layer.observer,
        decay=self.layer.decay,
      )
    if not mode.quantize:
      return y
    return numerics.fake_quant(
      y.astype(jnp.float32),
      *self._limits(),
      bits=self.layer.activation_bits,
      narrow_range=self.layer.symmetric,
      rounding=mode.rounding,
    ).astype(y.dtype)

  def qparams(self) -> QParams:
    """The scale and zero point that the integer program has here."""
    if not observers.is_set(self.range.value):
      raise RangesMissingError(
        f'layer {"/".join(self.path[:-1])} has no activation range: train past '
        'quant.start_step, or calibrate with quant.calibration_steps'
      )
    bits, narrow = self.layer.activation_bits, self.layer.symmetric
    scale, zero_point = numerics.nudged_params(
      *self._limits(), bits=bits, narrow_range=narrow
    )
    return QParams(float(scale), int(zero_point), bits, narrow)


def fake_quant_kernel(kernel: jax.Array, layer: LayerQuant) -> jax.Array:
  """Fake-quantizes a kernel; the gradient passes straight through."""
  return numerics.fake_quant(
    kernel,
    *_kernel_limits(kernel, layer),
    bits=layer.weight_bits,
    narrow_range=True,
  )


def quantize_kernel(
  kernel: jax.Array, layer: LayerQuant
) -> tuple[np.ndarray, np.ndarray]:
  """Returns a kernel's int8 values and its scale per output channel [O]."""
  values, scale = _integers(kernel, layer)
  scale = np.broadcast_to(np.asarray(scale, np.float32), kernel.shape[-1:])
  return np.asarray(values, np.int8), scale


# Compiled whole: lowering meets some thirty shapes of kernels, and compiling
# each operation for each of them took most of its time.
@functools.partial(jax.jit, static_argnames='layer')
def _integers(kernel, layer):
  scale, zero_point = numerics.nudged_params(
    *_kernel_limits(kernel, layer), bits=layer.weight_bits, narrow_range=True
  )
  values = numerics.quantize(
    kernel, scale, zero_point, bits=layer.weight_bits, narrow_range=True
  )
  return values, scale


def _kernel_limits(
  kernel: jax.Array, layer: LayerQuant
) -> tuple[jax.Array, jax.Array]:
  _, widest = numerics.kernel_range(kernel, per_channel=layer.per_channel)
  widest = jnp.maximum(widest, jnp.max(widest) * _LEAST_RELATIVE_SCALE)
  return -widest, widest
