import functools
import pickle
import pickletools
import sys

import numpy as np
import pytest
from hostile_pickles import (
  CALLS,
  SHARED,
  Call,
  check_flips,
  check_truncations,
  named,
)

from faceqat.data.benchmarks import verification_bin

ENTRIES = [bytes([i, 0, 255]) * (i + 1) for i in range(4)]
SAME = [True, False]


def read(tmp_path, data):
  path = tmp_path / 'set.bin'
  path.write_bytes(data)
  return verification_bin.read_bin_entries(str(path))


def arrays():
  return [np.frombuffer(entry, np.uint8) for entry in ENTRIES]


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('kind', ['bytes', 'views', 'copies'])
def test_every_protocol_and_kind_of_entry_is_read(tmp_path, protocol, kind):
  entries = {
    'bytes': ENTRIES,
    'views': arrays(),
    'copies': [array.copy() for array in arrays()],
  }[kind]
  data = pickle.dumps((entries, SAME), protocol=protocol)
  images, same = read(tmp_path, data)
  assert images == ENTRIES
  assert same.dtype == bool
  assert same.tolist() == SAME


def test_bytearrays_of_protocol_5_are_read(tmp_path):
  entries = [bytearray(entry) for entry in ENTRIES]
  assert read(tmp_path, pickle.dumps((entries, SAME), 5))[0] == ENTRIES


@pytest.mark.parametrize('core', ['numpy.core', 'numpy._core'])
@pytest.mark.parametrize('protocol', [2, 5])
def test_arrays_of_both_numpy_generations_are_read(tmp_path, core, protocol):
  data = pickle.dumps((arrays(), np.array(SAME)), protocol=protocol)
  # An unframed copy, so that names may change their length.
  own = 'numpy._core' if b'numpy._core' in data else 'numpy.core'
  data = _rename(data, own, core)
  assert core.encode() in data
  images, same = read(tmp_path, data)
  assert images == ENTRIES
  assert same.tolist() == SAME


def _rename(data, old, new):
  """Renames a module in a pickle; frames are dropped, lengths corrected."""
  result = b''
  operations = list(pickletools.genops(data))
  ends = [position for _, _, position in operations[1:]] + [len(data)]
  for (opcode, argument, start), end in zip(operations, ends):
    if opcode.name == 'FRAME':
      continue
    piece = data[start:end]
    if isinstance(argument, str) and argument.startswith(old):
      piece = piece.replace(old.encode(), new.encode())
      if opcode.name == 'SHORT_BINUNICODE':
        name = argument.replace(old, new)
        piece = b'\x8c' + bytes([len(name)]) + name.encode()
    result += piece
  return result


@pytest.mark.parametrize(
  'same',
  [
    (True, False),
    [1, 0],
    [np.True_, np.False_],
    np.array(SAME),
    np.array([1, 0]),
    np.array([1, 0], '>i4'),
    np.array([1, 0], np.uint8),
    np.array([1, 0], np.int8),
    np.array([1, 0], np.float32),
    [1.0, 0.0],
  ],
  ids=repr,
)
@pytest.mark.parametrize('protocol', [2, 4, 5])
def test_flags_come_in_several_kinds(tmp_path, same, protocol):
  data = pickle.dumps([ENTRIES, same], protocol=protocol)
  assert read(tmp_path, data)[1].tolist() == SAME


def test_files_of_python_2_are_read(tmp_path):
  # What Python 2's cPickle writes for (['\xff\xd8', 'ab'], [True]).
  data = b'\x80\x02]q\x01(U\x02\xff\xd8q\x02U\x02abe]q\x03\x88a\x86q\x04.'
  images, same = read(tmp_path, data)
  assert images == [b'\xff\xd8', b'ab']
  assert same.tolist() == [True]


def test_an_array_of_python_2_is_read(tmp_path):
  # numpy.array([255, 216], 'u1'): the bytes are Python 2's str, and so are
  # the names in the array's type.
  array = (
    b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b'
    b'\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R'
    b'(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\xff\xd8'
    b'tb'
  )
  data = b'\x80\x02](' + 2 * array + b'e]\x88a\x86.'
  images, same = read(tmp_path, data)
  assert images == [b'\xff\xd8'] * 2
  assert same.tolist() == [True]


@pytest.mark.parametrize('protocol', [0, 2, 4])
@pytest.mark.parametrize('place', ['whole', 'entry', 'flag'])
@pytest.mark.parametrize(('function', 'args', 'name'), CALLS)
def test_calls_are_refused_and_not_made(
  tmp_path, function, args, name, place, protocol
):
  target = tmp_path / 'touched'
  call = Call(function, args, target)
  content = {
    'whole': call,
    'entry': ([call, *ENTRIES[1:]], SAME),
    'flag': (ENTRIES, [True, call]),
  }[place]
  data = pickle.dumps(content, protocol=protocol)
  message = rf'set\.bin is not .* was not run: it names {name}'
  with pytest.raises(ValueError, match=message):
    read(tmp_path, data)
  assert list(tmp_path.iterdir()) == [tmp_path / 'set.bin']


ENCODED = named('_codecs', 'encode') + b'h\x00\x85R'
NO_ARRAY = named('numpy._core.multiarray', '_reconstruct') + b')R'
BUFFER = named('numpy._core.numeric', '_frombuffer')
UINT8 = named('numpy', 'dtype') + b'U\x02u1\x85R'


