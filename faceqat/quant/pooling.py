"""Quantized pooling layers, over windows and over whole images."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from faceqat.integer import record
from faceqat.integer.symbol import Symbol
from faceqat.quant.convolution import same_padding
from faceqat.quant.layer import QuantLayer, Value
from faceqat.quant.quantizers import OutputQuantizer
from faceqat.quant.spec import Mode

Padding = str | tuple[tuple[int, int], tuple[int, int]]


class MeanPool(QuantLayer):
  """The mean over height and width: `[B, H, W, C]` to `[B, C]`."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    quantizer = OutputQuantizer(self._own(), name='quantizer')
    if isinstance(x, Symbol):
      return record.mean(x, name=self._tensor, output=quantizer.qparams())
    y = jnp.mean(x.astype(jnp.float32), axis=(1, 2)).astype(x.dtype)
    return self._finish(y, mode, quantizer)


class _WindowPool(QuantLayer):
  """What moves a window over `[B, H, W, C]`; scale and zero point stay.

  `padding` is 'SAME', 'VALID' or ((top, bottom), (left, right)).
  """

  window: tuple[int, int] = (2, 2)
  strides: tuple[int, int] = (2, 2)
  padding: Padding = 'SAME'

  def _run(
    self,
    x: Value,
    pool: Callable[..., jax.Array],
    recorder: Callable[..., Symbol],
  ) -> Value:
    """Computes with `pool(x, window, strides, padding)`, or records."""
    padding = explicit_padding(
      self.padding, x.shape[1:3], self.window, self.strides
    )
    if isinstance(x, Symbol):
      return recorder(
        x,
        name=self._tensor,
        window=self.window,
        strides=self.strides,
        padding=padding,
      )
    y = pool(x, self.window, self.strides, padding)
    self.sow('intermediates', 'output', y)
    return y


class MaxPool(_WindowPool):
  """The largest value of each window."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    del mode
    return self._run(x, nn.max_pool, record.max_pool)


class AveragePool(_WindowPool):
  """The average of each window; padding does not count.

  The device rounds it to whole steps of the input, which an array does not
  tell: fake quantization leaves the average as it is, up to half a step away.
  """

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    del mode
    return self._run(x, _average, record.average_pool)


def _average(x, window, strides, padding):
  y = nn.avg_pool(
    x.astype(jnp.float32), window, strides, padding, count_include_pad=False
  )
  return y.astype(x.dtype)


def explicit_padding(
  padding: Padding,
  size: tuple[int, int],
  kernel_size: tuple[int, int],
  strides: tuple[int, int],
) -> tuple[tuple[int, int], tuple[int, int]]:
  """Turns 'SAME' or 'VALID' into ((top, bottom), (left, right))."""
  if padding == 'SAME':
    return same_padding(size, kernel_size, strides)
  if padding == 'VALID':
    return ((0, 0), (0, 0))
  return padding
