"""Reads pickles from untrusted files without Python's unpickler.

A pickle is a program for a stack machine that may call any function it can
name. This machine has only the instructions that plain containers need, and
calls nothing but the functions that the reader of a format gives it.

It is our own for two reasons. Python's unpickler, even with its names
restricted, hashes whatever a program gives it as a key, and the hash of a tuple
nested a million deep ends the process; `torch.load(weights_only=True)` needs
PyTorch, and knows nothing of `.bin` files.

A few bytes may build a value of any size: a tuple of itself twice, sixty deep,
has 2^60 elements in 300 bytes. So nothing is formatted, compared or hashed
before it is known to be plain and small; messages go through `shown`.
"""

import dataclasses
import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

# A key is hashed and compared as often as a program says.
_MAX_KEY, _MAX_KEY_BITS = 1000, 64
# Of a text in a message.
_MAX_SHOWN = 80


class NotAllowedError(Exception):
  """The pickle asks for something that its format does not need."""


def damaged(what: str) -> ValueError:
  return ValueError(f'its pickle {what}')


def kind_of(value: Any) -> str:
  """The name of a value's type, for messages."""
  return type(value).__name__.lstrip('_')


def shown(value: Any) -> str:
  """A value for messages: itself if it is plain and small, else its type.

  >>> shown('text'), shown(2**64), shown([1, 2])
  ("'text'", 'a int', 'a list')
  """
  if isinstance(value, str | bytes) and len(value) > _MAX_SHOWN:
    return f'{value[:_MAX_SHOWN]!r}...'
  if _is_small(value):
    return repr(value)
  return f'a {kind_of(value)}'


def check_key(value: Any):
  """Refuses what is too large to be hashed, or no text or number.

  Raises:
    NotAllowedError: names its type.
  """
  if not _is_small(value):
    raise NotAllowedError(
      f'it has a key of type {kind_of(value)}, wanted text of at most '
      f'{_MAX_KEY} letters or a number'
    )


def _is_small(value: Any) -> bool:
  if isinstance(value, str | bytes):
    return len(value) <= _MAX_KEY
  if isinstance(value, int):
    return value.bit_length() <= _MAX_KEY_BITS
  return value is None or isinstance(value, float)


@dataclasses.dataclass(frozen=True)
class Function:
  """A function that a pickle may call by the name it stands for."""

  call: Callable[..., Any]


class Machine:
  """Runs one pickle with the names of one format.

  It makes dicts, lists, tuples, str, bytes, numbers, None, and what the
  functions return; bytearrays come as bytes, sets as lists. A subclass may
  allow more: objects that are stored elsewhere, and attributes.
  """

  def __init__(
    self,
    names: Mapping[tuple[str, str], Any],
    python2_strings: type[str] | type[bytes] = str,
  ):
    """Makes a machine for one run.

    Args:
      names: by (module, name) a `Function`, or any object that functions take.
      python2_strings: the type of Python 2's strings, text or not.
    """
    self._names = names
    self._python2_strings = python2_strings
    self._stack = []
    self._marks = []
    self._memo = {}
    self._room = 0

  def run(self, file: io.BytesIO) -> Any:
    """Runs the program at the position of `file`, which is left behind it.

    Args:
      file: the bytes, in memory: a pickle that announces more than there is
        then reserves nothing.

    Returns:
      The value that the program builds.

    Raises:
      NotAllowedError: names the instruction, function or type that is refused.
      Exception: of any kind, where the program is damaged.
    """
    start = file.tell()
    # Items and letters that calls may copy. A program that was written by a
    # pickler spends a byte or more on each; one that copies a list again and
    # again does not.
    self._room = file.seek(0, io.SEEK_END) - start
    file.seek(start)
    for opcode, argument, _ in pickletools.genops(file):
      if opcode.name not in _INSTRUCTIONS:
        raise NotAllowedError(f'it has the instruction {opcode.name}')
      _INSTRUCTIONS[opcode.name](self, argument)
    return self._stack.pop()

  def load_persistent(self, description: Any) -> Any:
    """The object that stands for one stored elsewhere."""
    raise NotAllowedError('it has the instruction BINPERSID')

  def set_state(self, target: Any, state: Any):
    """Gives an object that is already made its attributes."""
    raise NotAllowedError(f'it sets attributes of a {kind_of(target)}')

  def _push(self, value: Any):
    self._stack.append(value)

  def _push_string(self, text: str):
    as_bytes = self._python2_strings is bytes
    self._push(text.encode('latin1') if as_bytes else text)

  def _pop(self, count: int) -> list:
    if len(self._stack) < count:
      raise damaged('takes more than it has made')
    items = self._stack[-count:]
    del self._stack[-count:]
    return items

  def _pop_to_mark(self) -> list:
    start = self._marks.pop()
    items = self._stack[start:]
    del self._stack[start:]
    return items

  def _extend(self, items: list):
    if not isinstance(self._stack[-1], list):
      raise damaged(f'appends to a {kind_of(self._stack[-1])}')
    self._stack[-1].extend(items)

  def _make_dict(self, items: list):
    self._push({})
    self._update(items)

  def _update(self, items: list):
    target = self._stack[-1]
    if not isinstance(target, dict) or len(items) % 2:
      raise damaged(f'sets items of a {kind_of(target)}')
    for key, value in zip(items[::2], items[1::2]):
      check_key(key)
      target[key] = value

  def _store(self, number: int):
    self._memo[number] = self._stack[-1]

  def _push_name(self, module: Any, name: Any):
    # Neither may be a tuple, which the look-up would hash.
    if not isinstance(module, str) or not isinstance(name, str):
      raise NotAllowedError(
        f'it has a {kind_of(module)} and a {kind_of(name)} for a name'
      )
    if (module, name) not in self._names:
      text = f'{module[:_MAX_SHOWN]}.{name[:_MAX_SHOWN]}'
      # Not a terminal's control sequences.
      raise NotAllowedError(f'it names {ascii(text)[1:-1]}')
    self._push(self._names[module, name])

  def _call(self, function: Any, arguments: Any):
    # A named tuple that a function returned is no list of arguments.
    if not isinstance(function, Function) or type(arguments) is not tuple:
      raise NotAllowedError(f'it calls a {kind_of(function)}')
    for argument in arguments:
      if isinstance(argument, list | tuple | dict | str | bytes):
        self._room -= len(argument)
    if self._room < 0:
      raise NotAllowedError('it copies its lists again and again')
    self._push(function.call(*arguments))

  def _build(self, state: Any):
    self.set_state(self._stack[-1], state)


