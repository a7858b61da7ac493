"""A network that uses every layer in every geometry, and its variables.

It is a table, so that a test can run any of its layers alone on the very
inputs that another precision saw.
"""

import functools

import flax.linen as nn
import jax
import numpy as np
from defaults import batch_norm, make_spec

from faceqat.integer import tracing
from faceqat.integer.evaluator import make_evaluator
from faceqat.quant.layers import QuantConv, QuantDense, input_image
from faceqat.quant.pooling import AveragePool, L2Pool, MaxPool, MeanPool
from faceqat.quant.prelu import PReLU
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode, QuantSpec
from faceqat.quant.weightless import (
  Add,
  Concat,
  Flatten,
  L2Normalize,
  Multiply,
  ReLU6,
  Sigmoid,
)

# Odd and even sides: 'SAME' pads them differently at stride 2.
IMAGE = (10, 9, 3)
EXPLICIT = ((1, 1), (1, 0))


def conv(source, **fields):
  return QuantConv, {'features': 8, **fields}, (source,)


def depthwise(source, **fields):
  return QuantConv, {'depthwise': True, **fields}, (source,)


def dense(source, features, **fields):
  return QuantDense, {'features': features, **fields}, (source,)


VALID = {'padding': 'VALID'}
STRIDED = {'strides': (2, 2)}
POINTWISE = {'kernel_size': (1, 1), 'norm': None}
BIAS = {'norm': None, 'use_bias': True}
LOPSIDED = {'window': (3, 2), 'strides': (2, 1), **VALID}
AROUND = {'window': (3, 3), 'padding': EXPLICIT}
OVERLAPPING = {'window': (3, 3), 'strides': (1, 2)}

# Name: (module, its fields, names of its inputs).
LAYERS = {
  'same': conv('image', activation='relu6'),
  'same_strided': conv('same', **STRIDED),
  'valid': conv('image', **VALID, activation='relu'),
  'valid_strided': conv('same', **VALID, **STRIDED),
  'explicit': conv('same', padding=EXPLICIT, kernel_size=(3, 2)),
  'explicit_strided': conv('image', padding=EXPLICIT, **STRIDED),
  'pointwise': conv('same', **POINTWISE, use_bias=True),
  'pointwise_bare': conv('same', **POINTWISE),
  'depthwise': depthwise('same', activation='relu6'),
  'depthwise_strided': depthwise('pointwise', **STRIDED),
  'depthwise_valid': depthwise('pointwise', **VALID),
  'depthwise_explicit': depthwise('same', padding=EXPLICIT, **STRIDED),
  'depthwise_global': depthwise('same_strided', **VALID, kernel_size=(5, 5)),
  'prelu': (PReLU, {}, ('pointwise',)),
  'add': (Add, {}, ('pointwise', 'depthwise')),
  'concat': (Concat, {}, ('prelu', 'add')),
  'multiply': (Multiply, {}, ('pointwise', 'depthwise')),
  'relu6': (ReLU6, {}, ('add',)),
  'max_pool': (MaxPool, {}, ('prelu',)),
  'max_pool_valid': (MaxPool, LOPSIDED, ('relu6',)),
  'max_pool_explicit': (MaxPool, AROUND, ('add',)),
  'average_pool': (AveragePool, OVERLAPPING, ('prelu',)),
  'average_pool_valid': (AveragePool, LOPSIDED, ('multiply',)),
  'average_pool_explicit': (AveragePool, AROUND, ('add',)),
  'l2_pool': (L2Pool, OVERLAPPING, ('same',)),
  # A squeeze-and-excitation block.
  'mean_squeeze': (MeanPool, {}, ('explicit',)),
  'dense_squeeze': dense('mean_squeeze', 4, activation='relu'),
  'dense_excite': dense('dense_squeeze', 8, **BIAS),
  'sigmoid': (Sigmoid, {}, ('dense_excite',)),
  'multiply_gate': (Multiply, {}, ('explicit', 'sigmoid')),
  'mean': (MeanPool, {}, ('concat',)),
  'flatten': (Flatten, {}, ('depthwise_global',)),
  'dense': dense('mean', 6, activation='relu'),
  'dense_bias': dense('flatten', 6, **BIAS),
  'normalized': (L2Normalize, {}, ('dense_bias',)),
}
LINEAR = (QuantConv, QuantDense)
WEIGHTED = sorted(
  name for name, (kind, _, _) in LAYERS.items() if kind in LINEAR
)
# What no other layer reads ends in the embedding by way of its mean.
LEAVES = sorted(
  set(LAYERS) - {name for _, _, inputs in LAYERS.values() for name in inputs}
)
FLAT = ('dense', 'normalized')
MEANS = {name: name if name in FLAT else f'{name}_mean' for name in LEAVES}


def _make(layer, **more) -> nn.Module:
  """Makes a layer of a table; one batch sets its moving statistics."""
  kind, fields, _ = layer
  norm = {'norm': batch_norm(momentum=0.0)} if kind in LINEAR else {}
  return kind(**{'quant': make_spec(), **norm, **fields, **more})


def _arguments(layer, inputs) -> list:
  """The arguments of a layer: `Concat` takes its inputs as one list."""
  inputs = list(inputs)
  return [inputs] if layer[0] is Concat else inputs


def make_layer(which: str, **more) -> nn.Module:
  return _make(LAYERS[which], **more)


class LayerTable(nn.Module):
  """Runs the layers of a table in turn; the last makes the embedding."""

  quant: QuantSpec = make_spec()

  # As `LAYERS`, in a subclass.
  layers = {}

  @nn.compact
  def __call__(self, images, mode):
    values = {'image': input_image(images)}
    for name, layer in self.layers.items():
      module = _make(layer, quant=self.quant, name=name)
      arguments = _arguments(layer, map(values.get, layer[2]))
      values[name] = module(*arguments, mode)
    return values[name]


class Network(LayerTable):
  """All of `LAYERS`, and the embedding of what they leave."""

  layers = {
    **LAYERS,
    **{
      mean: (MeanPool, {}, (name,))
      for name, mean in MEANS.items()
      if mean != name
    },
    'joined': (Concat, {}, tuple(MEANS.values())),
    'embedding': dense('joined', 16),
  }


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
  return tracing.trace(
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


def inputs_of(name: str) -> list:
  """The same as the arguments of the layer."""
  return _arguments(LAYERS[name], real_inputs(name))


def variables_of(name: str):
  """The part of the variables of `lowered()` that is a layer's own."""
  return {
    collection: tree[name]
    for collection, tree in lowered()[1].items()
    if name in tree
  }


@functools.cache
def outputs(mode: Mode):
  """What each layer computes in a mode of the program's own inputs."""

  def compute(variables, inputs):
    return {
      name: make_layer(name).apply(variables[name], *inputs[name], mode)
      for name in LAYERS
    }

  computed = jax.jit(compute)(
    {name: variables_of(name) for name in LAYERS},
    {name: inputs_of(name) for name in LAYERS},
  )
  return {name: np.asarray(y) for name, y in computed.items()}


def real(program, values, name: str | None = None):
  """Integers of a tensor of the program, by default its output's, as reals."""
  tensor = program.tensors[name or program.output]
  return tensor.scale * (np.float64(values) - tensor.zero_point)
