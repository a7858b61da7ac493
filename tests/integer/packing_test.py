"""Integers of a few bits, alone and in a program's file."""

import dataclasses
import pathlib
import zlib

import numpy as np
import pytest
import safetensors.numpy
from program_edits import array, delete, edit, edit_packed, put, to_plain_bytes
from small_programs import small_program

from faceqat.integer import packing, program, program_file

OLDER = pathlib.Path(__file__).with_name('older_programs')


@pytest.mark.parametrize('bits', [*range(1, 10), 16, 17, 31, 32])
@pytest.mark.parametrize('shape', [(16,), (1,), (3, 3, 1, 5), (7, 3)])
def test_unpacking_gives_what_was_packed(shape, bits):
  rng = np.random.default_rng(0)
  values = rng.integers(0, 2**bits, shape, np.uint32)
  packed = packing.pack(values, bits)
  assert packed.shape == (-(-values.size * bits // 8),)
  unpacked = packing.unpack(packed, bits, values.size)
  np.testing.assert_array_equal(unpacked, values.ravel())
  # By the definition: the bits of one large integer, the first ones lowest.
  number = sum(int(x) << bits * i for i, x in enumerate(values.ravel()))
  assert number == int.from_bytes(packed, 'little')


def test_the_low_bits_of_negative_integers_are_packed():
  packed = packing.pack(np.array([1, -2, 7], np.int8), 4)
  np.testing.assert_array_equal(packed, [0xE1, 0x07])
  packed = packing.pack(np.array([1, -1, 0, 1, -1]), 2)
  np.testing.assert_array_equal(packed, [0b01001101, 0b11])


@pytest.mark.parametrize(
  ('packed', 'count', 'message'),
  [
    (np.zeros(4, np.uint8), 9, r'9 of 4 bits ask for uint8\[5\]'),
    (np.zeros(4, np.uint8), 6, r'ask for uint8\[3\]'),
    (np.zeros(4, np.int8), 8, 'packed integers are int8'),
    (np.zeros((2, 2), np.uint8), 8, r'are uint8\[2, 2\]'),
    (np.full(4, 0x11, np.uint8), 7, 'bits that are not 0'),
    (np.zeros(4, np.uint8), 2**216, 'ask for uint8'),
  ],
)
def test_what_is_not_so_many_integers_is_refused(packed, count, message):
  with pytest.raises(ValueError, match=message):
    packing.unpack(packed, 4, count)


def test_arrays_are_what_they_were_in_as_many_bits_as_they_need():
  arrays = {
    'ternary': np.array([-1, 0, 1, 1, 0], np.int8),
    'full': np.array([[-128, 127]], np.int8),
    'same': np.full(9, -5, np.int8),
    'far': np.array([-(2**31), 2**31 - 1], np.int32),
    'near': np.array([10**6, 10**6 + 3], np.int32),
    'scales': np.array([0.5, 0.75, np.nextafter(np.float32(1), 0)], np.float32),
    'signs': np.array([-0.0, 3.5, -np.inf], np.float32),
  }
  records, packed = packing.pack_arrays(arrays)
  bits = {record['name']: record['bits'] for record in records}
  assert bits == {
    **{'ternary': 2, 'full': 8, 'same': 1, 'far': 32, 'near': 2},
    # Their fractions: the exponent is one.
    **{'scales': 23, 'signs': 32},
  }
  assert packed.size == 2 + 2 + 2 + 8 + 1 + 9 + 12
  unpacked = packing.unpack_arrays(records, packed)
  assert list(unpacked) == list(arrays)
  for name, wanted in arrays.items():
    assert unpacked[name].dtype == wanted.dtype
    assert unpacked[name].shape == wanted.shape
    assert unpacked[name].tobytes() == wanted.tobytes()


def make_program(bits):
  """Its dense layer has an odd number of weights."""
  return small_program(bits, image=(5, 5, 3), channels=33)


def assert_same_operator(loaded, saved):
  for field in dataclasses.fields(loaded):
    wanted = getattr(saved, field.name)
    np.testing.assert_array_equal(getattr(loaded, field.name), wanted)
  assert loaded.weights.dtype == np.int8


@pytest.mark.parametrize('bits', range(2, 9))
def test_weights_take_their_bits_in_a_file(tmp_path, bits):
  path = tmp_path / 'network'
  saved = make_program(bits)
  program.save(saved, path)
  stored = safetensors.numpy.load_file(path)['packed'].nbytes
  weights = -(-75 * 33 * bits // 8)
  # All scales are one number; biases lie within [-1, 0] with 2 bits.
  assert stored == weights + -(-33 // 8) + -(-33 * (bits - (bits == 2)) // 8)
  assert_same_operator(program.load(path).operators[1], saved.operators[1])


@pytest.mark.parametrize('bits', range(2, 9))
def test_the_digested_form_has_up_to_4_bits_in_half_the_bytes(tmp_path, bits):
  path = tmp_path / 'network'
  saved = make_program(bits)
  path.write_bytes(program.digested_bytes(saved))
  stored = safetensors.numpy.load_file(path)['embedding:weights']
  assert stored.nbytes == ((75 * 33 + 1) // 2 if bits <= 4 else 75 * 33)
  assert_same_operator(program.load(path).operators[1], saved.operators[1])


@pytest.mark.parametrize('version', [1, 2])
def test_files_of_earlier_versions_are_read(version):
  """Written by earlier versions of this package, at 0d12f04 and 703590f."""
  loaded = program.load(OLDER / f'version_{version}.safetensors')
  saved = small_program(4, image=(1, 1, 3))
  assert loaded.tensors == saved.tensors
  assert_same_operator(loaded.operators[1], saved.operators[1])


def test_a_program_has_the_digest_that_it_had():
  """Tables of rates and exported files of earlier versions name it so."""
  content = (OLDER / 'version_2.safetensors').read_bytes()
  assert program.digested_bytes(small_program(4, image=(1, 1, 3))) == content


def shape(value):
  return put('operators', 1, 'packed_shape', value=value)


def weights(make):
  return array('embedding:weights', make)


NO_SHAPE = delete('operators', 1, 'packed_shape')
DAMAGED_NIBBLES = {
  'cut': (weights(lambda w: w[:-1]), "Operator 'embedding': packed integers"),
  'longer': (weights(lambda w: np.append(w, w)), 'ask for'),
  'other type': (weights(lambda w: w.view(np.int8)), 'ask for'),
  'half the columns': (shape([75, 16]), 'ask for'),
  'turned': (shape([33, 75]), 'weight_scale has shape'),
  'flat': (shape([75 * 33]), 'with 2 dimensions'),
  'no shape': (shape(None), 'the shape of packed weights is None'),
  'shape missing': (NO_SHAPE, 'weights is uint8'),
  'a weight of -8': (
    weights(lambda w: np.append(np.uint8(0x18), w[1:])),
    r'4-bit weights must lie in \[-7, 7\]',
  ),
}


@pytest.mark.parametrize(
  ('change', 'message'), DAMAGED_NIBBLES.values(), ids=DAMAGED_NIBBLES
)
def test_a_file_with_damaged_nibbles_is_refused(tmp_path, change, message):
  path = tmp_path / 'network'
  saved = make_program(4)
  description, arrays = program._describe(saved)
  packed = packing.pack(saved.operators[1].weights, 4)
  arrays['embedding:weights'] = packed
  shape([75, 33])(description, arrays)
  change(description, arrays)
  path.write_bytes(to_plain_bytes(description, arrays))
  with pytest.raises(ValueError, match=message) as info:
    program.load(path)
  assert str(path) in str(info.value)


def record(**changes):
  """Changes what is said of the weights."""

  def change(description, stored):
    (found,) = [
      x for x in description['arrays'] if x['name'] == 'embedding:weights'
    ]
    found.update(changes)

  return change


def packed(make):
  def change(description, stored):
    stored['packed'] = make(stored['packed'])

  return change


DAMAGED = {
  'no records': (delete('arrays'), 'malformed'),
  'records are text': (put('arrays', value='packed'), 'malformed'),
  'a record is missing': (delete('arrays', 2), 'packed bytes are of no array'),
  'cut': (packed(lambda x: x[:-1]), "array 'embedding:bias': packed integers"),
  'longer': (packed(lambda x: np.append(x, x)), 'bytes are of no array'),
  'other type': (packed(lambda x: x.view(np.int8)), 'are int8'),
  'two dimensions': (packed(lambda x: x[None]), 'packed'),
  'name is a list': (record(name=[]), 'malformed'),
  'twice': (record(name='embedding:bias'), 'is there twice'),
  'unknown type': (record(dtype='float64'), "'float64'; wanted one of"),
  'type is a list': (record(dtype=[]), 'malformed'),
  'no shape': (record(shape=None), 'its shape is None'),
  'no element': (record(shape=[0, 33]), 'its shape'),
  'gigantic': (record(shape=[2**24] * 9), 'ask for uint8'),
  'turned': (record(shape=[33, 75]), 'weight_scale has shape'),
  'flat': (record(shape=[75 * 33]), 'with 2 dimensions'),
  'no bits': (record(bits=0), 'its number of bits is 0'),
  'more bits than the type': (record(bits=9), 'its number of bits is 9'),
  'bits are real': (record(bits=3.5), 'its number of bits is 3.5'),
  'least too small': (record(least=-129), 'its least is -129'),
  'beyond the type': (record(least=120), 'an element is 134, beyond 127'),
  'a weight of -8': (record(least=-8), r'4-bit weights must lie in \[-7, 7\]'),
}


def refuses(path, message):
  with pytest.raises(ValueError, match=message) as info:
    program.load(path)
  assert str(path) in str(info.value)


@pytest.mark.parametrize(('change', 'message'), DAMAGED.values(), ids=DAMAGED)
def test_a_file_with_damaged_packing_is_refused(tmp_path, change, message):
  path = tmp_path / 'network'
  program.save(make_program(4), path)
  edit_packed(path, change)
  refuses(path, message)


@pytest.mark.parametrize(
  ('compress', 'message'),
  [
    (lambda text: text, 'description is damaged'),
    (lambda text: zlib.compress(text)[:-9], 'cut short'),
    (lambda text: zlib.compress(b'[1, 2]'), 'wanted an object'),
    (lambda text: zlib.compress(b'{'), 'no JSON'),
  ],
)
def test_a_description_that_is_none_is_refused(tmp_path, compress, message):
  path = tmp_path / 'network'
  program.save(make_program(4), path)
  edit_packed(path, lambda description, stored: None, compress)
  refuses(path, message)


def test_a_description_that_would_fill_the_memory_is_refused(
  tmp_path, monkeypatch
):
  path = tmp_path / 'network'
  program.save(make_program(4), path)
  with monkeypatch.context() as patch:
    patch.setattr(program_file, '_MAX_BYTES', path.stat().st_size)
    edit_packed(path, lambda fields, stored: fields.update(x=' ' * 10**5))
    refuses(path, 'longer than .* bytes')
  edit(path, delete('x'))
  program.load(path)