def _same(names: str, action: Callable[[Machine, Any], None]):
  return dict.fromkeys(names.split(), action)


# By name what an instruction does, given its argument in the program.
_INSTRUCTIONS: dict[str, Callable[[Machine, Any], None]] = {
  **_same('PROTO FRAME STOP', lambda m, _: None),
  'NONE': lambda m, _: m._push(None),
  'NEWTRUE': lambda m, _: m._push(True),
  'NEWFALSE': lambda m, _: m._push(False),
  **_same(
    'INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT '
    'UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 '
    'BINBYTES SHORT_BINBYTES BINBYTES8',
    Machine._push,
  ),
  **_same('STRING BINSTRING SHORT_BINSTRING', Machine._push_string),
  'BYTEARRAY8': lambda m, value: m._push(bytes(value)),
  'MARK': lambda m, _: m._marks.append(len(m._stack)),
  'EMPTY_TUPLE': lambda m, _: m._push(()),
  'TUPLE1': lambda m, _: m._push(tuple(m._pop(1))),
  'TUPLE2': lambda m, _: m._push(tuple(m._pop(2))),
  'TUPLE3': lambda m, _: m._push(tuple(m._pop(3))),
  'TUPLE': lambda m, _: m._push(tuple(m._pop_to_mark())),
  **_same('EMPTY_LIST EMPTY_SET', lambda m, _: m._push([])),
  **_same('LIST FROZENSET', lambda m, _: m._push(m._pop_to_mark())),
  'APPEND': lambda m, _: m._extend(m._pop(1)),
  **_same('APPENDS ADDITEMS', lambda m, _: m._extend(m._pop_to_mark())),
  'EMPTY_DICT': lambda m, _: m._push({}),
  'DICT': lambda m, _: m._make_dict(m._pop_to_mark()),
  'SETITEM': lambda m, _: m._update(m._pop(2)),
  'SETITEMS': lambda m, _: m._update(m._pop_to_mark()),
  **_same('GET BINGET LONG_BINGET', lambda m, n: m._push(m._memo[n])),
  **_same('PUT BINPUT LONG_BINPUT', Machine._store),
  'MEMOIZE': lambda m, _: m._store(len(m._memo)),
  'GLOBAL': lambda m, names: m._push_name(*names.split(' ', 1)),
  'STACK_GLOBAL': lambda m, _: m._push_name(*m._pop(2)),
  'REDUCE': lambda m, _: m._call(*m._pop(2)),
  'BUILD': lambda m, _: m._build(*m._pop(1)),
  'BINPERSID': lambda m, _: m._push(m.load_persistent(*m._pop(1))),
}
