"""The quantizers of a layer's output and of its kernel."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from faceqat.integer.tensors import QParams
from faceqat.quant import (
  exact,
  learned_step,
  numerics,
  observers,
  tensor_scales,
)
from faceqat.quant.spec import LayerQuant, Mode

# A channel whose weights have died keeps a scale of at least this part of the
# layer's largest, or its bias would not fit int32. Its weights then change the
# output by less than a step.
_LEAST_RELATIVE_SCALE = 2.0**-12


class RangesMissingError(ValueError):
  """A model whose ranges were never observed cannot be quantized."""


class OutputQuantizer(nn.Module):
  """Observes the range of a layer's output and fake-quantizes it.

  With learned steps it has a parameter `step` [] float32, the real value of
  one step; 0 until a mode with `initialize_steps` sets it.
  """

  layer: LayerQuant

  def setup(self):
    initial = observers.OBSERVERS[self.layer.observer].initial
    self.range = self.variable('quant_stats', 'range', initial)
    if self.layer.learned_steps:
      self.step = self.param('step', nn.initializers.zeros, ())

  @property
  def _grid(self) -> dict[str, int | bool]:
    """The bits, and whether the range is narrow."""
    layer = self.layer
    return {'bits': layer.activation_bits, 'narrow_range': layer.symmetric}

  def _limits(self) -> tuple[jax.Array, jax.Array]:
    minimum, maximum = self.range.value.minimum, self.range.value.maximum
    if not self.layer.symmetric:
      return minimum, maximum
    widest = jnp.maximum(-minimum, maximum)
    return -widest, widest

  def _range_params(self) -> tuple[jax.Array, jax.Array]:
    """Returns the scale and zero point of the observed range."""
    return numerics.nudged_params(*self._limits(), **self._grid)

  def _learned_params(self) -> tuple[jax.Array, jax.Array]:
    """Returns the learned step and the zero point of the range."""
    _, zero_point = self._range_params()
    least = _least_step(self.layer.activation_bits)
    return learned_step.at_least(self.step, least), zero_point

  def __call__(
    self, y: jax.Array, mode: Mode, units: numerics.Units | None = None
  ) -> jax.Array:
    """The output behind the quantizer, if the mode quantizes.

    Args:
      y: the output.
      mode: of the call.
      units: as of `numerics.round_steps`, of the operator that the layer
        becomes.
    """
    observes = mode.observe and (self.layer.observes_training or not mode.train)
    if observes and not self.is_initializing():
      self.range.value = observers.observe(
        self.range.value,
        jax.lax.stop_gradient(y).astype(jnp.float32),
        self.layer,
      )
    if mode.initialize_steps and self.layer.learned_steps:
      self.put_variable('params', 'step', self._range_params()[0])
    if not mode.quantize:
      return y
    fake_quant = self._learned if self.layer.learned_steps else self._observed
    rounding = {'rounding': mode.rounding, 'units': units}
    rounded = fake_quant(y.astype(jnp.float32), rounding).astype(y.dtype)
    if mode.rounds_twice:
      tensor_scales.note(rounded, self._scale())
    return rounded

  def _scale(self) -> jax.Array:
    """The real value of one step, [] float32."""
    learned = self.layer.learned_steps
    return (self._learned_params if learned else self._range_params)()[0]

  def _observed(self, y: jax.Array, rounding: dict[str, Any]) -> jax.Array:
    return numerics.fake_quant(y, *self._limits(), **self._grid, **rounding)

  def _learned(self, y: jax.Array, rounding: dict[str, Any]) -> jax.Array:
    step, zero_point = self._learned_params()
    qmin, qmax = numerics.signed_limits(**self._grid)
    lower, upper = qmin - zero_point, qmax - zero_point
    return learned_step.quantize_with_step(
      y,
      step,
      lower=lower,
      upper=upper,
      gradient_scale=learned_step.gradient_scale(y[0].size, lower, upper),
      **rounding,
    )

  def qparams(self) -> QParams:
    """The scale and zero point that the integer program has here."""
    name = '/'.join(self.path[:-1])
    if not observers.is_set(self.range.value):
      raise RangesMissingError(
        f'layer {name} has no activation range: train past quant.start_step, '
        'or calibrate with quant.calibration_steps'
      )
    if not self.layer.learned_steps:
      scale, zero_point = self._range_params()
    elif self.step == 0:
      raise RangesMissingError(
        f'layer {name} has learned_steps, but they were never initialised: '
        'calibrate with quant.calibration_steps before training'
      )
    else:
      scale, zero_point = self._learned_params()
    return QParams(float(scale), int(zero_point), *self._grid.values())


def initial_kernel_step(kernel: jax.Array, layer: LayerQuant) -> jax.Array:
  """Returns where the learned step of a (folded) kernel starts; [O] or []."""
  kernel = jax.lax.stop_gradient(kernel).astype(jnp.float32)
  initialize = learned_step.INITIALIZATIONS[layer.step_initialization]
  step = initialize(kernel, _largest(layer), layer.per_channel)
  return _kernel_step(step, layer)


def fake_quant_kernel(
  kernel: jax.Array,
  layer: LayerQuant,
  step: jax.Array | None = None,
  *,
  normalized: bool = False,
) -> jax.Array:
  """Fake-quantizes a kernel; the gradient passes straight through.

  The result is exactly the integers of `quantize_kernel` times their scale.

  Args:
    kernel: [..., O], folded.
    layer: its quantization.
    step: learned, [O] or [] float32, with a gradient; None: from the widest
      weight of a channel, or of all.
    normalized: the statistics of the batch follow. They and the gradient of
      gamma need the product before gamma, even for a channel that gamma has
      switched off and whose weights all ship as 0. It is left unquantized.
  """
  scale, upper = kernel_scale(kernel, layer, step), _largest(layer)
  if step is None:
    steps = exact.nearest_steps(
      jax.lax.stop_gradient(kernel).astype(jnp.float32),
      scale,
      lower=-upper,
      upper=upper,
    )
    rounded = numerics.straight_through(kernel, steps * scale)
  else:
    rounded = learned_step.quantize_with_step(
      kernel,
      scale,
      lower=-upper,
      upper=upper,
      gradient_scale=learned_step.gradient_scale(
        kernel.size // step.size, -upper, upper
      ),
    )
  if not normalized:
    return rounded
  axes = tuple(range(kernel.ndim - 1))
  widest = jnp.max(jnp.abs(jax.lax.stop_gradient(kernel)), axes)
  # Below half a step all of them are rounded to 0.
  off = widest < jnp.minimum(_least_width(widest), 0.5 * scale)
  return jnp.where(off, kernel, rounded)


def quantize_kernel(
  kernel: jax.Array, layer: LayerQuant, step: jax.Array | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Returns a kernel's int8 values and its scale per output channel [O].

  The arguments are those of `fake_quant_kernel`.
  """
  kernel, upper = np.asarray(kernel, np.float32), _largest(layer)
  scale = np.asarray(kernel_scale(kernel, layer, step), np.float32)
  values = exact.nearest_steps(kernel, scale, lower=-upper, upper=upper)
  return values.astype(np.int8), np.broadcast_to(scale, kernel.shape[-1:])


