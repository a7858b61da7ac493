"""A file budget becomes the overrides of a config."""

import dataclasses
import functools
import json
import re
import types

import command_line
import numpy as np
import pytest
from defaults import layer_quant, make_spec
from ml_collections import ConfigDict
from PIL import Image

from faceqat import assign_bits
from faceqat.calibration import bit_assignment
from faceqat.calibration.lower import lower, weighted_operators
from faceqat.data.example_images import spread_training_images
from faceqat.integer import program as integer_program
from faceqat.models.build import make_model
from faceqat.training.checkpoint import load_network


@pytest.fixture(scope='module')
def network(quantized_run):
  return load_network(str(quantized_run[0]))


@pytest.fixture(scope='module')
def images(network):
  return spread_training_images(network.config.data, None, 6)


def file_size(network):
  return len(integer_program.to_bytes(lower(network)))


@pytest.fixture(scope='module')
def assigned(network, images):
  """The tiny network in three quarters of its bytes."""
  budget = file_size(network) * 3 // 4
  [assignment] = bit_assignment.assign_bits(network, images, budgets=[budget])
  return assignment, budget


def test_the_file_fits_with_few_bytes_to_spare(assigned, network):
  assignment, budget = assigned
  assert assignment.bytes_before == file_size(network)
  assert assignment.bytes_after <= budget
  assert 0 < len(assignment.lowered) <= len(assignment.costs)
  assert set(assignment.bits.values()) <= {2, 3, 4, 6, 8}
  assert len(set(assignment.bits.values())) > 1
  # One layer a step up would not fit, or would cost more errors.
  for cost in assignment.costs:
    bits = assignment.bits[cost.name]
    for more in (b for b in cost.sizes if b > bits):
      larger = assignment.bytes_after + cost.sizes[more] - cost.sizes[bits]
      # What the description's compression may gain, and padding.
      assert larger + 24 > budget or cost.errors[more] >= cost.errors[bits]


def test_the_bits_are_those_of_an_exhaustive_search(assigned):
  assignment, _ = assigned
  costs = assignment.costs
  limit = sum(cost.sizes[assignment.bits[cost.name]] for cost in costs)
  sums = {(0, 0.0)}
  for cost in costs:
    sums = {
      (size + cost.sizes[bits], error + cost.errors[bits])
      for size, error in sums
      for bits in cost.sizes
    }
  found = sum(cost.errors[assignment.bits[cost.name]] for cost in costs)
  best = min(error for size, error in sums if size <= limit)
  # Sums of floats in another order.
  np.testing.assert_allclose(found, best, rtol=1e-12)


def test_a_run_with_these_overrides_has_this_file(assigned, network):
  """By way of the JSON, as a config takes them."""
  assignment, _ = assigned
  config = network.config.copy_and_resolve_references()
  config.quant.overrides = json.loads(json.dumps(assignment.overrides))
  changed = network._replace(model=make_model(config), config=config)
  program = lower(changed)
  assert len(integer_program.to_bytes(program)) == assignment.bytes_after
  for operator in weighted_operators(program):
    assert operator.weight_bits == assignment.bits[operator.name]
  # The config's own override still holds.
  assert program.tensors['embedding'].zero_point == 0


def test_sizes_are_those_of_the_file(assigned):
  assignment, _ = assigned
  lost = assignment.bytes_before - assignment.bytes_after
  saved = sum(
    cost.sizes[8] - cost.sizes[assignment.bits[cost.name]]
    for cost in assignment.costs
  )
  # The description is compressed, and the header padded to 8 bytes.
  assert abs(lost - saved) <= 48
  for cost in assignment.costs:
    for bits, size in cost.sizes.items():
      # Beside the weights, a scale and a bias for each channel.
      assert size > cost.weights * bits / 8
      assert cost.sizes[8] - size >= cost.weights * (8 - bits) // 8 - 1


def test_its_cosines_are_those_of_fewer_bits(assigned):
  assignment, _ = assigned
  assert assignment.cosines_before.shape == (6,)
  before = 1 - assignment.cosines_before.mean()
  after = 1 - assignment.cosines_after.mean()
  assert 0 < before < after < 0.5


def test_no_layer_gets_bits_that_were_not_named(network, images):
  budget = file_size(network) - 200
  [assignment] = bit_assignment.assign_bits(
    network, images, budgets=[budget], choices=[4]
  )
  assert set(assignment.bits.values()) == {4, 8}
  assert {n for n, b in assignment.bits.items() if b == 4} == assignment.lowered


