"""What a stranger's pickle may make, and that it can do nothing else."""

import io
import pickle
import tracemalloc

import pytest

from faceqat.files.restricted_pickle import (
  Function,
  Machine,
  NotAllowedError,
  shown,
)

NAMES = {('own', 'list'): Function(list), ('own', 'type'): 'a type'}
CALL = b'cown\nlist\n'


def run(program, **options):
  return Machine(NAMES, **options).run(io.BytesIO(program))


@pytest.mark.parametrize('protocol', range(6))
def test_plain_values_come_as_python_reads_them(protocol):
  shared = ['same', 2**70, -1, 0.5]
  value = {
    'shared': [shared, shared],
    'tuples': ((), (1,), (1, 2), (1, 2, 3), tuple(range(5))),
    3: {'inner': None, 'flags': [True, False]},
    'long': list(range(2000)),
    'text': 'Ærø ' * 100,
  }
  program = pickle.dumps(value, protocol)
  result = run(program)
  assert result == value
  assert result['shared'][0] is result['shared'][1]


def test_bytes_come_as_bytes():
  value = [b'\xff\x00', b'x' * 300, bytearray(b'\xfe')]
  assert run(pickle.dumps(value, 5)) == [b'\xff\x00', b'x' * 300, b'\xfe']
  # One object that a pickle may refer to often must not be copied each time.
  assert type(run(pickle.dumps(value, 5))[2]) is bytes


def test_sets_come_as_lists():
  assert run(pickle.dumps({7}, 4)) == [7]


def test_strings_of_python_2_are_text_or_bytes():
  program = b'U\x02\xff\xd8.'
  assert run(program) == '\xff\xd8'
  assert run(program, python2_strings=bytes) == b'\xff\xd8'


def test_the_file_is_left_behind_the_program():
  file = io.BytesIO(pickle.dumps(1, 2) + pickle.dumps([2], 4) + b'rest')
  assert Machine({}).run(file) == 1
  assert Machine({}).run(file) == [2]
  assert file.read() == b'rest'


def test_names_stand_for_what_the_format_says():
  assert run(b'cown\ntype\n.') == 'a type'
  assert run(CALL + b'(K\x01K\x02t\x85R.') == [1, 2]


# Deep enough to end the process where it is hashed: Python's own unpickler
# does not survive it as a key.
NESTED = b')' + b'\x85' * 200_000


@pytest.mark.parametrize(
  ('program', 'message'),
  [
    (b'}' + NESTED + b'Ns.', 'a key of type tuple'),
    (b'()\x85Nd.', 'a key of type tuple'),
    (NESTED + b'\x8c\x01x\x93.', 'a tuple and a str for a name'),
    (b'\x8c\x01x)\x93.', 'a str and a tuple for a name'),
    (b'cown\nother\n.', r'it names own\.other'),
    (b'\x8c\x03own\x8c\x09list.sort\x93.', r'it names own\.list\.sort'),
    (b'cown\ntype\n)R.', 'it calls a str'),
    (CALL + b']R.', 'it calls a Function'),
    (CALL + b'cown\nlist\nR.', 'it calls a Function'),
    (CALL + b'}b.', 'it sets attributes of a Function'),
    (b']}b.', 'it sets attributes of a list'),
    (CALL + b')\x81.', 'the instruction NEWOBJ'),
    (b'K\x01Q.', 'the instruction BINPERSID'),
    (b'\x82\x01.', 'the instruction EXT1'),
    (b'\x97.', 'the instruction NEXT_BUFFER'),
    (b'(ios\nsystem\n.', 'the instruction INST'),
    (b'(' + CALL + b'o.', 'the instruction OBJ'),
    (b'Psome id\n.', 'the instruction PERSID'),
    (b'N0.', 'the instruction POP'),
  ],
)
def test_everything_else_is_refused_by_name(program, message):
  with pytest.raises(NotAllowedError, match=message):
    run(program)


@pytest.mark.parametrize('item', [b']q\x00(' + 500 * b'N' + b'e', None])
def test_calls_do_not_copy_again_and_again(item):
  item = item or b'X' + (500).to_bytes(4, 'little') + 500 * b'x' + b'q\x00'
  program = b'(' + item + 50_000 * (CALL + b'h\x00\x85R') + b't.'
  tracemalloc.start()
  with pytest.raises(NotAllowedError, match='copies its lists'):
    run(program)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  # Made in full, the copies would take 200 MB.
  assert peak < 40 * len(program)


@pytest.mark.parametrize(
  'program', [b'', b']', b'a.', b')Na.', b'e.', b'K\x01']
)
def test_damaged_programs_are_errors(program):
  with pytest.raises((ValueError, IndexError)):
    run(program)


def shared(depth):
  """A tuple of itself twice, again and again: 2^depth ends in few bytes."""
  value = ()
  for _ in range(depth):
    value = (value, value)
  return value


@pytest.mark.parametrize(
  ('value', 'text'),
  [
    ('text', "'text'"),
    (b'x', "b'x'"),
    (7, '7'),
    (0.5, '0.5'),
    (None, 'None'),
    ('x' * 200, f"'{'x' * 80}'..."),
    ('\x1b[2J', r"'\x1b[2J'"),
    (2**64, 'a int'),
    (shared(60), 'a tuple'),
    ([shared(60)], 'a list'),
  ],
)
def test_only_what_is_plain_and_small_is_shown(value, text):
  assert shown(value) == text


@pytest.mark.parametrize(
  ('key', 'kind'), [('x' * 1001, 'str'), (b'x' * 1001, 'bytes'), (2**64, 'int')]
)
def test_large_keys_are_refused(key, kind):
  # Such a key would be hashed or compared whole each time it is set.
  with pytest.raises(NotAllowedError, match=f'a key of type {kind}'):
    run(pickle.dumps({key: 1}))
  assert run(pickle.dumps({key[:1000] if kind != 'int' else 2**64 - 1: 1}))


def test_a_name_is_cut_and_without_control_sequences():
  with pytest.raises(NotAllowedError) as error:
    run(b'cown\n\x1b[2J' + b'x' * 10_000 + b'\n.')
  assert str(error.value) == r'it names own.\x1b[2J' + 'x' * 76
