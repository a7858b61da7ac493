"""The comparison of the three precisions, layer by layer."""

import dataclasses
import functools
import json

import flax.linen as nn
import layer_network
import numpy as np
import pytest
from defaults import batch_norm, make_spec

from faceqat.evaluators import agreement
from faceqat.integer import operators as ops
from faceqat.integer import tracing
from faceqat.integer.evaluator import make_evaluator
from faceqat.models.blocks import InvertedResidual
from faceqat.quant.layers import QuantConv, QuantDense, input_image
from faceqat.quant.pooling import MeanPool
from faceqat.quant.spec import FAKE_QUANT, FLOAT, QuantSpec
from faceqat.quant.weightless import Flatten
from faceqat.report.layer_tables import agreement_table

IMAGE = (12, 12, 3)
NAMES = [
  'stem',
  'block/expand',
  'block/depthwise',
  'block/project',
  'block/add',
  'pool',
  'embedding',
]


class Network(nn.Module):
  quant: QuantSpec = make_spec()

  @nn.compact
  def __call__(self, images, mode):
    fields = {'quant': self.quant, 'norm': batch_norm(momentum=0.0)}
    conv = functools.partial(QuantConv, activation='relu6', **fields)
    linear = functools.partial(QuantConv, **fields)
    x = conv(name='stem', features=8, strides=(2, 2))(input_image(images), mode)
    x = InvertedResidual(
      features=8,
      expanded=24,
      strides=1,
      activation='relu6',
      conv=linear,
      name='block',
    )(x, mode)
    x = MeanPool(quant=self.quant, name='pool')(x, mode)
    return QuantDense(features=16, name='embedding', **fields)(x, mode)


@functools.cache
def calibrated():
  images = np.random.default_rng(0).integers(0, 256, (64, *IMAGE), np.uint8)
  variables = layer_network.random_variables(Network(), IMAGE)
  return layer_network.calibrate(Network(), variables, images), images


def compare(network):
  variables, images = calibrated()
  program = layer_network.lower(network, variables, IMAGE)
  return agreement.compare_precisions(
    network, variables, program, images
  ), program


@pytest.fixture(scope='module')
def sound():
  return compare(Network())


def test_layers_come_in_the_order_they_run(sound):
  result, program = sound
  assert [layer.name for layer in result.layers] == NAMES
  for layer in result.layers:
    assert layer.scale == program.tensors[layer.name].scale
    assert layer.bits == 8


def test_a_sound_8_bit_network_agrees(sound):
  result, _ = sound
  for layer in result.layers:
    # Up to 50 dB; half of it stays where batch norm has stretched what little
    # the means of random images differ by.
    assert 20 < layer.float_to_fake < 50
    assert abs(layer.float_to_integer - layer.float_to_fake) < 2
  # In the first layer only ties are rounded otherwise.
  assert result.layers[0].fake_to_integer_steps <= 1
  assert result.layers[0].fake_to_integer_differing < 0.01
  assert result.cosines.shape == (64,)
  assert result.cosines.dtype == np.float64
  assert 0.98 < result.cosines.min() <= result.cosines.max() <= 1
  assert result.cosines.mean() > 0.99


def test_numbers_are_what_their_names_say(sound):
  result, program = sound
  variables, images = calibrated()
  seen = agreement.activations(Network(), variables, images, FAKE_QUANT)
  integers = make_evaluator(program, taps=True)(images)
  for layer in result.layers:
    tensor = program.tensors[layer.name]
    steps = np.float64(integers[layer.name]) - tensor.zero_point
    difference = np.abs(np.rint(seen[layer.name] / tensor.scale) - steps)
    assert layer.fake_to_integer_steps == difference.max()
    assert layer.fake_to_integer_differing == np.mean(difference > 0)
  ratios = {layer.name: layer.float_to_integer for layer in result.layers}
  lost = {layer.name: layer.lost for layer in result.layers}
  assert lost['stem'] == 50 - ratios['stem']
  assert lost['block/project'] == (
    ratios['block/depthwise'] - ratios['block/project']
  )
  # Its worse input is the projection, not the stem.
  assert lost['block/add'] == ratios['block/project'] - ratios['block/add']


def test_ranges_are_those_of_the_integers_and_of_the_float_outputs(sound):
  _, program = sound
  variables, images = calibrated()
  # Of more contrast than those that the ranges were observed on.
  images = np.where(images > 127, 255, 0).astype(np.uint8)
  result = agreement.compare_precisions(Network(), variables, program, images)
  seen = agreement.activations(Network(), variables, images, FLOAT)
  for layer in result.layers:
    tensor = program.tensors[layer.name]
    low, high = layer.range
    assert high - low == pytest.approx(255 * tensor.scale)
    assert low == -(128 + tensor.zero_point) * tensor.scale
    output = seen[layer.name]
    assert layer.float_range == (output.min(), output.max())
    nearest = np.rint(output / tensor.scale) + tensor.zero_point
    clipped = (nearest < -128) | (nearest > 127)
    # But for ties, which are half a step away.
    assert layer.clipped == pytest.approx(np.mean(clipped), abs=1e-3)
  assert max(layer.clipped for layer in result.layers) > 0


