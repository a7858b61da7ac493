"""A small quantized network, in our layers and in TensorFlow's operations.

The TensorFlow form takes only numbers from faceqat. Its quantizers are
`tf.quantization.fake_quant_with_min_max_vars(_per_channel)`, its convolutions,
moments and normalisation are those of `tf.nn`, its gradients the tape's.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tensorflow as tf
from flax import traverse_util

from configs import common
from faceqat.quant import layers, pooling, prelu
from faceqat.quant.norm import BatchNorm
from faceqat.quant.observers import Range
from faceqat.quant.quantizers import OutputQuantizer
from faceqat.quant.spec import LayerQuant, Mode, QuantSpec

CLASSES = 8
LEARNING_RATE, MOMENTUM = 0.0625, 0.9
DECAY = 0.9  # Of the activation ranges.
EPSILON, BN_MOMENTUM = 2.0**-10, 0.9

# Factor of a kernel's range over its weights (numerics.widest_weight).
_MARGIN = np.float32(1 + 2.0**-22)
# (kernel name, depthwise, stride, activation); all have batch norm.
_CONVOLUTIONS = {
  'conv': (False, 2, 'relu6'),
  'depthwise': (True, 1, None),
  'project': (False, 1, None),
}
LAYERS = ('conv', 'depthwise', 'prelu', 'project', 'mean', 'dense')

TRAINING = Mode(train=True, quantize=True, observe=True)
FLOAT_TRAINING = Mode(train=True)


class State(NamedTuple):
  """The state between steps: dicts from 'layer/name' to float32 arrays.

  Attributes:
    params: trained.
    trace: momentum of each.
    batch_stats: moving means and variances.
    ranges: [minimum, maximum] of each quantizer; empty before the first step.
  """

  params: Mapping[str, np.ndarray]
  trace: Mapping[str, np.ndarray]
  batch_stats: Mapping[str, np.ndarray]
  ranges: Mapping[str, np.ndarray]


def make_quant(**changes) -> LayerQuant:
  """The quantization of a layer in the configs, with `changes`."""
  return LayerQuant(**{**common.int8().default, **changes})


class Tap(NamedTuple):
  """Input, output and range ([2]) of a quantizer."""

  before: np.ndarray
  after: np.ndarray
  range: np.ndarray


class Step(NamedTuple):
  """A step's result, and the loss, gradients and quantizers on the way."""

  state: State
  loss: float
  gradients: Mapping[str, np.ndarray]
  taps: Mapping[str, Tap]


class Network(nn.Module):
  """3x3 and depthwise convolutions, PReLU, 1x1, mean, dense: [B, 8] logits."""

  quant: LayerQuant = make_quant(decay=DECAY)

  @nn.compact
  def __call__(self, images, mode):
    quant = {'quant': QuantSpec(self.quant, ())}
    norm = {'norm': BatchNorm(BN_MOMENTUM, EPSILON), **quant}
    x = layers.input_image(images)
    x = layers.QuantConv(
      features=8, strides=(2, 2), activation='relu6', name='conv', **norm
    )(x, mode)
    x = layers.QuantConv(depthwise=True, name='depthwise', **norm)(x, mode)
    x = prelu.PReLU(name='prelu', **quant)(x, mode)
    x = layers.QuantConv(
      features=16, kernel_size=(1, 1), name='project', **norm
    )(x, mode)
    x = pooling.MeanPool(name='mean', **quant)(x, mode)
    return layers.QuantDense(
      features=CLASSES, use_bias=True, norm=None, name='dense', **quant
    )(x, mode)


def initial_state(images: np.ndarray) -> State:
  """The state before training; its weights come from seed 0."""
  variables = jax.jit(Network().init, static_argnums=2)(
    jax.random.key(0), images, TRAINING
  )
  params = _flatten(variables['params'])
  return State(
    params=params,
    trace={name: np.zeros_like(value) for name, value in params.items()},
    batch_stats=_flatten(variables['batch_stats']),
    ranges={},
  )


def _flatten(tree):
  flat = traverse_util.flatten_dict(tree, sep='/')
  return {name: np.asarray(value) for name, value in flat.items()}


def _nest(flat):
  return traverse_util.unflatten_dict(dict(flat), sep='/')


# Ours.


