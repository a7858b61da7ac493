"""Compares single operations of a training step with TensorFlow's.

The inputs are equal, so each difference has its cause in that operation.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf

from faceqat.quant import batchnorm, convolution, layers, numerics
from faceqat.quant.quantizers import fake_quant_kernel
from tests.support.tensorflow_network import (
  DECAY,
  MOMENTUM,
  State,
  Step,
  make_quant,
)

_F32, _F64 = np.float32, np.float64


class Comparison(NamedTuple):
  """One operation's results.

  Attributes:
    name: of the operation.
    ours, theirs: float32, of one shape.
    exact: float64, or None where there is nothing to sum.
  """

  name: str
  ours: np.ndarray
  theirs: np.ndarray
  exact: np.ndarray | None = None

  @property
  def differing(self) -> int:
    return int(np.sum(np.asarray(self.ours) != np.asarray(self.theirs)))

  def distance(self, which: str, to: str) -> float:
    """Largest difference of two of them, over the largest magnitude."""
    a, b = (np.asarray(getattr(self, name), _F64) for name in (which, to))
    return float(np.abs(a - b).max() / np.abs(b).max())


def _joined(name: str, parts) -> Comparison:
  """One comparison of several arrays."""
  ours, theirs = zip(*parts)
  return Comparison(
    name,
    np.concatenate([np.ravel(value) for value in ours]),
    np.concatenate([np.ravel(value) for value in theirs]),
  )


def compare(
  before: State, ours: Step, theirs: Step, images: np.ndarray
) -> Iterator[Comparison]:
  """Yields each operation of a step, on the values of that step.

  Args:
    before: the step's.
    ours: our step.
    theirs: TensorFlow's, for its quantized kernels.
    images: [B, H, W, 3] uint8.
  """
  yield from _quantizers(ours, theirs)
  yield from _sums(ours, theirs, images)
  yield from _normalization(ours, theirs)
  yield from _update(before, ours)


def _quantizers(ours: Step, theirs: Step) -> Iterator[Comparison]:
  kernels = {k: t for k, t in theirs.taps.items() if k.endswith('kernel')}
  fake_quant = tf.quantization.fake_quant_with_min_max_vars
  yield _joined(
    'quantizers of outputs',
    (
      (tap.after, fake_quant(tap.before, *tap.range))
      for tap in ours.taps.values()
    ),
  )
  yield _joined(
    'quantizers of kernels',
    (
      (
        jax.jit(fake_quant_kernel, static_argnums=1)(tap.before, make_quant()),
        tap.after,
      )
      for tap in kernels.values()
    ),
  )
  rng = np.random.default_rng(0)
  gradients, sums, exact = [], [], []
  for tap in ours.taps.values():
    # A range that leaves some values out, or there would be nothing to sum.
    minimum, maximum = tap.range * _F32(0.7)
    g = rng.normal(size=tap.before.shape).astype(_F32)
    mine = jax.jit(
      lambda x, a, b, g: jax.vjp(numerics.fake_quant, x, a, b)[1](g)
    )(tap.before, minimum, maximum, g)
    other = tf.quantization.fake_quant_with_min_max_vars_gradient(
      g, tap.before, minimum, maximum
    )
    gradients.append((mine[0], other[0]))
    sums.extend(zip(mine[1:], other[1:]))
    clipped = _F64(g) * (np.asarray(mine[0]) != g)
    middle = (minimum + maximum) / 2
    exact += [
      clipped[tap.before < middle].sum(),
      clipped[tap.before > middle].sum(),
    ]
  yield _joined('their gradient', gradients)
  yield _joined("their range's gradient", sums)._replace(exact=np.array(exact))


def _sums(ours: Step, theirs: Step, images) -> Iterator[Comparison]:
  """The convolutions, the mean and the dense layer."""
  image = np.asarray(layers.input_image(images))
  after = {name: tap.after for name, tap in ours.taps.items()}
  for name, x, stride in (
    ('conv', image, 2),
    ('depthwise', after['conv'], 1),
    ('project', after['prelu'], 1),
  ):
    kernel = theirs.taps[f'{name}/kernel'].after
    yield _convolution(x, kernel, stride, name == 'depthwise')
  x = after['project']
  yield Comparison(
    'mean over pixels',
    jax.jit(lambda x: jnp.mean(x, (1, 2)))(x),
    tf.reduce_mean(x, (1, 2)).numpy(),
    x.mean((1, 2), dtype=_F64),
  )
  x, kernel = after['mean'], theirs.taps['dense/kernel'].after
  yield Comparison(
    'dense',
    jax.jit(jnp.matmul)(x, kernel),
    (x @ tf.constant(kernel)).numpy(),
    _F64(x) @ _F64(kernel),
  )


def _convolution(x, kernel, stride, depthwise) -> Comparison:
  """A convolution with 'SAME' padding; a depthwise kernel is [kh, kw, 1, C]."""
  window = kernel.shape[:2]
  padding = convolution.explicit_padding(
    'SAME', x.shape[1:3], window, (stride, stride)
  )

  @jax.jit
  def ours(x, kernel):
    return convolution.conv2d(
      x, kernel, strides=(stride, stride), padding=padding, depthwise=depthwise
    )

  def theirs(dtype):
    operands = [x.astype(dtype), kernel.astype(dtype)]
    op = tf.nn.conv2d
    if depthwise:
      op = tf.nn.depthwise_conv2d
      operands[1] = operands[1].transpose(0, 1, 3, 2)
    return op(*operands, [1, stride, stride, 1], 'SAME').numpy()

  kind = 'depthwise ' if depthwise else ''
  return Comparison(
    f'convolution {kind}{window[0]}x{window[1]}',
    ours(x, kernel),
    theirs(_F32),
    theirs(_F64),
  )


def _normalization(ours: Step, theirs: Step) -> Iterator[Comparison]:
  # Any activations will do.
  x = ours.taps['depthwise'].before
  axes = (0, 1, 2)

  @jax.jit
  def moments(x):
    origin, offset, var = batchnorm.batch_moments(x)
    return origin + offset, var

  mean, var = moments(x)
  tf_mean, tf_var = (value.numpy() for value in tf.nn.moments(x, axes))
  yield Comparison('batch mean', mean, tf_mean, x.mean(axes, dtype=_F64))
  yield Comparison('batch variance', var, tf_var, _F64(x).var(axes))
  positive = np.linspace(0.01, 10, 10_000, dtype=_F32)
  yield Comparison(
    'rsqrt',
    jax.jit(jax.lax.rsqrt)(positive),
    tf.math.rsqrt(positive).numpy(),
    1 / np.sqrt(_F64(positive)),
  )
  factor = 1 / np.sqrt(tf_var)
  offset = np.linspace(-1, 1, x.shape[-1], dtype=_F32)
  mine = jax.jit(lambda x, m, f, b: (x - m) * f + b)(x, tf_mean, factor, offset)
  exact = (_F64(x) - tf_mean) * factor + offset
  plain = (tf.constant(x) - tf_mean) * factor + offset
  yield Comparison('normalisation a * b + c', mine, plain.numpy(), exact)
  yield Comparison(
    'normalisation, fused', mine, _fma(x - tf_mean, factor, offset)
  )


def _fma(a, b, c) -> np.ndarray:
  """a * b + c rounded once: float64 holds a product of two float32 exactly."""
  return _F32(_F64(a) * _F64(b) + c)


def _update(before: State, ours: Step) -> Iterator[Comparison]:
  """Moving averages: `a * b + c` of equal values."""
  momentum, weight = _F32(MOMENTUM), _F32(1 - DECAY)
  traces = [
    (ours.state.trace[name], before.trace[name], gradient)
    for name, gradient in ours.gradients.items()
  ]
  ranges = []
  for name, tap in ours.taps.items():
    batch = min(tap.before.min(), 0), max(tap.before.max(), 0)
    old = before.ranges[name]
    ranges.append((tap.range, _F32(batch) - old, old))
  yield _joined(
    'momentum a * b + c', ((new, momentum * t + g) for new, t, g in traces)
  )
  yield _joined(
    'momentum, fused', ((new, _fma(momentum, t, g)) for new, t, g in traces)
  )
  yield _joined(
    'ranges a * b + c', ((new, weight * d + old) for new, d, old in ranges)
  )
  yield _joined(
    'ranges, fused', ((new, _fma(weight, d, old)) for new, d, old in ranges)
  )