def test_json_has_every_field_and_no_infinity(sound):
  result, _ = sound
  layers = (
    dataclasses.replace(result.layers[0], float_to_fake=np.inf, lost=-np.inf),
    *result.layers[1:],
  )
  found = json.loads(
    json.dumps(
      dataclasses.replace(result, layers=layers).to_json(), allow_nan=False
    )
  )
  assert found['images'] == 64
  assert found['worst'] == result.worst.name
  assert found['cosine_mean'] == result.cosines.mean()
  assert found['layers'][0]['float_to_fake'] is None
  assert found['layers'][0]['lost'] is None
  for read, layer in zip(found['layers'][1:], result.layers[1:]):
    read = {k: tuple(v) if type(v) is list else v for k, v in read.items()}
    assert read == dataclasses.asdict(layer)


@pytest.mark.parametrize(
  ('name', 'field'),
  [
    ('stem', 'weight_bits'),
    ('block/depthwise', 'activation_bits'),
    ('block/add', 'activation_bits'),
    ('embedding', 'weight_bits'),
  ],
)
def test_the_worst_layer_is_the_one_with_two_bits(name, field):
  """Though the layers after it are as far from float as it is."""
  result, _ = compare(Network(make_spec({}, {name: {field: 2}})))
  assert result.worst.name == name
  (marked,) = [
    row for row in agreement_table(result).rows if row[-1] == '<- worst'
  ]
  assert marked[0] == name
  assert f'worst layer {name} (loses ' in result.summary()
  before = result.layers[: NAMES.index(name)]
  assert all(layer.float_to_integer > 30 for layer in before)
  assert result.worst.float_to_integer < 10


def test_the_table_has_a_line_for_every_layer(sound):
  result, _ = sound
  table = agreement_table(result)
  assert [row[0] for row in table.rows] == NAMES
  (summary,) = table.notes
  assert summary == result.summary()
  assert summary.startswith('float against integer on 64 images')
  assert f'{result.cosines.mean():.4f}' in summary


def test_ratio_is_power_of_signal_to_power_of_noise_in_decibels():
  rng = np.random.default_rng(0)
  signal = rng.normal(0, 3, 100_000)
  noise = rng.normal(0, 0.03, 100_000)
  # A hundredth in amplitude is 40 dB; 1e5 draws, so 0.1 dB at most off.
  assert agreement.sqnr(signal, signal + noise) == pytest.approx(40, abs=0.1)
  exact = 10 * np.log10(np.sum(signal**2) / np.sum(noise**2))
  assert agreement.sqnr(signal, signal + noise) == pytest.approx(exact)
  assert agreement.sqnr(np.array([3.0, 4.0]), np.zeros(2)) == 0
  assert agreement.sqnr(2.0 * signal, signal) == pytest.approx(20 * np.log10(2))


def test_ratio_of_equal_and_of_silent_signals():
  assert agreement.sqnr(np.ones(3), np.ones(3)) == np.inf
  assert agreement.sqnr(np.zeros(3), np.zeros(3)) == np.inf
  silent = agreement.sqnr(np.zeros(3), np.ones(3))
  assert np.isfinite(silent)
  assert silent < -1000


class Flat(nn.Module):
  """Ends without a layer of its own."""

  @nn.compact
  def __call__(self, images, mode):
    conv = QuantConv(
      features=4,
      kernel_size=(1, 1),
      norm=batch_norm(),
      quant=make_spec(),
      name='conv',
    )
    return Flatten(quant=make_spec(), name='flat')(
      conv(input_image(images), mode), mode
    )


def test_a_program_of_another_model_is_refused():
  variables, images = calibrated()
  program = tracing.trace(
    lambda image: tracing.apply(ops.Reshape, image, name='features'),
    image_shape=IMAGE,
  )
  with pytest.raises(ValueError, match=r'no layer features.*convert'):
    agreement.compare_precisions(Network(), variables, program, images)


def test_activations_are_float32_by_path():
  images = np.zeros((2, 4, 4, 3), np.uint8)
  variables = layer_network.random_variables(Flat(), (4, 4, 3))
  seen = agreement.activations(Flat(), variables, images, FAKE_QUANT)
  assert {name: value.shape for name, value in seen.items()} == {
    'conv': (2, 4, 4, 4)
  }
  assert seen['conv'].dtype == np.float32