def kernel_scale(
  kernel: jax.Array, layer: LayerQuant, step: jax.Array | None = None
) -> jax.Array:
  """Returns the real value of a kernel's step, float32 [O] or [].

  Training and lowering have to get the same bits, hence `exact`. The arguments
  are those of `fake_quant_kernel`.
  """
  if step is not None:
    return _kernel_step(step, layer)
  xp = exact.namespace(kernel)
  widest = numerics.widest_weight(kernel, per_channel=layer.per_channel)
  widest = xp.maximum(widest, _least_width(widest))
  return exact.nearest_quotient(widest, _largest(layer))


def _largest(layer: LayerQuant) -> int:
  return numerics.signed_limits(layer.weight_bits, narrow_range=True)[1]


def _kernel_step(step: jax.Array, layer: LayerQuant) -> jax.Array:
  """Returns learned steps, each at least what a dead channel keeps."""
  largest = jax.lax.stop_gradient(jnp.max(step))
  least = jnp.maximum(
    largest * _LEAST_RELATIVE_SCALE, _least_step(layer.weight_bits)
  )
  return learned_step.at_least(step, least)


def _least_step(bits: int) -> float:
  """The step of the narrowest range that `numerics` has."""
  return numerics.MIN_WIDTH / (2**bits - 1)


def _least_width(widest: jax.Array) -> jax.Array:
  """Returns the least range of a channel, given all; a power of two of it."""
  xp = exact.namespace(widest)
  return xp.maximum(
    xp.max(widest) * _LEAST_RELATIVE_SCALE, numerics.MIN_WIDTH / 2
  )
