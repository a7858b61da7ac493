"""Linear layers on arrays: Flax's own, and what quantization makes of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import layer_network as table
import numpy as np
import pytest
from backbone_checks import cosines
from defaults import batch_norm, layer_quant, make_spec
from jaxpr_walk import all_equations
from layer_network import inputs_of, variables_of
from tiny_run import leaves

from faceqat.quant import exact, layers, numerics
from faceqat.quant.quantizers import fake_quant_kernel
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode

TRAIN = Mode(train=True)
QAT = Mode(train=True, quantize=True)
FROZEN = Mode(train=True, quantize=True, freeze_bn=True)
NORMED = [
  name for name in table.WEIGHTED if table.LAYERS[name][1].get('norm', True)
]
WITH_BITS = sorted(
  set(table.WEIGHTED) | {'prelu', 'add', 'multiply', 'concat', 'mean'}
)
EPSILON = 1e-3


def flax_linear(name, channels, use_bias):
  kind, fields, _ = table.LAYERS[name]
  if kind is layers.QuantDense:
    return nn.Dense(fields['features'], use_bias=use_bias)
  return nn.Conv(
    fields.get('features', channels),
    fields.get('kernel_size', (3, 3)),
    fields.get('strides', (1, 1)),
    fields.get('padding', 'SAME'),
    feature_group_count=channels if fields.get('depthwise') else 1,
    use_bias=use_bias,
  )


def flax_layer(name, variables, x, train=False):
  """The output of the same layer of Flax, and its moving statistics."""
  params = variables['params']
  linear = flax_linear(name, x.shape[-1], 'bias' in params)
  own = {key: params[key] for key in ('kernel', 'bias') if key in params}
  y, stats = linear.apply({'params': own}, x), {}
  if 'bn' in params:
    norm = nn.BatchNorm(
      use_running_average=not train, momentum=0.0, epsilon=EPSILON
    )
    moving = variables['batch_stats']['bn']
    y, updated = norm.apply(
      {'params': params['bn'], 'batch_stats': moving},
      y,
      mutable=['batch_stats'],
    )
    stats = {'bn': updated['batch_stats']}
  clips = {None: lambda y: y, 'relu': nn.relu, 'relu6': nn.relu6}
  return clips[table.LAYERS[name][1].get('activation')](y), stats


def folded_reference(name, variables, x):
  """Flax's convolution with the quantized folded kernel, then the output's."""
  params = variables['params']
  kernel, bias = params['kernel'], params.get('bias', 0.0)
  if 'bn' in params:
    stats = variables['batch_stats']['bn']
    factor = params['bn']['scale'] * exact.inverse_root(stats['var'] + EPSILON)
    kernel, bias = (
      kernel * factor,
      params['bn']['bias'] - stats['mean'] * factor,
    )
  kernel = fake_quant_kernel(kernel, layer_quant())
  bias = jnp.broadcast_to(bias, kernel.shape[-1:])
  y, _ = flax_layer(name, {'params': {'kernel': kernel, 'bias': bias}}, x)
  minimum, maximum, _ = variables['quant_stats']['quantizer']['range']
  return numerics.fake_quant(y, minimum, maximum)


def run(name, variables, inputs, mode):
  """The output of a layer, and its moving statistics."""
  y, updated = table.make_layer(name).apply(
    variables, *inputs, mode, mutable=['batch_stats']
  )
  return y, updated.get('batch_stats', {})


def with_other_statistics(variables):
  """Moving statistics that are not those of the batch."""
  stats = variables['batch_stats']['bn']
  spread = jnp.sqrt(stats['var'])
  other = {'mean': stats['mean'] - 0.2 * spread, 'var': 1.2 * stats['var']}
  return {**variables, 'batch_stats': {'bn': other}}


@pytest.fixture(scope='module')
def outputs():
  """By layer: outputs and moving statistics, and those of the references."""

  def compute(name, variables, inputs):
    results = {
      'flax': flax_layer(name, variables, *inputs)[0],
      'folded': folded_reference(name, variables, *inputs),
    }
    if name in NORMED:
      other = with_other_statistics(variables)
      results |= {
        'train': run(name, variables, inputs, TRAIN),
        'flax_train': flax_layer(name, variables, *inputs, train=True),
        'qat': run(name, variables, inputs, QAT),
        'served_other': run(name, other, inputs, FAKE_QUANT),
        'frozen_other': run(name, other, inputs, FROZEN),
      }
    return results

  return jax.jit(
    lambda *trees: {
      name: compute(name, *(tree[name] for tree in trees))
      for name in table.WEIGHTED
    }
  )(
    {name: variables_of(name) for name in table.WEIGHTED},
    {name: inputs_of(name) for name in table.WEIGHTED},
  )


def assert_steps(name, got, wanted, share):
  """At most one step apart, and that in at most this share of the outputs."""
  scale = table.lowered()[3].tensors[name].scale
  difference = np.abs(np.asarray(got) - np.asarray(wanted)) / scale
  assert difference.max() < 1.01
  assert np.mean(difference > 0.01) <= share


@pytest.mark.parametrize('name', table.WEIGHTED)
def test_parameters_have_the_names_and_shapes_of_flax(name):
  own = jax.tree.map(jnp.shape, dict(variables_of(name)['params']))
  norm = own.pop('bn', None)
  (x,) = inputs_of(name)
  linear = flax_linear(name, x.shape[-1], 'bias' in own)
  created = jax.eval_shape(linear.init, jax.random.key(0), x)
  assert own == jax.tree.map(lambda leaf: leaf.shape, created['params'])
  if norm is not None:
    assert norm == {name: own['kernel'][-1:] for name in ('scale', 'bias')}


@pytest.mark.parametrize('name', table.WEIGHTED)
def test_float_inference_is_that_of_flax(outputs, name):
  # A folded kernel, and float32 sums of up to 72 products in another order,
  # which in magnitude add up to some twenty: 72 * 2^-24 * 20.
  np.testing.assert_allclose(
    table.outputs(FLOAT)[name], outputs[name]['flax'], rtol=1e-5, atol=1e-4
  )


@pytest.mark.parametrize('name', NORMED)
def test_float_training_and_its_moving_statistics_are_those_of_flax(
  outputs, name
):
  got, stats = outputs[name]['train']
  wanted, updated = outputs[name]['flax_train']
  # Float32 sums of up to 5760 values in another order.
  np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=5e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    dict(stats),
    dict(updated),
  )


@pytest.mark.parametrize('name', table.WEIGHTED)
def test_inference_is_a_convolution_with_the_quantized_folded_kernel(
  outputs, name
):
  # One step where a sum lies within float32 rounding of a tie.
  fake = table.outputs(FAKE_QUANT)[name]
  assert_steps(name, fake, outputs[name]['folded'], 0.002)


@pytest.mark.parametrize('name', NORMED)
def test_training_meets_inference_where_the_statistics_are_the_batch_s(
  outputs, name
):
  """The moving statistics here are the float layer's, close to these."""
  trained, stats = outputs[name]['qat']
  layer = table.make_layer(name)
  variables = {**variables_of(name), 'batch_stats': stats}
  served = jax.jit(lambda v, x: layer.apply(v, x, FAKE_QUANT))(
    variables, *inputs_of(name)
  )
  # Ties again, and the statistics' own rounding.
  assert_steps(name, served, trained, 0.005)


