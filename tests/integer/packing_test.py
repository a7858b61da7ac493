"""Weights of up to 4 bits, two to a byte, alone and in a program's file."""

import dataclasses

import numpy as np
import pytest
import safetensors.numpy
from program_edits import array, delete, edit, put
from small_programs import small_program

from faceqat.integer import packing, program


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


def weights(make):
  return array('embedding:weights', make)


def shape(value):
  return put('operators', 1, 'packed_shape', value=value)


NO_SHAPE = delete('operators', 1, 'packed_shape')
DAMAGED = {
  'cut': (weights(lambda w: w[:-1]), "Operator 'embedding': packed weights"),
  'longer': (weights(lambda w: np.append(w, w)), 'asks for'),
  'other type': (weights(lambda w: w.view(np.int8)), 'asks for'),
  'half the columns': (shape([75, 16]), 'asks for'),
  'turned': (shape([33, 75]), 'weight_scale has shape'),
  'flat': (shape([75 * 33]), 'with 2 dimensions'),
  'no shape': (shape(None), 'the shape of packed weights is None'),
  'shape missing': (NO_SHAPE, 'weights is uint8'),
  'a weight of -8': (
    weights(lambda w: np.append(np.uint8(0x18), w[1:])),
    r'4-bit weights must lie in \[-7, 7\]',
  ),
}


@pytest.mark.parametrize(('change', 'message'), DAMAGED.values(), ids=DAMAGED)
def test_a_file_with_damaged_packing_is_refused(tmp_path, change, message):
  path = tmp_path / 'network'
  program.save(make_program(4), path)
  edit(path, change)
  with pytest.raises(ValueError, match=message) as info:
    program.load(path)
  assert str(path) in str(info.value)


def test_unpacked_weights_of_format_version_1_are_read(tmp_path):
  path = tmp_path / 'network'
  saved = make_program(4)
  program.save(saved, path)
  unpacked = saved.operators[1].weights
  edit(path, NO_SHAPE)
  edit(path, weights(lambda _: unpacked))
  np.testing.assert_array_equal(
    program.load(path).operators[1].weights, unpacked
  )
