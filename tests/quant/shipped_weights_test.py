"""The weights of a program: those that the model multiplied by, or none."""

import functools

import integer_oracle as oracle
import jax
import layer_network as table
import numpy as np
import pytest
from defaults import make_spec

from faceqat.integer import operators as ops
from faceqat.quant import layers, prelu
from faceqat.quant.quantizers import fake_quant_kernel
from faceqat.quant.spec import FAKE_QUANT, Mode
from faceqat.quant.weightless import Flatten

SHAPE = (8, 8, 3)
QAT = Mode(train=True, quantize=True)
FROZEN = Mode(train=True, quantize=True, freeze_bn=True)


def with_ties(variables, bits, per_channel):
  """The same, but for weights: folded, they lie halfway between two steps.

  To within some units in the last place, as the fold rounds.
  """
  rng = np.random.default_rng(0)
  upper = 2 ** (bits - 1) - 1
  params = dict(variables['params'])
  for name, own in params.items():
    key = 'alpha' if name == 'prelu' else 'kernel'
    if key not in own:
      continue
    scale, factor = rng.uniform(0.01, 0.03), 1.0
    if 'bn' in own:
      var = variables['batch_stats'][name]['bn']['var']
      factor = np.float64(own['bn']['scale']) / np.sqrt(np.float64(var) + 1e-3)
    shape = own[key].shape
    if per_channel and key == 'kernel':
      scale = scale * rng.uniform(0.5, 2, shape[-1])
    steps = rng.integers(-upper, upper, shape) + 0.5
    # What sets the scale.
    steps.reshape(-1, shape[-1])[0] = upper
    own = {**own, key: np.float32(steps * scale / factor)}
    if 'kernel_step' in own:
      own['kernel_step'] = np.float32(scale)
    params[name] = own
  return {**variables, 'params': params}


# What each mode multiplies by is a question of the mode and not of the bits.
MODES = {'default': (FAKE_QUANT, QAT, FROZEN), 'learned': (FAKE_QUANT, QAT)}
TIED = {
  'default': {},
  'coarse_per_tensor': {'weight_bits': 3, 'per_channel': False},
  'learned': {'weight_bits': 4, 'learned_steps': True},
}


class Weighted(table.LayerTable):
  """A layer for each way from weights to a kernel."""

  layers = {
    'conv': table.conv('image', **table.STRIDED, activation='relu6'),
    'biased': table.conv('conv', **table.BIAS),
    'bare': table.conv('biased', **table.POINTWISE),
    'prelu': (prelu.PReLU, {}, ('bare',)),
    'depthwise': table.depthwise('prelu', **table.STRIDED),
    'depthwise_biased': table.depthwise('depthwise', **table.BIAS),
    'flatten': (Flatten, {}, ('depthwise_biased',)),
    'dense': table.dense('flatten', 6, activation='relu'),
    'embedding': table.dense('dense', 6, **table.BIAS),
  }


@pytest.fixture(scope='module')
def calibrated():
  images = np.random.default_rng(3).integers(0, 256, (8, *SHAPE), np.uint8)
  variables = table.random_variables(Weighted(), SHAPE)
  return images, table.calibrate(Weighted(), variables, images)


@pytest.mark.parametrize('which', TIED)
def test_every_weight_ships_as_the_model_multiplied_by_it(
  monkeypatch, which, calibrated
):
  fields = TIED[which]
  images, variables = calibrated
  network = Weighted(make_spec(fields, {}))
  if fields.get('learned_steps'):
    params = table.random_variables(network, SHAPE)['params']
    # Any step will do for an activation.
    params = jax.tree_util.tree_map_with_path(
      lambda path, leaf: leaf + 0.05 if 'quantizer' in str(path) else leaf,
      params,
    )
    variables = {**variables, 'params': params}
  variables = with_ties(
    variables, fields.get('weight_bits', 8), fields.get('per_channel', True)
  )
  program = table.lower(network, variables, SHAPE)
  shipped = {}
  for op in program.operators:
    if isinstance(op, (ops.Conv2D, ops.Dense)):
      shipped[op.name] = op.weights * op.weight_scale
    elif isinstance(op, ops.PReLU):
      shipped[op.name] = op.alpha * np.float32(op.alpha_scale)
  seen = []

  def spy(*args, **kwargs):
    seen.append(fake_quant_kernel(*args, **kwargs))
    return seen[-1]

  for module in (layers, prelu):
    monkeypatch.setattr(module, 'fake_quant_kernel', spy)

  @functools.partial(jax.jit, static_argnames='mode')
  def run(variables, images, mode):
    seen.clear()
    y, _ = network.apply(variables, images, mode, mutable=['batch_stats'])
    # Both, so that the kernels are those that the layers read.
    return y, tuple(seen)

  names = [name for name in network.layers if name in shipped]
  assert len(names) == len(network.layers) - 1
  for mode in MODES.get(which, (FAKE_QUANT,)):
    _, kernels = run(variables, images, mode)
    for name, kernel in zip(names, kernels, strict=True):
      np.testing.assert_array_equal(
        shipped[name], kernel, err_msg=f'{name}, {mode}'
      )