@pytest.mark.parametrize('name', NORMED)
def test_frozen_training_uses_and_keeps_the_moving_statistics(outputs, name):
  frozen, stats = outputs[name]['frozen_other']
  served, kept = outputs[name]['served_other']
  # XLA may sum the same products in another order in either: ties again.
  assert_steps(name, frozen, served, 0.002)
  jax.tree.map(np.testing.assert_array_equal, stats, kept)
  # The batch's own statistics would have been seen.
  own = np.asarray(outputs[name]['qat'][0])
  assert np.mean(own != np.asarray(served)) > 0.3


@pytest.mark.parametrize('mode', [FLOAT, FAKE_QUANT, TRAIN, QAT, FROZEN])
@pytest.mark.parametrize('name', ['same', 'depthwise_strided', 'dense'])
def test_a_training_step_convolves_once(name, mode):
  shapes = [x[:2] for x in inputs_of(name)]
  closed = jax.make_jaxpr(lambda v, *x: run(name, v, x, mode))(
    variables_of(name), *shapes
  )
  primitives = [e.primitive.name for e in all_equations(closed.jaxpr)]
  products = ('conv_general_dilated', 'dot_general')
  count = sum(primitives.count(product) for product in products)
  # The depthwise form is one padding and nine products.
  assert count == (0 if 'depthwise' in name else 1)
  assert primitives.count('pad') == (1 if 'depthwise' in name else 0)


@pytest.mark.parametrize('name', WITH_BITS)
def test_every_quantizer_is_in_the_output(name, coarse):
  y, plain = table.outputs(FAKE_QUANT)[name], table.outputs(FLOAT)[name]
  # Half of what is joined was at the common scale before.
  assert np.mean(y != plain) > (0.3 if name == 'concat' else 0.5)
  for field, changed in coarse[name].items():
    noise = np.mean(np.square(changed - plain))
    # Two bits for eight: steps tens of times wider.
    assert noise > 20 * np.mean(np.square(y - plain)), field
  if 'activation_bits' in coarse[name]:
    assert len(np.unique(coarse[name]['activation_bits'])) <= 4


