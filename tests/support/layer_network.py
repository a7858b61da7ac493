"""A network that uses every layer in every geometry, and its variables.

It is a table, so that a test can run any of its layers alone on the very
inputs that another precision saw.
"""

import functools

import flax.linen as nn
import jax
import numpy as np
from defaults import batch_norm, make_spec

from faceqat.integer import record
from faceqat.integer.evaluator import make_evaluator
from faceqat.quant import layers
from faceqat.quant.pooling import L2Pool
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode, QuantSpec

# Odd and even sides: 'SAME' pads them differently at stride 2.
IMAGE = (10, 9, 3)
EXPLICIT = ((1, 1), (1, 0))


def _layer(kind, *inputs, **fields):
  return kind, fields, inputs


def _conv(source, **fields):
  return _layer(layers.QuantConv, source, features=8, **fields)


def _depthwise(source, **fields):
  return _layer(layers.QuantConv, source, depthwise=True, **fields)


def _dense(source, features, **fields):
  return _layer(layers.QuantDense, source, features=features, **fields)


_POINTWISE = {'kernel_size': (1, 1), 'norm': None}
_BIAS = {'norm': None, 'use_bias': True}
_VALID_POOL = {'window': (3, 2), 'strides': (2, 1), 'padding': 'VALID'}
_EXPLICIT_POOL = {'window': (3, 3), 'padding': EXPLICIT}

# Name: (module, its fields, names of its inputs).
LAYERS = {
  'same': _conv('image', activation='relu6'),
  'same_strided': _conv('same', strides=(2, 2)),
  'valid': _conv('image', padding='VALID', activation='relu'),
  'valid_strided': _conv('same', padding='VALID', strides=(2, 2)),
  'explicit': _conv('same', padding=EXPLICIT, kernel_size=(3, 2)),
  'explicit_strided': _conv('image', padding=EXPLICIT, strides=(2, 2)),
  'pointwise': _conv('same', **_POINTWISE, use_bias=True),
  'pointwise_bare': _conv('same', **_POINTWISE),
  'depthwise': _depthwise('same', activation='relu6'),
  'depthwise_strided': _depthwise('pointwise', strides=(2, 2)),
  'depthwise_valid': _depthwise('pointwise', padding='VALID'),
  'depthwise_explicit': _depthwise('same', padding=EXPLICIT, strides=(2, 2)),
  'depthwise_global': _depthwise(
    'same_strided', padding='VALID', kernel_size=(5, 5)
  ),
  'prelu': _layer(layers.PReLU, 'pointwise'),
  'add': _layer(layers.Add, 'pointwise', 'depthwise'),
  'concat': _layer(layers.Concat, 'prelu', 'add'),
  'multiply': _layer(layers.Multiply, 'pointwise', 'depthwise'),
  'relu6': _layer(layers.ReLU6, 'add'),
  'max_pool': _layer(layers.MaxPool, 'prelu'),
  'max_pool_valid': _layer(layers.MaxPool, 'relu6', **_VALID_POOL),
  'max_pool_explicit': _layer(layers.MaxPool, 'add', **_EXPLICIT_POOL),
  'average_pool': _layer(
    layers.AveragePool, 'prelu', window=(3, 3), strides=(1, 2)
  ),
  'average_pool_valid': _layer(layers.AveragePool, 'multiply', **_VALID_POOL),
  'average_pool_explicit': _layer(layers.AveragePool, 'add', **_EXPLICIT_POOL),
  'l2_pool': _layer(L2Pool, 'same', window=(3, 3), strides=(1, 2)),
  # A squeeze-and-excitation block.
  'mean_squeeze': _layer(layers.MeanPool, 'explicit'),
  'dense_squeeze': _dense('mean_squeeze', 4, activation='relu'),
  'dense_excite': _dense('dense_squeeze', 8, **_BIAS),
  'sigmoid': _layer(layers.Sigmoid, 'dense_excite'),
  'multiply_gate': _layer(layers.Multiply, 'explicit', 'sigmoid'),
  'mean': _layer(layers.MeanPool, 'concat'),
  'flatten': _layer(layers.Flatten, 'depthwise_global'),
  'dense': _dense('mean', 6, activation='relu'),
  'dense_bias': _dense('flatten', 6, **_BIAS),
  'normalized': _layer(layers.L2Normalize, 'dense_bias'),
}
# What no other layer reads ends in the embedding by way of its mean.
LEAVES = sorted(
  set(LAYERS) - {name for _, _, inputs in LAYERS.values() for name in inputs}
)


