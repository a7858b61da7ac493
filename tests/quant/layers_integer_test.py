"""Layers on symbols: the program they record, and the integers it gives."""

import flax.linen as nn
import integer_oracle as oracle
import jax
import layer_network as table
import numpy as np
import pytest
from backbone_checks import cosines
from defaults import make_spec

from faceqat.integer import operators as ops
from faceqat.integer import tracing
from faceqat.quant import pooling, weightless
from faceqat.quant.layers import QuantConv, QuantDense, input_image
from faceqat.quant.prelu import PReLU
from faceqat.quant.quantizers import RangesMissingError
from faceqat.quant.spec import FAKE_QUANT

AVERAGES = {'average_pool', 'average_pool_valid', 'average_pool_explicit'}
# No arithmetic happens in these: a choice of integers, or none.
EXACT = {'relu6', 'flatten', 'max_pool', 'max_pool_valid', 'max_pool_explicit'}
# The runtimes fix how these are quantized.
FIXED = {'sigmoid', 'normalized'}


@pytest.fixture(scope='module')
def expected():
  _, _, images, program = table.lowered()
  return oracle.run(program, images)


def test_every_layer_is_one_operator_under_its_own_name():
  program = table.lowered()[3]
  kinds = {
    QuantConv: ops.Conv2D,
    QuantDense: ops.Dense,
    PReLU: ops.PReLU,
    weightless.Add: ops.Add,
    weightless.Multiply: ops.Mul,
    weightless.Concat: ops.Concat,
    weightless.ReLU6: ops.Clamp,
    weightless.Sigmoid: ops.Logistic,
    weightless.Flatten: ops.Reshape,
    weightless.L2Normalize: ops.L2Normalize,
    pooling.MeanPool: ops.Mean,
    pooling.MaxPool: ops.MaxPool,
    pooling.AveragePool: ops.AveragePool,
    pooling.L2Pool: ops.SquareRoot,
  }
  found = {op.name: type(op) for op in program.operators}
  for name, (kind, _, _) in table.LAYERS.items():
    assert found[name] is kinds[kind]
  assert {*kinds.values(), ops.Requantize} == set(found.values())
  # An operator that no layer records is of no use; prelu_test.py has the last.
  recorded = {*found.values(), ops.SumPReLU}
  assert recorded == set(ops.OPERATORS.values())
  assert program.output == 'embedding'


@pytest.mark.parametrize('name', table.LAYERS)
def test_integers_equal_the_oracle(expected, name):
  got = table.integers()[name]
  np.testing.assert_array_equal(got, expected[name])
  assert len(np.unique(got)) > 30


@pytest.mark.parametrize('name', table.LAYERS)
def test_integers_are_within_a_step_of_fake_quantization(name):
  program, output = table.lowered()[3], table.outputs(FAKE_QUANT)[name]
  tensor = program.tensors[name]
  fake = np.float64(output) / tensor.scale
  difference = np.abs(
    np.rint(fake) + tensor.zero_point - table.integers()[name]
  )
  if name in AVERAGES:
    # Fake quantization does not round these. The device does, halves away
    # from zero, by where the zero point lies; 2^-10 is for float32.
    raw = fake + tensor.zero_point
    away = np.copysign(np.floor(np.abs(raw) + 0.5 + 2.0**-10), raw)
    difference = np.abs(away - table.integers()[name])
    assert np.mean(np.abs(raw - np.rint(raw)) > 0.1) > 0.3
  if name in EXACT | AVERAGES:
    assert difference.max() == 0
    return
  if name == 'l2_pool':
    check_roots(program, output, difference)
    return
  # Not always 0. Fake quantization rounds the real sum once. The device
  # rounds the bias to its accumulator's steps, multiplies with a 31-bit
  # factor and rounds twice, half away from zero: first to a power of two of
  # about the factor's size, then to whole steps. Whatever is that close to a
  # tie may move by one.
  assert difference.max() <= 1
  operator = {op.name: op for op in program.operators}[name]
  source = program.tensors[operator.inputs[0]]
  if name in table.WEIGHTED or isinstance(operator, ops.Mean):
    if name in table.WEIGHTED:
      step = operator.weight_scale.max()
    else:
      step = 1 / np.prod(source.shape[:2])
    width = source.scale * step / tensor.scale
    # Two values more, as some layers have few.
    assert np.mean(difference > 0) <= 2 * width + 2 / difference.size
  else:
    assert np.mean(difference > 0) < 0.03


def check_roots(program, fake, difference):
  """Where roots are more than a step apart, their squares are not."""
  name = 'l2_pool'
  root, square = program.tensors[name], program.tensors[f'{name}/average']
  ours, fake = (
    table.real(program, table.integers()[name], name),
    np.float64(fake),
  )
  # Half a step of the root in either, which is about 2 r of its square.
  slack = square.scale + root.scale * (ours + fake + root.scale)
  assert np.all((difference <= 1) | (np.abs(ours**2 - fake**2) <= slack))
  assert np.mean(difference > 0) < 0.03