def test_the_least_budget_is_named_and_can_be_met(network, images):
  fit = functools.partial(
    bit_assignment.assign_bits, network, images, choices=[4]
  )
  with pytest.raises(
    ValueError, match=r'has 1,000 bytes: .* or more'
  ) as raised:
    fit(budgets=[10**6, 1000])
  least, given = (
    int(number.replace(',', ''))
    for number in re.search(
      r'it has (\S+); give (\S+)', str(raised.value)
    ).groups()
  )
  assert least == given
  more, assignment = fit(budgets=[10**6, least])
  assert not more.lowered
  assert assignment.bytes_after == least
  assert len(assignment.lowered) == len(assignment.costs)
  with pytest.raises(ValueError, match=f'it has {least:,}; give') as raised:
    fit(budgets=[least], spare=0.1)
  needed = int(str(raised.value).split()[-3].replace(',', ''))
  assert 0.9 * (needed - 1) < least <= 0.9 * needed
  [assignment] = fit(budgets=[needed], spare=0.1)
  assert assignment.bytes_after == least


def test_a_layer_keeps_what_another_override_gave_it():
  overrides = {'b*': {'activation_bits': 6}, 'block': {'symmetric': True}}
  default = {'decay': 0.9}
  quant = ConfigDict(
    {
      'default': dataclasses.asdict(make_spec(default, {}).default),
      'overrides': overrides,
    }
  )
  bits = {'block': 4, 'bone': 4, 'bird': 8}
  got = bit_assignment.overrides_with(quant, bits)
  again = make_spec(default, got)
  assert again.layer('block') == layer_quant(
    weight_bits=4, symmetric=True, decay=0.9
  )
  assert again.layer('bone') == layer_quant(
    weight_bits=4, activation_bits=6, decay=0.9
  )
  assert again.layer('bird') == layer_quant(activation_bits=6, decay=0.9)


def test_images_are_spread_over_the_people_of_a_folder(network, tmp_path):
  for person in range(4):
    folder = tmp_path / f'person_{person}'
    folder.mkdir()
    for index in range(3):
      pixels = np.full((32, 32, 3), 50 * person + index, np.uint8)
      Image.fromarray(pixels).save(folder / f'{index}.png')
  got = spread_training_images(network.config.data, str(tmp_path), 4)
  assert got.shape == (4, 32, 32, 3)
  assert got.dtype == np.uint8
  np.testing.assert_array_equal(got[:, 0, 0, 0] // 50, range(4))
  all_images = spread_training_images(network.config.data, str(tmp_path), 99)
  assert len(all_images) == 12


def run_main(model, **flags):
  command_line.run(assign_bits, model=model, **{'num_images': 6, **flags})


def test_the_command_writes_what_it_prints(
  quantized_run, assigned, tmp_path, capsys
):
  assignment, budget = assigned
  out = tmp_path / 'new' / 'bits'
  run_main(quantized_run[0], budget=budget, out=str(out))
  assert [path.name for path in out.iterdir()] == ['bits.json']
  written = json.loads((out / 'bits.json').read_text())
  assert list(written.items()) == list(assignment.overrides.items())
  printed = capsys.readouterr().out
  for cost in assignment.costs:
    (line,) = [x for x in printed.splitlines() if x.startswith(f'{cost.name} ')]
    assert line.split()[-1] == str(assignment.bits[cost.name])
  assert f'{assignment.bytes_after:,}' in printed
  config = types.SimpleNamespace(quant=types.SimpleNamespace())
  start = printed.index('config.quant.overrides')
  exec(printed[start : printed.index('\n}', start) + 2], {'config': config})
  assert config.quant.overrides == written


@pytest.mark.parametrize('bits', ['1', '9', '2,x', '2.5', '04'])
def test_other_bits_are_refused(quantized_run, tmp_path, bits):
  with pytest.raises(ValueError, match='give numbers from 2 to 8'):
    run_main(quantized_run[0], budget=10**6, bits=bits, out=str(tmp_path))


def test_a_file_in_the_place_of_the_folder_is_left_alone(
  quantized_run, tmp_path
):
  out = tmp_path / 'bits.json'
  out.write_bytes(b'mine')
  with pytest.raises(ValueError, match=r'bits\.json is a file; give a fol'):
    run_main(quantized_run[0], budget=10**6, out=str(out))
  assert out.read_bytes() == b'mine'