@pytest.fixture(scope='module')
def coarse():
  """Fake-quantized outputs with two bits for the weights or the output."""

  def compute(variables, inputs):
    results = {}
    for name in WITH_BITS:
      weighted = name in table.WEIGHTED or name == 'prelu'
      fields = ['activation_bits'] + ['weight_bits'] * weighted
      results[name] = {
        field: table.make_layer(name, quant=make_spec({field: 2})).apply(
          variables[name], *inputs[name], FAKE_QUANT
        )
        for field in fields
      }
    return results

  return jax.jit(compute)(
    {name: variables_of(name) for name in WITH_BITS},
    {name: inputs_of(name) for name in WITH_BITS},
  )


def gradients(name, mode):
  """Of a fixed random projection: by the layer's parameters and input."""
  variables, inputs = variables_of(name), inputs_of(name)
  rng = np.random.default_rng(7)

  def project(params, x):
    y, _ = run(name, {**variables, 'params': params}, [x], mode)
    return jnp.sum(jnp.tanh(y) * rng.normal(0, 1, y.shape))

  by_params, by_x = jax.jit(jax.grad(project, (0, 1)))(
    variables['params'], *inputs
  )
  return leaves({**by_params, 'x': by_x})


@pytest.mark.parametrize(
  'name', ['same_strided', 'depthwise_strided', 'pointwise', 'dense', 'prelu']
)
def test_gradients_at_8_bits_are_close_to_the_float_ones(name):
  plain, quantized = gradients(name, TRAIN), gradients(name, QAT)
  assert plain.keys() == quantized.keys()
  for leaf, value in plain.items():
    # Steps of half a percent, and outputs clipped at the observed range.
    assert cosines(value.ravel(), quantized[leaf].ravel()) > 0.99, leaf


def test_pixels_are_read_exactly():
  pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
  real = layers.input_image(jnp.asarray(pixels))
  np.testing.assert_array_equal(real, (pixels.astype(np.float64) - 128) / 128)
  # They have 8 significant bits, as has bfloat16.
  half = layers.input_image(jnp.asarray(pixels), jnp.bfloat16)
  assert half.dtype == jnp.bfloat16
  np.testing.assert_array_equal(half.astype(jnp.float32), real)


def test_float_images_are_refused():
  with pytest.raises(TypeError, match=r'uint8 pixels 0\.\.255; got float32'):
    layers.input_image(jnp.zeros((1, 4, 4, 3)))


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'use_bias': True}, 'layer .*: use_bias is on beside a norm'),
    ({'activation': 'gelu'}, "activation is 'gelu'; choose one of relu, relu6"),
  ],
)
@pytest.mark.parametrize('kind', [layers.QuantConv, layers.QuantDense])
def test_fields_that_do_not_fit_are_refused(kind, fields, message):
  layer = kind(features=4, norm=batch_norm(), quant=make_spec(), **fields)
  x = jnp.ones((1, 4) if kind is layers.QuantDense else (1, 4, 4, 3))
  with pytest.raises(ValueError, match=message):
    layer.init(jax.random.key(0), x, FLOAT)


@pytest.mark.parametrize('name', ['same', 'depthwise', 'dense_bias', 'prelu'])
def test_bfloat16_computes_with_float32_parameters(name):
  weighted = name in table.WEIGHTED
  more = {'dtype': jnp.bfloat16} if weighted else {}
  layer = table.make_layer(name, **more)
  inputs = [x[:4].astype(jnp.bfloat16) for x in inputs_of(name)]
  created = jax.eval_shape(
    lambda *x: layer.init(jax.random.key(0), *x, FLOAT), *inputs
  )
  dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(created)}
  assert dtypes == {'float32', 'int32'}
  variables = variables_of(name)
  y = jax.jit(layer.apply, static_argnums=2)(variables, *inputs, FAKE_QUANT)
  layer, inputs = (
    table.make_layer(name),
    [x.astype(jnp.float32) for x in inputs],
  )
  wanted = jax.jit(layer.apply, static_argnums=2)(
    variables, *inputs, FAKE_QUANT
  )
  assert y.dtype == jnp.bfloat16
  # bfloat16 rounds at 2^-9 relative: inputs, weights, products, output.
  error = np.abs(np.float32(y) - np.float32(wanted)).max()
  assert error < 0.04 * np.abs(wanted).max()
