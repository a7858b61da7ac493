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

# Name: (module, its fields, names of its inputs).
LAYERS = {
  'same': (
    layers.QuantConv,
    {'features': 8, 'activation': 'relu6'},
    ('image',),
  ),
  'same_strided': (
    layers.QuantConv,
    {'features': 8, 'strides': (2, 2)},
    ('same',),
  ),
  'valid': (
    layers.QuantConv,
    {'features': 8, 'padding': 'VALID', 'activation': 'relu'},
    ('image',),
  ),
  'valid_strided': (
    layers.QuantConv,
    {'features': 8, 'padding': 'VALID', 'strides': (2, 2)},
    ('same',),
  ),
  'explicit': (
    layers.QuantConv,
    {'features': 8, 'padding': EXPLICIT, 'kernel_size': (3, 2)},
    ('same',),
  ),
  'explicit_strided': (
    layers.QuantConv,
    {'features': 8, 'padding': EXPLICIT, 'strides': (2, 2)},
    ('image',),
  ),
  'pointwise': (
    layers.QuantConv,
    {
      'features': 8,
      'kernel_size': (1, 1),
      'norm': None,
      'use_bias': True,
    },
    ('same',),
  ),
  'pointwise_bare': (
    layers.QuantConv,
    {'features': 8, 'kernel_size': (1, 1), 'norm': None},
    ('same',),
  ),
  'depthwise': (
    layers.QuantConv,
    {'depthwise': True, 'activation': 'relu6'},
    ('same',),
  ),
  'depthwise_strided': (
    layers.QuantConv,
    {'depthwise': True, 'strides': (2, 2)},
    ('pointwise',),
  ),
  'depthwise_valid': (
    layers.QuantConv,
    {'depthwise': True, 'padding': 'VALID'},
    ('pointwise',),
  ),
  'depthwise_explicit': (
    layers.QuantConv,
    {'depthwise': True, 'padding': EXPLICIT, 'strides': (2, 2)},
    ('same',),
  ),
  'depthwise_global': (
    layers.QuantConv,
    {'depthwise': True, 'padding': 'VALID', 'kernel_size': (5, 5)},
    ('same_strided',),
  ),
  'prelu': (layers.PReLU, {}, ('pointwise',)),
  'add': (layers.Add, {}, ('pointwise', 'depthwise')),
  'concat': (layers.Concat, {}, ('prelu', 'add')),
  'multiply': (layers.Multiply, {}, ('pointwise', 'depthwise')),
  'relu6': (layers.ReLU6, {}, ('add',)),
  'max_pool': (layers.MaxPool, {}, ('prelu',)),
  'max_pool_valid': (
    layers.MaxPool,
    {'window': (3, 2), 'strides': (2, 1), 'padding': 'VALID'},
    ('relu6',),
  ),
  'max_pool_explicit': (
    layers.MaxPool,
    {'window': (3, 3), 'padding': EXPLICIT},
    ('add',),
  ),
  'average_pool': (
    layers.AveragePool,
    {'window': (3, 3), 'strides': (1, 2)},
    ('prelu',),
  ),
  'average_pool_valid': (
    layers.AveragePool,
    {'window': (3, 2), 'strides': (2, 1), 'padding': 'VALID'},
    ('multiply',),
  ),
  'average_pool_explicit': (
    layers.AveragePool,
    {'window': (3, 3), 'padding': EXPLICIT},
    ('add',),
  ),
  'l2_pool': (
    L2Pool,
    {'window': (3, 3), 'strides': (1, 2)},
    ('same',),
  ),
  # A squeeze-and-excitation block.
  'mean_squeeze': (layers.MeanPool, {}, ('explicit',)),
  'dense_squeeze': (
    layers.QuantDense,
    {'features': 4, 'activation': 'relu'},
    ('mean_squeeze',),
  ),
  'dense_excite': (
    layers.QuantDense,
    {'features': 8, 'norm': None, 'use_bias': True},
    ('dense_squeeze',),
  ),
  'sigmoid': (layers.Sigmoid, {}, ('dense_excite',)),
  'multiply_gate': (layers.Multiply, {}, ('explicit', 'sigmoid')),
  'mean': (layers.MeanPool, {}, ('concat',)),
  'flatten': (layers.Flatten, {}, ('depthwise_global',)),
  'dense': (
    layers.QuantDense,
    {'features': 6, 'activation': 'relu'},
    ('mean',),
  ),
  'dense_bias': (
    layers.QuantDense,
    {'features': 6, 'norm': None, 'use_bias': True},
    ('flatten',),
  ),
  'normalized': (layers.L2Normalize, {}, ('dense_bias',)),
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