def make_our_step(
  mode: Mode, *, quant: LayerQuant = Network.quant, linear: bool = False
) -> Callable[[State, np.ndarray, np.ndarray], Step]:
  """Returns (state, images, labels) -> Step, compiled, by our layers.

  Args:
    mode: of training.
    quant: of every layer.
    linear: the loss is not the cross-entropy but minus the mean logit of the
      label, which rounds nothing where batch size and scales are powers of 2.
  """
  network = Network(quant)

  @jax.jit
  def run(params, trace, stats, images, labels):
    def loss_fn(params):
      taps = {}

      def watch(next_fun, args, kwargs, context):
        result = next_fun(*args, **kwargs)
        if (
          isinstance(context.module, OutputQuantizer)
          and context.method_name == '__call__'
        ):
          limits = jnp.stack(context.module.range.value[:2])
          taps[context.module.path[0]] = Tap(args[0], result, limits)
        return result

      with nn.intercept_methods(watch):
        logits, updated = network.apply(
          {'params': params, **stats}, images, mode, mutable=list(stats)
        )
      if linear:
        losses = -jnp.take_along_axis(logits, labels[:, None], 1)
      else:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      return losses.mean(), (updated, taps)

    (loss, (updated, taps)), gradients = jax.value_and_grad(
      loss_fn, has_aux=True
    )(params)
    trace = jax.tree.map(lambda t, g: MOMENTUM * t + g, trace, gradients)
    params = jax.tree.map(lambda p, t: p - LEARNING_RATE * t, params, trace)
    return params, trace, updated, loss, gradients, taps

  def quant_stats(ranges):
    unset = np.zeros(2, np.float32)
    return {
      name: {
        'quantizer': {
          'range': Range(*ranges.get(name, unset), np.int32(name in ranges))
        }
      }
      for name in LAYERS
    }

  def step(state, images, labels):
    stats = {
      'batch_stats': _nest(state.batch_stats),
      'quant_stats': quant_stats(state.ranges),
    }
    params, trace, updated, loss, gradients, taps = jax.device_get(
      run(_nest(state.params), _nest(state.trace), stats, images, labels)
    )
    ranges = {name: tap.range for name, tap in taps.items()}
    state = State(
      _flatten(params),
      _flatten(trace),
      _flatten(updated['batch_stats']),
      ranges,
    )
    taps = {name: taps[name] for name in LAYERS if name in taps}
    return Step(state, float(loss), _flatten(gradients), taps)

  return step


# TensorFlow's.


class _TensorFlowNetwork:
  """One forward pass of the network in TensorFlow's operations.

  Attributes:
    taps, batch_stats: of that pass, as in `Step` and `State`.
  """

  def __init__(self, params, state, mode, quant, dtype, replaced):
    self._params = {k: tf.cast(v, dtype) for k, v in params.items()}
    self._state, self._mode, self._dtype = state, mode, dtype
    self._quant, self._replaced = quant, replaced
    self.taps, self.batch_stats = {}, {}

  def __call__(self, images) -> tf.Tensor:
    x = (tf.cast(images, self._dtype) - 128) / 128
    for name in ('conv', 'depthwise'):
      x = self._convolution(name, x)
    x = self._prelu(x)
    x = self._convolution('project', x)
    x = self._output('mean', tf.reduce_mean(x, (1, 2)))
    kernel = self._kernel_quantizer('dense', self._params['dense/kernel'])
    return self._output('dense', x @ kernel + self._params['dense/bias'])

  def _convolution(self, name, x):
    depthwise, stride, activation = _CONVOLUTIONS[name]
    kernel = self._params[f'{name}/kernel']
    scale = self._params[f'{name}/bn/scale']
    offset = self._params[f'{name}/bn/bias']
    stats = {
      which: tf.cast(self._state.batch_stats[f'{name}/bn/{which}'], self._dtype)
      for which in ('mean', 'var')
    }
    factor = tf.ones_like(scale)
    if self._mode.quantize:
      # A root and a quotient, each rounded once. The last bits of
      # tf.math.rsqrt depend on the processor, and the exact step needs them.
      factor = scale * (1 / np.sqrt((stats['var'] + EPSILON).numpy()))
      if self._mode.batch_statistics:
        factor = tf.stop_gradient(factor)
    kernel = self._kernel_quantizer(name, kernel * factor)
    strides = [1, stride, stride, 1]
    if depthwise:
      kernel = tf.transpose(kernel, (0, 1, 3, 2))
      x = tf.nn.depthwise_conv2d(x, kernel, strides, 'SAME')
    else:
      x = tf.nn.conv2d(x, kernel, strides, 'SAME')
    if self._mode.batch_statistics:
      mean, var = tf.nn.moments(x, (0, 1, 2))
      # The moving statistics have scaled the product.
      x = tf.nn.batch_normalization(
        x, mean, var, offset, scale * tf.sign(factor), EPSILON * factor**2
      )
      for which, batch in (('mean', mean / factor), ('var', var / factor**2)):
        stats[which] += (1 - BN_MOMENTUM) * (batch - stats[which])
    else:
      x += offset - stats['mean'] * factor
    for which, moved in stats.items():
      self.batch_stats[f'{name}/bn/{which}'] = moved
    return self._output(name, tf.nn.relu6(x) if activation == 'relu6' else x)

  def _prelu(self, x):
    alpha = self._params['prelu/alpha']
    if self._mode.quantize:
      widest = tf.reduce_max(tf.abs(tf.cast(alpha, tf.float32))) * _MARGIN
      bits = self._quant.weight_bits
      alpha = _fake_quant(alpha, -widest, widest, bits, narrow_range=True)
      alpha = tf.cast(alpha, self._dtype)
    return self._output('prelu', tf.where(x >= 0, x, alpha * x))

  def _kernel_quantizer(self, name, kernel):
    if not self._mode.quantize:
      return kernel
    axes = list(range(len(kernel.shape) - 1))
    magnitude = tf.abs(tf.stop_gradient(tf.cast(kernel, tf.float32)))
    widest = tf.reduce_max(magnitude, axes) * _MARGIN
    bits = self._quant.weight_bits
    quantized = _fake_quant(kernel, -widest, widest, bits, narrow_range=True)
    self.taps[f'{name}/kernel'] = Tap(kernel, quantized, widest)
    return tf.cast(quantized, self._dtype)

  def _output(self, name, x):
    if not self._mode.quantize:
      self.taps[name] = Tap(x, x, tf.zeros(2))
      return x
    if name in self._replaced:
      # The value is the given one, the gradient passes on to x.
      x += tf.stop_gradient(tf.cast(self._replaced[name], self._dtype) - x)
    limits = self._state.ranges.get(name)  # [2] or None
    if self._mode.observe:
      ends = [tf.minimum(tf.reduce_min(x), 0), tf.maximum(tf.reduce_max(x), 0)]
      batch = tf.stop_gradient(tf.cast(tf.stack(ends), tf.float32))
      if limits is None:
        limits = batch
      else:
        limits += (1 - self._quant.decay) * (batch - limits)
    y = _fake_quant(x, limits[0], limits[1], self._quant.activation_bits)
    self.taps[name] = Tap(x, y, tf.convert_to_tensor(limits))
    return tf.cast(y, self._dtype)


