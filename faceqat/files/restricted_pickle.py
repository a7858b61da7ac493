"""Pickles of strangers, read by a machine that can do nothing but that.

A pickle is a program for a small stack machine that may call any function it
can name. This machine knows only the instructions that plain containers need,
refuses every other one by its name, and calls nothing but the functions that
the reader of a format gives it. Python's own unpickler is not used at all,
not even with its names restricted: it hashes whatever a program gives it as a
key, and the hash of a tuple nested a million deep ends the process.

What a pickle makes may be large beyond the file: a tuple of itself twice, sixty
deep, has 2^60 elements in 300 bytes. So nothing of it is formatted, compared or
hashed before it is known to be plain and small; messages go through `shown`.
"""

import dataclasses
import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
# Instructions whose argument is the object.
_LITERALS = {
  *('INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4'),
  *('FLOAT', 'BINFLOAT'),
  *('UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8'),
  *('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8'),
}
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
  """A value for messages: itself if it is plain and small, or its type."""
  if isinstance(value, str | bytes) and len(value) > _MAX_SHOWN:
    return f'{value[:_MAX_SHOWN]!r}...'
  if _is_small(value):
    return repr(value)
  return f'a {kind_of(value)}'


def check_key(value: Any):
  """Refuses what is too large to be hashed, or no text or number.

  Raises:
    NotAllowedError: says which type it has.
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
  """What a name that may be called stands for."""

  call: Callable[..., Any]


class Machine:
  """Runs one pickle with the names of one format.

  It makes dicts, lists, tuples, str, bytes (bytearrays too become bytes),
  numbers, None, and what the functions return; sets come as lists. A subclass
  may allow more: objects that are stored elsewhere, and attributes.
  """

  def __init__(
    self,
    names: Mapping[tuple[str, str], Any],
    python2_strings: type[str] | type[bytes] = str,
  ):
    """Makes a machine for one run.

    Args:
      names: (module, name) to what stands for it: a `Function`, or any object
        that functions take.
      python2_strings: the type of what was a string in Python 2, text or not.
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
      What the program builds.

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
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
      self._step(opcode.name, argument, count)
    return self._stack.pop()

  def load_persistent(self, description: Any) -> Any:
    """What stands for an object that is stored elsewhere."""
    raise NotAllowedError('it has the instruction BINPERSID')

  def set_state(self, target: Any, state: Any):
    """Gives an object that is already made its attributes."""
    raise NotAllowedError(f'it sets attributes of a {kind_of(target)}')

  def _step(self, name: str, argument: Any, count: int):
    """Runs one instruction, which `count` others preceded."""
    stack = self._stack
    match name:
      case 'PROTO' | 'FRAME' | 'STOP':
        pass
      case 'NONE' | 'NEWTRUE' | 'NEWFALSE':
        stack.append(_CONSTANTS[name])
      case _ if name in _LITERALS:
        stack.append(argument)
      case 'STRING' | 'BINSTRING' | 'SHORT_BINSTRING':
        as_bytes = self._python2_strings is bytes
        stack.append(argument.encode('latin1') if as_bytes else argument)
      case 'BYTEARRAY8':
        stack.append(bytes(argument))
      case 'MARK':
        self._marks.append(len(stack))
      case 'EMPTY_TUPLE':
        stack.append(())
      case 'TUPLE1' | 'TUPLE2' | 'TUPLE3':
        stack.append(tuple(self._pop(int(name[-1]))))
      case 'TUPLE':
        stack.append(tuple(self._pop_to_mark()))
      case 'EMPTY_LIST' | 'EMPTY_SET':
        stack.append([])
      case 'LIST' | 'FROZENSET':
        stack.append(self._pop_to_mark())
      case 'APPEND':
        self._extend(self._pop(1))
      case 'APPENDS' | 'ADDITEMS':
        self._extend(self._pop_to_mark())
      case 'EMPTY_DICT':
        stack.append({})
      case 'DICT':
        items = self._pop_to_mark()
        stack.append({})
        self._update(items)
      case 'SETITEM':
        self._update(self._pop(2))
      case 'SETITEMS':
        self._update(self._pop_to_mark())
      case 'GET' | 'BINGET' | 'LONG_BINGET':
        stack.append(self._memo[argument])
      case 'PUT' | 'BINPUT' | 'LONG_BINPUT':
        # Picklers number their objects one after the other.
        if argument > count:
          raise NotAllowedError(f'it stores an object under number {argument}')
        self._memo[argument] = stack[-1]
      case 'MEMOIZE':
        self._memo[len(self._memo)] = stack[-1]
      case 'GLOBAL':
        self._name(*argument.split(' ', 1))
      case 'STACK_GLOBAL':
        self._name(*self._pop(2))
      case 'REDUCE':
        self._call(*self._pop(2))
      case 'BUILD':
        (state,) = self._pop(1)
        self.set_state(stack[-1], state)
      case 'BINPERSID':
        stack.append(self.load_persistent(*self._pop(1)))
      case _:
        raise NotAllowedError(f'it has the instruction {name}')

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

  def _update(self, items: list):
    target = self._stack[-1]
    if not isinstance(target, dict) or len(items) % 2:
      raise damaged(f'sets items of a {kind_of(target)}')
    for key, value in zip(items[::2], items[1::2]):
      check_key(key)
      target[key] = value

  def _name(self, module: Any, name: Any):
    # Neither may be a tuple, which the look-up would hash.
    if not isinstance(module, str) or not isinstance(name, str):
      raise NotAllowedError(
        f'it has a {kind_of(module)} and a {kind_of(name)} for a name'
      )
    if (module, name) not in self._names:
      text = f'{module[:_MAX_SHOWN]}.{name[:_MAX_SHOWN]}'
      # Not a terminal's control sequences.
      raise NotAllowedError(f'it names {ascii(text)[1:-1]}')
    self._stack.append(self._names[module, name])

  def _call(self, function: Any, arguments: Any):
    # A named tuple that a function returned is no list of arguments.
    if not isinstance(function, Function) or type(arguments) is not tuple:
      raise NotAllowedError(f'it calls a {kind_of(function)}')
    for argument in arguments:
      if isinstance(argument, list | tuple | dict | str | bytes):
        self._room -= len(argument)
    if self._room < 0:
      raise NotAllowedError('it copies its lists again and again')
    self._stack.append(function.call(*arguments))
