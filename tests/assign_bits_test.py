"""A file budget becomes the overrides of a config."""

import json
import types

import command_line
import numpy as np
import pytest
from defaults import layer_quant, make_spec
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
  """The tiny network, with a hundred bytes less."""
  budget = file_size(network) - 100
  return bit_assignment.assign_bits(
    network, images, budget=budget, bits=4
  ), budget


def test_the_file_fits_with_layers_to_spare(assigned, network):
  assignment, budget = assigned
  assert assignment.bytes_before == file_size(network)
  assert assignment.bytes_after <= budget
  assert 0 < len(assignment.lowered) < len(assignment.costs)


def test_a_run_with_these_overrides_has_this_file(assigned, network):
  """By way of the JSON, as a config takes them."""
  assignment, _ = assigned
  config = network.config.copy_and_resolve_references()
  config.quant.overrides = json.loads(json.dumps(assignment.overrides))
  changed = network._replace(model=make_model(config), config=config)
  program = lower(changed)
  assert len(integer_program.to_bytes(program)) == assignment.bytes_after
  for operator in weighted_operators(program):
    low = operator.name in assignment.lowered
    assert operator.weight_bits == (4 if low else 8)
  # The config's own override still holds.
  assert program.tensors['embedding'].zero_point == 0


def test_bytes_saved_are_those_of_the_file(assigned):
  assignment, _ = assigned
  saved = {cost.name: cost.saved for cost in assignment.costs}
  lost = assignment.bytes_before - assignment.bytes_after
  # A safetensors header is padded to 8 bytes.
  gap = abs(lost - sum(saved[name] for name in assignment.lowered))
  assert gap <= 8 * len(saved)
  for cost in assignment.costs:
    # Half a byte a weight; of biases some bits, and the description changes.
    assert abs(cost.saved - cost.weights // 2) < 80


def test_its_cosines_are_those_of_fewer_bits(assigned):
  assignment, _ = assigned
  assert assignment.cosines_before.shape == (6,)
  before = 1 - assignment.cosines_before.mean()
  after = 1 - assignment.cosines_after.mean()
  assert 0 < before < after < 0.5


def test_the_least_budget_is_named_and_can_be_met(network, images):
  with pytest.raises(ValueError, match=r'it has [\d,]+; give that') as raised:
    bit_assignment.assign_bits(network, images, budget=1000, bits=4)
  _, _, text = str(raised.value).partition('it has ')
  least = int(text.partition(';')[0].replace(',', ''))
  assignment = bit_assignment.assign_bits(network, images, budget=least, bits=4)
  assert assignment.bytes_after == least
  assert len(assignment.lowered) == len(assignment.costs)


def test_a_layer_keeps_what_another_override_gave_it():
  overrides = {'b*': {'activation_bits': 6}, 'block': {'symmetric': True}}
  default = {'decay': 0.9}
  quant = types.SimpleNamespace(
    overrides=types.SimpleNamespace(to_dict=lambda: dict(overrides))
  )
  spec = make_spec(default, overrides).with_weight_bits(4, ['block', 'bone'])
  network = types.SimpleNamespace(model=types.SimpleNamespace(quant=spec))
  got = bit_assignment._overrides(quant, network, ['block', 'bone'])
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
  # Later patterns hold: their order is part of it.
  assert list(written.items()) == list(assignment.overrides.items())
  printed = capsys.readouterr().out
  for cost in assignment.costs:
    (line,) = [x for x in printed.splitlines() if x.startswith(f'{cost.name} ')]
    assert (line.split()[-1] == '4') == (cost.name in assignment.lowered)
  assert f'{assignment.bytes_after:,}' in printed
  config = types.SimpleNamespace(quant=types.SimpleNamespace())
  start = printed.index('config.quant.overrides')
  exec(printed[start : printed.index('\n}', start) + 2], {'config': config})
  assert config.quant.overrides == written


def test_a_file_in_the_place_of_the_folder_is_left_alone(
  quantized_run, tmp_path
):
  out = tmp_path / 'bits.json'
  out.write_bytes(b'mine')
  with pytest.raises(ValueError, match=r'bits\.json is a file; give a fol'):
    run_main(quantized_run[0], budget=10**6, out=str(out))
  assert out.read_bytes() == b'mine'
