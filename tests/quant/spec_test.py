"""The settings that quantizers accept, and the layers they apply to."""

import dataclasses

import pytest
from defaults import layer_quant, make_spec

from faceqat.quant.spec import Mode, QuantSpec

BITS = ('weight_bits', 'activation_bits')
WRONG = {
  'choose a whole number from 2 to 8': [
    (field, bits)
    for field in BITS
    for bits in (1, 9, 0, -8, 16, 4.0, '8', True, None)
  ],
  'ema, minmax, mse, percentile': [('observer', 'median')],
  'lsq, mse': [('step_initialization', 'max')],
  r'it lies in \[0, 1\)': [
    ('decay', decay) for decay in (-0.1, 1.0, float('nan'), '0.5')
  ],
  r'it lies in \(50, 100\]': [
    ('percentile', value) for value in (50, 0.9999, -1, 100.01, float('nan'))
  ],
}


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    (field, value, message)
    for message, values in WRONG.items()
    for field, value in values
  ],
)
def test_a_value_out_of_range_is_refused_and_the_range_named(
  field, value, message
):
  with pytest.raises(ValueError, match=f'^{field} is .*{message}'):
    layer_quant(**{field: value})


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    *((field, bits) for field in BITS for bits in range(2, 9)),
    *(('percentile', value) for value in (50.1, 99.99, 100)),
  ],
)
def test_values_in_range_are_accepted(field, value):
  assert getattr(layer_quant(**{field: value}), field) == value


@pytest.mark.parametrize(
  ('fields', 'observes'),
  [
    ({'observer': 'ema'}, True),
    ({'observer': 'minmax'}, True),
    ({'observer': 'mse'}, False),
    ({'observer': 'percentile'}, False),
    ({'observer': 'ema', 'learned_steps': True}, False),
  ],
)
def test_only_extremes_without_learned_steps_follow_training(fields, observes):
  assert layer_quant(**fields).observes_training == observes


def test_weights_with_learned_steps_are_not_rounded_to_other_bits():
  spec = make_spec({}, {'stem': {'weight_bits': 4, 'learned_steps': True}})
  with pytest.raises(ValueError, match=r'layer stem has learned .* of 4 bits'):
    spec.with_weight_bits(3, iter(['block_3', 'stem']))
  assert spec.with_weight_bits(4, ['stem']).layer('stem') == spec.layer('stem')


def test_the_last_pattern_that_fits_a_layer_holds():
  three, four, five = (layer_quant(weight_bits=bits) for bits in (3, 4, 5))
  spec = QuantSpec(
    layer_quant(),
    overrides=(
      ('block_*', three),
      ('block_*/depthwise', four),
      ('block_1/*', five),
    ),
  )
  assert spec.layer('stem') == layer_quant()
  assert spec.layer('block_0/expand') == three
  assert spec.layer('block_0/depthwise') == four
  assert spec.layer('block_1/depthwise') == five
  assert spec.layer('block_12/depthwise') == four
  # The whole path must fit, and case counts.
  assert spec.layer('my_block_1/depthwise') == layer_quant()
  assert spec.layer('Block_1/depthwise') == layer_quant()


def test_the_order_of_overrides_says_nothing():
  overrides = {
    'block_1/expand': {'weight_bits': 6},
    'block_[12]/*': {'weight_bits': 4},
    '*/expand': {'weight_bits': 3},
  }
  turned = dict(reversed(overrides.items()))
  spec = make_spec(overrides=overrides)
  assert make_spec(overrides=turned) == spec
  names = 'block_1/expand', 'block_2/expand', 'block_3/expand'
  assert [spec.layer(name).weight_bits for name in names] == [6, 4, 3]


def test_an_override_keeps_the_fields_it_does_not_name():
  spec = make_spec(
    {'weight_bits': 4, 'observer': 'minmax'},
    {'embedding': {'symmetric': True}, 'stem': {'weight_bits': 8}},
  )
  default = layer_quant(weight_bits=4, observer='minmax')
  assert spec.default == default
  assert spec.layer('embedding') == dataclasses.replace(default, symmetric=True)
  assert spec.layer('stem') == dataclasses.replace(default, weight_bits=8)


@pytest.mark.parametrize(
  ('default', 'overrides', 'message'),
  [
    ({'bits': 8}, {}, r'quant\.default\.bits is no field of .*weight_bits'),
    (
      {},
      {'stem': {'weight_bit': 8}},
      r"quant\.overrides\['stem'\]\.weight_bit is no field of",
    ),
    ({'weight_bits': 9}, {}, r'quant\.default\.weight_bits is 9'),
    (
      {},
      {'block_*': {'activation_bits': 1}},
      r"quant\.overrides\['block_\*'\]\.activation_bits is 1",
    ),
    (
      {},
      {'stem': {'observer': 'mean'}},
      r"quant\.overrides\['stem'\]\.observer is 'mean'",
    ),
  ],
)
def test_a_wrong_entry_names_itself_and_where_it_stands(
  default, overrides, message
):
  with pytest.raises(ValueError, match=message):
    make_spec(default, overrides)


def test_spec_and_mode_are_static_arguments():
  """jit and flax compare and hash them; equal ones must not compile twice."""
  first = make_spec({'weight_bits': 4}, {'stem': {'weight_bits': 8}})
  second = make_spec({'weight_bits': 4}, {'stem': {'weight_bits': 8}})
  assert first == second
  assert hash(first) == hash(second)
  assert hash(Mode(train=True)) == hash(Mode(train=True))
  assert Mode(train=True) != Mode(train=True, freeze_bn=True)


def test_statistics_of_the_batch_are_used_in_unfrozen_training_only():
  assert Mode(train=True).batch_statistics
  assert not Mode(train=True, freeze_bn=True).batch_statistics
  assert not Mode(quantize=True).batch_statistics


def test_other_weight_bits_leave_all_else_as_it_was():
  spec = make_spec({}, {'block_*': {'activation_bits': 6}, 'b[1]': {}})
  changed = spec.with_weight_bits(4, ['block_3/expand', 'b[1]'])
  assert changed.layer('block_3/expand') == layer_quant(
    weight_bits=4, activation_bits=6
  )
  # A path is no pattern.
  assert changed.layer('b[1]').weight_bits == 4
  assert changed.layer('b1') == spec.layer('b1')
  assert changed.layer('block_4/expand') == spec.layer('block_4/expand')