class Biased(table.LayerTable):
  """A convolution whose weights are all 0 or next to it, and one behind it."""

  layers = {
    'first': table.conv('image', features=4, **table.BIAS),
    'last': table.conv('first', features=4, **table.BIAS),
  }


@pytest.mark.parametrize('per_channel', [True, False])
@pytest.mark.parametrize('size', [0, 1e-12])
def test_a_kernel_of_zeros_gives_its_bias(size, per_channel):
  model = Biased(make_spec({'per_channel': per_channel}, {}))
  images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
  variables = table.random_variables(model, images.shape[1:])
  first = variables['params']['first']
  first['kernel'] *= size
  first['bias'] = np.float32([3.2, -0.7, 0, 1e-3])
  variables = table.calibrate(model, variables, images)
  program = table.lower(model, variables, images.shape[1:])
  (first, _), tensor = program.operators, program.tensors['first']
  # Of 24 bits, where there is one; and alike where the layer has one scale.
  steps = first.weight_scale * np.float64(1 / 128)
  error = np.abs(first.bias * steps - [3.2, -0.7, 0, 1e-3])
  assert np.all(error <= 3.2 * 2.0**-24)
  assert not per_channel or np.abs(first.bias).max() <= 2**24
  assert len(set(first.weight_scale)) == 1 or per_channel
  values = oracle.run(program, images)
  for name, value in table.make_evaluator(program, taps=True)(images).items():
    np.testing.assert_array_equal(values[name], value)
  _, seen = model.apply(
    variables, images, FAKE_QUANT, mutable=['intermediates']
  )
  (fake,) = seen['intermediates']['first']['output']
  wanted = np.rint(np.float64(fake) / tensor.scale) + tensor.zero_point
  np.testing.assert_array_equal(values['first'], wanted)


@pytest.mark.parametrize('wrong', [np.nan, np.inf])
@pytest.mark.parametrize(
  ('layer', 'path'),
  [
    ('same', ('kernel',)),
    ('depthwise', ('bn', 'scale')),
    ('dense', ('bn', 'var')),
    ('pointwise', ('bias',)),
    ('prelu', ('alpha',)),
  ],
)
def test_a_weight_that_is_no_number_is_named(layer, path, wrong):
  network, variables, _, _ = table.lowered()
  variables = jax.tree.map(np.array, variables)
  collection = 'batch_stats' if path[-1] == 'var' else 'params'
  tree = variables[collection][layer]
  for key in path[:-1]:
    tree = tree[key]
  tree[path[-1]].reshape(-1)[[1, 3]] = wrong
  size = tree[path[-1]].size
  with pytest.raises(
    ValueError,
    match=f'layer {layer}: 2 of {size} values of its {"/".join(path)} are NaN',
  ):
    table.lower(network, variables, table.IMAGE)


@pytest.mark.filterwarnings('ignore:invalid value:RuntimeWarning')
def test_a_fold_that_overflows_is_named():
  network, variables, _, _ = table.lowered()
  variables = jax.tree.map(np.array, variables)
  variables['batch_stats']['same']['bn']['var'][:] = -1
  with pytest.raises(ValueError, match=r'layer same: .* kernel folded with bn'):
    table.lower(network, variables, table.IMAGE)