WEIGHTED = sorted(
  name
  for name, (kind, _, _) in LAYERS.items()
  if kind in (layers.QuantConv, layers.QuantDense)
)


def make_layer(which: str, **more) -> nn.Module:
  """Makes a layer of the table; one batch sets its moving statistics."""
  kind, fields, _ = LAYERS[which]
  if which in WEIGHTED and 'norm' not in fields:
    more['norm'] = batch_norm(momentum=0.0)
  return kind(**{'quant': make_spec(), **fields, **more})


def arguments(name: str, inputs) -> list:
  """What a layer is called with: `Concat` takes its inputs as one list."""
  inputs = list(inputs)
  return [inputs] if LAYERS[name][0] is layers.Concat else inputs


class Network(nn.Module):
  """Runs the table; the embedding joins whatever nobody else reads."""

  quant: QuantSpec = make_spec()

  @nn.compact
  def __call__(self, images, mode):
    values = {'image': layers.input_image(images)}
    for name, (_, _, inputs) in LAYERS.items():
      layer = make_layer(name, quant=self.quant, name=name)
      values[name] = layer(*arguments(name, map(values.get, inputs)), mode)
    joined = []
    for name in LEAVES:
      value = values[name]
      if value.ndim == 4:
        pool = layers.MeanPool(quant=self.quant, name=f'{name}_mean')
        value = pool(value, mode)
      joined.append(value)
    joined = layers.Concat(quant=self.quant, name='joined')(joined, mode)
    embedding = layers.QuantDense(
      features=16,
      norm=batch_norm(momentum=0.0),
      quant=self.quant,
      name='embedding',
    )
    return embedding(joined, mode)


def random_variables(model: nn.Module, image_shape, scale=1.0, bias=0.3):
  """Variables drawn about these sizes, for any model; nothing is compiled."""
  rng = np.random.default_rng(0)
  images = jax.ShapeDtypeStruct((1, *image_shape), np.uint8)
  shapes = jax.eval_shape(
    lambda images: model.init(jax.random.key(0), images, FLOAT), images
  )

  def fill(path, leaf):
    name = jax.tree_util.keystr(path[-1:], simple=True)
    if name == 'kernel':
      fan_in = np.prod(leaf.shape[:-1])
      value = rng.normal(0, np.sqrt(2 / fan_in), leaf.shape)
    elif name == 'scale':
      value = scale * rng.uniform(0.6, 1.4, leaf.shape)
      value *= rng.choice([-1, 1], leaf.shape)
    elif name == 'alpha':
      value = rng.uniform(-0.1, 0.5, leaf.shape)
    elif name == 'bias':
      value = rng.normal(bias, 0.3, leaf.shape)
    else:
      value = np.full(leaf.shape, 1 if name == 'var' else 0)
    return value.astype(leaf.dtype)

  return jax.tree_util.tree_map_with_path(fill, shapes)


def calibrate(model: nn.Module, variables, images):
  """Sets the moving statistics and the ranges to those of one batch.

  The model is one with `norm.momentum` 0, or its statistics move only partly.
  """
  run = jax.jit(
    lambda v, x: model.apply(
      v,
      x,
      Mode(train=True, observe=True),
      mutable=['batch_stats', 'quant_stats'],
    )[1]
  )
  return {**variables, **run(variables, images)}


def lower(model: nn.Module, variables, image_shape):
  return record.trace(
    lambda image: model.apply(variables, image, FAKE_QUANT),
    image_shape=image_shape,
  )


@functools.cache
def lowered():
  """The calibrated network: itself, its variables, images and program."""
  network = Network()
  images = np.random.default_rng(3).integers(0, 256, (64, *IMAGE), np.uint8)
  variables = calibrate(network, random_variables(network, IMAGE), images)
  return network, variables, images, lower(network, variables, IMAGE)


@functools.cache
def integers():
  """What the evaluator computes at every tensor of `lowered()`."""
  _, _, images, program = lowered()
  values = make_evaluator(program, taps=True)(images)
  return {name: np.asarray(value) for name, value in values.items()}


def real_inputs(name: str) -> list[np.ndarray]:
  """What the program of `lowered()` gives to a layer, as real numbers."""
  program, values = lowered()[3], integers()
  inputs = []
  for source in LAYERS[name][2]:
    tensor = program.tensors[source]
    steps = np.float32(values[source]) - tensor.zero_point
    inputs.append(steps * np.float32(tensor.scale))
  return inputs
