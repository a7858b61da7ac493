"""Weights of up to 4 bits, two to a byte, alone and in a program's file."""

import dataclasses

import numpy as np
import pytest
import safetensors.numpy
from small_programs import small_program

from faceqat.integer import packing, program, program_file


@pytest.mark.parametrize('shape', [(16,), (1,), (3, 3, 1, 5), (7, 3), (2, 1)])
def test_unpacking_gives_what_was_packed(shape):
  values = np.random.default_rng(0).integers(-8, 8, shape, np.int8)
  packed = packing.pack(values)
  assert packed.shape == ((values.size + 1) // 2,)
  unpacked = packing.unpack(packed, shape)
  assert unpacked.dtype == np.int8
  np.testing.assert_array_equal(unpacked, values)


def test_the_low_nibble_comes_first():
  packed = packing.pack(np.array([1, -2, 7], np.int8))
  np.testing.assert_array_equal(packed, [0xE1, 0x07])


@pytest.mark.parametrize(
  ('packed', 'shape', 'message'),
  [
    (np.zeros(4, np.uint8), (9,), r'asks for uint8\[5\]'),
    (np.zeros(4, np.uint8), (3, 2), r'asks for uint8\[3\]'),
    (np.zeros(4, np.int8), (8,), 'packed weights are int8'),
    (np.zeros((2, 2), np.uint8), (8,), r'are uint8\[2, 2\]'),
    (np.full(4, 0x11, np.uint8), (7,), 'a nibble that is not 0'),
    (np.zeros(4, np.uint8), (-8,), 'the shape of packed weights'),
    (np.zeros(4, np.uint8), (8.0,), 'the shape of packed weights'),
    (np.zeros(4, np.uint8), 8, 'the shape of packed weights'),
    (np.zeros(4, np.uint8), (2**24,) * 9, 'asks for uint8'),
  ],
)
def test_what_is_not_so_many_nibbles_is_refused(packed, shape, message):
  with pytest.raises(ValueError, match=message):
    packing.unpack(packed, shape)


def make_program(bits):
  """Its dense layer has an odd number of weights."""
  return small_program(bits, image=(5, 5, 3), channels=33)


@pytest.mark.parametrize('bits', range(2, 9))
def test_a_file_holds_up_to_4_bits_in_half_the_bytes(tmp_path, bits):
  path = tmp_path / 'network'
  saved = make_program(bits)
  program.save(saved, path)
  stored = safetensors.numpy.load_file(path)['embedding:weights']
  assert stored.nbytes == ((75 * 33 + 1) // 2 if bits <= 4 else 75 * 33)
  loaded = program.load(path).operators[1]
  for field in dataclasses.fields(loaded):
    wanted = getattr(saved.operators[1], field.name)
    np.testing.assert_array_equal(getattr(loaded, field.name), wanted)
  assert loaded.weights.dtype == np.int8


def rewrite(path, change):
  """Changes the dense layer's fields and weights under a correct digest."""
  description, arrays = program_file.read(path)
  weights = change(
    description['operators'][1], arrays['embedding:weights'].copy()
  )
  path.write_bytes(
    program_file.to_bytes(description, {**arrays, 'embedding:weights': weights})
  )


def set_shape(shape):
  return lambda fields, weights: fields.update(packed_shape=shape) or weights


def set_byte(value):
  def change(fields, weights):
    weights[0] = value
    return weights

  return change


DAMAGED = {
  'cut': (
    lambda fields, weights: weights[:-1],
    "Operator 'embedding': packed weights",
  ),
  'longer': (lambda fields, weights: np.append(weights, weights), 'asks for'),
  'other type': (lambda fields, weights: weights.view(np.int8), 'asks for'),
  'half the columns': (set_shape([75, 16]), 'asks for'),
  'turned': (set_shape([33, 75]), 'weight_scale has shape'),
  'flat': (set_shape([75 * 33]), 'with 2 dimensions'),
  'no shape': (set_shape(None), 'the shape of packed weights is None'),
  'shape missing': (
    lambda fields, weights: fields.pop('packed_shape') and weights,
    'weights is uint8',
  ),
  'a weight of -8': (set_byte(0x18), r'4-bit weights must lie in \[-7, 7\]'),
}


@pytest.mark.parametrize(('change', 'message'), DAMAGED.values(), ids=DAMAGED)
def test_a_file_with_damaged_packing_is_refused(tmp_path, change, message):
  path = tmp_path / 'network'
  program.save(make_program(4), path)
  rewrite(path, change)
  with pytest.raises(ValueError, match=message) as info:
    program.load(path)
  assert str(path) in str(info.value)


def test_unpacked_weights_of_format_version_1_are_read(tmp_path):
  path = tmp_path / 'network'
  saved = make_program(4)
  program.save(saved, path)
  weights = saved.operators[1].weights
  rewrite(path, lambda fields, _: fields.pop('packed_shape') and weights)
  np.testing.assert_array_equal(
    program.load(path).operators[1].weights, weights
  )