def test_the_embedding_stays_close_through_the_whole_network(expected):
  network, variables, images, program = table.lowered()
  fake = jax.jit(lambda v, x: network.apply(v, x, FAKE_QUANT))(
    variables, images
  )
  real = table.real(program, expected[program.output])
  assert cosines(fake, real).min() > 0.99


OVERRIDES = {
  'depthwise*': {'weight_bits': 4},
  'depthwise_global': {'weight_bits': 2, 'per_channel': False},
  'prelu': {'activation_bits': 5, 'weight_bits': 3},
  'dense_excite': {'symmetric': True},
  'valid': {'symmetric': True},
}


def test_overrides_reach_the_program_where_their_pattern_fits():
  _, variables, images, plain = table.lowered()
  network = table.Network(make_spec({'weight_bits': 6}, OVERRIDES))
  program = table.lower(network, variables, table.IMAGE)
  for op in program.operators:
    output, before = program.tensors[op.output], plain.tensors[op.output]
    if isinstance(op, (ops.Conv2D, ops.Dense)):
      bits = 4 if op.name.startswith('depthwise') else 6
      bits = 2 if op.name == 'depthwise_global' else bits
      assert op.weight_bits == bits
      assert np.abs(op.weights).max() == 2 ** (bits - 1) - 1
      shared = op.name == 'depthwise_global'
      assert (len(set(op.weight_scale)) == 1) == shared
    if op.name == 'prelu':
      assert (output.bits, np.abs(op.alpha).max()) == (5, 3)
    elif op.name in ('dense_excite', 'valid'):
      assert (output.zero_point, output.narrow) == (0, True)
      assert before.zero_point != 0
      # A ReLU has to cut here, where the range alone would not.
      assert op.clamp == (0 if op.name == 'valid' else -127, 127)
    elif op.name not in EXACT | AVERAGES:
      assert output.qparams == before.qparams
  values = table.make_evaluator(program, taps=True)(images)
  for name, value in oracle.run(program, images).items():
    np.testing.assert_array_equal(values[name], value, err_msg=name)


def test_an_override_changes_the_layer_and_what_reads_it_alone():
  network, variables, images, _ = table.lowered()
  changed = table.Network(make_spec({}, {'depthwise_s*': {'weight_bits': 2}}))
  run = jax.jit(
    lambda v, x: [
      n.apply(v, x, FAKE_QUANT, mutable=['intermediates'])[1]['intermediates']
      for n in (network, changed)
    ]
  )
  before, after = run(variables, images)
  unquantized = (EXACT | AVERAGES | FIXED) - {'flatten'}
  assert before.keys() == set(variables['quant_stats']) | unquantized
  differing = {
    name
    for name in before
    if not np.array_equal(before[name]['output'][0], after[name]['output'][0])
  }
  assert differing == {
    'depthwise_strided',
    'depthwise_strided_mean',
    'joined',
    'embedding',
  }


@pytest.mark.parametrize('name', ['same', 'prelu', 'mean'])
def test_a_layer_without_a_range_cannot_be_lowered_and_is_named(name):
  network, variables, _, _ = table.lowered()
  ranges = variables['quant_stats']
  unseen = jax.tree.map(np.zeros_like, ranges[name])
  variables = {**variables, 'quant_stats': {**ranges, name: unseen}}
  with pytest.raises(RangesMissingError, match=f'layer {name} has no'):
    table.lower(network, variables, table.IMAGE)


def test_an_operation_without_integer_form_is_named():
  class Halved(nn.Module):
    @nn.compact
    def __call__(self, x, mode):
      return 0.5 * table.Network(name='network')(x, mode)

  _, variables, _, _ = table.lowered()
  variables = {key: {'network': tree} for key, tree in variables.items()}
  with pytest.raises(TypeError, match=r'\*'):
    table.lower(Halved(), variables, table.IMAGE)


def test_an_image_symbol_is_the_network_s_input_unchanged():
  program = table.lowered()[3]
  image = program.tensors[program.input]
  assert (image.scale, image.zero_point) == (1 / 128, 0)
  assert image.shape == table.IMAGE
  traced = tracing.trace(input_image, image_shape=table.IMAGE)
  assert traced.operators == ()


class Dead(table.LayerTable):
  """A ReLU that nothing passes, and a layer behind it."""

  layers = {
    'dead': table.conv('image', **table.BIAS, activation='relu'),
    'alive': table.conv('dead', **table.BIAS),
  }


def test_a_relu_that_was_dead_in_the_calibration_can_be_lowered():
  model = Dead()
  images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
  variables = table.random_variables(model, images.shape[1:])
  variables['params']['dead']['bias'] -= 1000
  variables = table.calibrate(model, variables, images)
  program = table.lower(model, variables, images.shape[1:])
  values = oracle.run(program, images)
  assert np.all(values['dead'] == program.tensors['dead'].zero_point)
  # What is left is the bias of the layer behind it.
  embedding = model.apply(variables, images, FAKE_QUANT)
  np.testing.assert_allclose(
    table.real(program, values['alive']),
    embedding,
    atol=program.tensors['alive'].scale,
  )
