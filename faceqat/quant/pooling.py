"""Quantized pooling layers, over windows and over whole images."""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from faceqat.integer import operators as ops
from faceqat.integer import tracing
from faceqat.integer.symbol import Symbol
from faceqat.quant import tensor_scales
from faceqat.quant.convolution import Padding, explicit_padding
from faceqat.quant.quant_layer import QuantLayer, Value
from faceqat.quant.quantizers import OutputQuantizer
from faceqat.quant.spec import Mode

# The device rounds ties of a window's average of squares down in the lower half
# of the range, where roots are far apart. In 8 bits, and windows of up to a
# hundred, nothing else lies as near to a tie.
_BELOW_TIES = 1 - 2.0**-16


class MeanPool(QuantLayer):
  """The mean over height and width: `[B, H, W, C]` to `[B, C]`.

  `LayerQuant.mean` chooses its integer form. 'operator' is the runtimes' MEAN,
  with a range of its own. 'average_pool' is an `AveragePool` over the whole
  image, `<layer>/average`, in the range of its input.
  """

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    if self._own().mean == 'average_pool':
      pool = AveragePool(
        quant=self.quant,
        window=tuple(x.shape[1:3]),
        padding='VALID',
        name='average',
      )
      return self._unranged(
        functools.partial(tracing.apply, ops.Reshape),
        lambda pooled: pooled[:, 0, 0],
        pool(x, mode),
      )

    def mean(x):
      return jnp.mean(x.astype(jnp.float32), axis=(1, 2)).astype(x.dtype)

    return self._quantized(
      mode, functools.partial(tracing.apply, ops.Mean), mean, x
    )


class _WindowPool(QuantLayer):
  """Moves a window over `[B, H, W, C]`; scale and zero point stay.

  `padding` is 'SAME', 'VALID' or ((top, bottom), (left, right)).
  """

  window: tuple[int, int] = (2, 2)
  strides: tuple[int, int] = (2, 2)
  padding: str | Padding = 'SAME'

  def _pool(
    self, kind: type[ops.Operator], pool: Callable[..., jax.Array], x: Value
  ) -> Value:
    geometry = {
      'window': self.window,
      'strides': self.strides,
      'padding': explicit_padding(
        self.padding, x.shape[1:3], self.window, self.strides
      ),
    }
    return self._unranged(
      functools.partial(tracing.apply, kind),
      functools.partial(pool, **geometry),
      x,
      **geometry,
    )


class MaxPool(_WindowPool):
  """The largest value of each window."""

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    del mode

    def pool(x, **geometry):
      return tensor_scales.carry(x, _maximum(x, **geometry))

    return self._pool(ops.MaxPool, pool, x)


class AveragePool(_WindowPool):
  """The average of each window; padding does not count.

  The device rounds it to whole steps of the input. An array does not know
  these, so fake quantization is up to half a step away.
  """

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    del mode
    return self._pool(ops.AveragePool, _average, x)


class L2Pool(_WindowPool):
  """The root of the mean square of each window (Schroff et al. 2015, NN2).

  On the device it is three operators: `<layer>/square` with a quantizer of its
  own, `<layer>/average`, and the root. Squares in 8 bits are coarse near zero:
  where the largest input is 1, the square of inputs below 0.044 is zero, and
  the least root above zero is 0.063, a sixteenth of the range. The gradient at
  a root of zero is zero, as that of a ReLU.
  """

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    square = _Square(quant=self.quant, name='square')
    average = AveragePool(
      quant=self.quant,
      window=self.window,
      strides=self.strides,
      padding=self.padding,
      name='average',
    )

    def root(y):
      return _root(square.rounded(y, mode)).astype(y.dtype)

    y = average(square(x, mode), mode)
    return self._quantized(
      mode, functools.partial(tracing.apply, ops.SquareRoot), root, y
    )


class _Square(QuantLayer):
  """The product of a tensor with itself."""

  def setup(self):
    self.quantizer = OutputQuantizer(self._own())

  def __call__(self, x: Value, mode: Mode) -> Value:
    if isinstance(x, Symbol):
      return tracing.apply(
        ops.Mul, x, x, name=self._tensor, output=self.quantizer.qparams()
      )
    return self._finish(x * x, mode, self.quantizer)

  def rounded(self, average: jax.Array, mode: Mode) -> jax.Array:
    """An average of squares in whole steps of a square, as the device has it.

    A root would enlarge what an `AveragePool` leaves of a step near zero.
    """
    if not mode.quantize:
      return average
    # The quantizer has observed the squares themselves.
    settled = dataclasses.replace(mode, observe=False, initialize_steps=False)
    below_ties = average.astype(jnp.float32) * _BELOW_TIES
    return self.quantizer(below_ties, settled)


def _root(square: jax.Array) -> jax.Array:
  """The square root, with a gradient of zero where it is zero."""
  positive = square > 0
  root = jnp.sqrt(jnp.where(positive, square, 1).astype(jnp.float32))
  return jnp.where(positive, root, 0)


def _maximum(x, window, strides, padding):
  """The maximum of each window; on a CPU equal maxima share the gradient.

  The gradient of XLA's own max pool takes ten times as long there as that of
  slices. At stride 1 one axis is pooled after the other, or the fusion would
  compute all maxima anew for each slice.
  """
  if jax.default_backend() != 'cpu':
    return nn.max_pool(x, window, strides, padding)
  config = ((0, 0, 0), *((*side, 0) for side in padding), (0, 0, 0))
  x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), config)
  passes = [window]
  if tuple(strides) == (1, 1):
    passes = [(window[0], 1), (1, window[1])]
  for part in passes:
    x = functools.reduce(jnp.maximum, _slices(x, part, strides))
    x = lax.optimization_barrier(x)
  return x


def _slices(x, window, strides):
  """Yields, for each element of a window, all that it passes over."""
  rows, columns = (
    (size - width) // stride * stride + 1
    for size, width, stride in zip(x.shape[1:3], window, strides)
  )
  for i, j in itertools.product(*map(range, window)):
    yield x[:, i : i + rows : strides[0], j : j + columns : strides[1]]


def _average(x, window, strides, padding):
  y = nn.avg_pool(
    x.astype(jnp.float32), window, strides, padding, count_include_pad=False
  )
  return y.astype(x.dtype)