@pytest.mark.parametrize(
  'program',
  [
    # Names hidden in attributes of allowed modules (protocol 4 splits dots).
    b'\x80\x04\x8c\x05numpy\x8c\x0ef2py.os.system\x93.',
    b'\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.',
    # An array of Python objects: NumPy would take any object from its state.
    named('numpy', 'dtype') + b'(U\x01OK\x00K\x01tR.',
    named('numpy', 'dtype') + b'(U\x05i4,O8K\x00K\x01tR.',
    # Codecs that are programs of their own.
    named('_codecs', 'encode') + b'(U\x01aU\x05rot13tR.',
    # Making an object of the array class without its function.
    named('numpy', 'ndarray') + b'(K\x03tR.',
    named('numpy', 'ndarray') + b')\x81.',
    # Changing the attributes of an allowed function.
    named('_codecs', 'encode') + b'}(U\x08__code__K\x01ub.',
    named('_codecs', 'encode') + b'N}(U\x0c__defaults__)u\x86b.',
    # Images that are made again and again: a few bytes for gigabytes.
    b'\x80\x02(X\xf4\x01\x00\x00' + 500 * b'x' + b'q\x00' + 1000 * ENCODED,
  ],
)
def test_ways_around_the_names_are_refused(tmp_path, program):
  with pytest.raises(ValueError, match=r'set\.bin is not .* was not run'):
    read(tmp_path, program)


@pytest.mark.parametrize(
  'program',
  [
    b'cnumpy\ndtype\n' + SHARED + b'\x85R.',
    b'c_codecs\nencode\nU\x01x' + SHARED + b'\x86R.',
    b'](U\x01xU\x01xe](' + SHARED + b'e\x86.',
    b'cnumpy\ndtype\nU\x02u1\x85R' + SHARED + b'b.',
  ],
)
def test_what_a_program_shares_is_not_written_out(tmp_path, program):
  with pytest.raises(ValueError, match=r'set\.bin') as error:
    read(tmp_path, b'\x80\x02' + program)
  assert len(str(error.value)) < 500


def test_an_array_without_content_is_described(tmp_path):
  data = b'\x80\x02](' + 2 * NO_ARRAY + b'e]\x88a\x86.'
  with pytest.raises(ValueError, match=r'image 0 is an array \[\]'):
    read(tmp_path, data)


@pytest.mark.parametrize(
  'shape',
  [
    b']',  # No tuple.
    b'U\x01x\x85',
    b'](NNNNe\x85',  # A list would be repeated by the next size.
    b'J\xff\xff\xff\xff\x85',
    b'\x8a\x09' + 8 * b'\x00' + b'\x01\x85',  # 2^64
    b'(' + 65 * b'K\x01' + b't',
    b'K\x02\x85',  # Another number than there are bytes.
  ],
)
def test_arrays_of_impossible_shapes_are_refused(tmp_path, shape):
  def program(shape):
    array = BUFFER + b'(C\x01a' + UINT8 + shape + b'U\x01CtR'
    return b'\x80\x02](' + 2 * array + b'e]\x88a\x86.'

  with pytest.raises(ValueError, match=r'set\.bin is damaged.* has .* array'):
    read(tmp_path, program(shape))
  assert read(tmp_path, program(b'K\x01\x85'))[0] == [b'a'] * 2


def test_stand_ins_leave_no_module_behind(tmp_path):
  # find_class would import what it is asked for; here nothing is imported.
  assert 'this' not in sys.modules
  with pytest.raises(ValueError, match=r'it names this\.s'):
    read(tmp_path, named('this', 's') + b'.')
  assert 'this' not in sys.modules


@pytest.mark.parametrize('kind', ['bytes', 'arrays'])
def test_every_truncation_is_a_clear_error(tmp_path, kind):
  entries = ENTRIES if kind == 'bytes' else arrays()
  data = pickle.dumps((entries, SAME))
  reader = functools.partial(read, tmp_path)
  check_truncations(reader, data, r'set\.bin is damaged, truncated')


def test_flipped_bytes_give_data_or_a_value_error(tmp_path):
  data = pickle.dumps((arrays(), SAME), protocol=2)
  check_flips(
    functools.partial(read, tmp_path),
    data,
    count=300,
    is_right=lambda found: len(found[0]) == 2 * len(found[1]),
    name='set.bin',
  )


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (ENTRIES, 'wanted two sequences'),
    ({'images': 1}, 'wanted two sequences'),
    ((ENTRIES, None), 'one of flags'),
    ((ENTRIES, [True]), '4 images for 1 pairs, wanted 2'),
    ((['a', *ENTRIES[1:]], SAME), 'image 0 is str'),
    (([*ENTRIES[:3], 7], SAME), 'image 3 is int'),
    (
      ([np.zeros((2, 2), np.uint8), *ENTRIES[1:]], SAME),
      r'image 0 is .*\[2, 2\]',
    ),
    (([np.zeros(2, np.int32), *ENTRIES[1:]], SAME), 'image 0 is an array i4'),
    ((ENTRIES, [True, 2]), 'flag 1 is int'),
    ((ENTRIES, [True, 'no']), 'flag 1 is str'),
    ((ENTRIES, [1.0, 0.5]), 'flag 1 is float'),
    ((ENTRIES, np.float32([1, np.nan])), 'flag 1 is float'),
    (([np.zeros(3, np.complex64)] * 4, SAME), "array of type 'c8'"),
  ],
)
def test_other_content_is_described(tmp_path, content, message):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, pickle.dumps(content))