def _fake_quant(x, minimum, maximum, bits, narrow_range=False):
  """TensorFlow's, which exists in float32 only; the range has no gradient."""
  op = (
    tf.quantization.fake_quant_with_min_max_vars_per_channel
    if np.ndim(minimum)
    else tf.quantization.fake_quant_with_min_max_vars
  )
  limits = (tf.stop_gradient(limit) for limit in (minimum, maximum))
  x = tf.cast(x, tf.float32)
  return op(x, *limits, num_bits=bits, narrow_range=narrow_range)


def tensorflow_step(
  state: State,
  images: np.ndarray,
  labels: np.ndarray,
  mode: Mode,
  *,
  quant: LayerQuant = Network.quant,
  linear: bool = False,
  dtype: tf.DType = tf.float32,
  replaced: Mapping[str, np.ndarray] | None = None,
) -> Step:
  """The same step by TensorFlow, op by op (eager).

  Args:
    state: before it.
    images: [B, H, W, 3] uint8.
    labels: [B] int32.
    mode, quant, linear: as for `make_our_step`.
    dtype: in which everything but the quantizers is computed.
    replaced: by layer, the input of its quantizer in place of the computed
      one.
  """
  params = {k: tf.convert_to_tensor(v) for k, v in state.params.items()}
  with tf.GradientTape() as tape:
    tape.watch(params)
    network = _TensorFlowNetwork(
      params, state, mode, quant, dtype, replaced or {}
    )
    logits = network(images)
    if linear:
      losses = -tf.gather(logits, labels, batch_dims=1)
    else:
      losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    loss = tf.reduce_mean(losses)
  gradients = tape.gradient(loss, params)
  trace = {k: MOMENTUM * state.trace[k] + g for k, g in gradients.items()}
  params = {k: params[k] - LEARNING_RATE * t for k, t in trace.items()}
  params, trace, stats, gradients, taps = tf.nest.map_structure(
    lambda value: value.numpy(),
    (params, trace, network.batch_stats, gradients, network.taps),
  )
  stats = {k: v.astype(np.float32) for k, v in stats.items()}
  ranges = {k: taps[k].range for k in LAYERS} if mode.quantize else {}
  return Step(State(params, trace, stats, ranges), float(loss), gradients, taps)
