"""The pickles inside PyTorch's files, read without running them.

A pickle is a program for a small stack machine that may call any function it
can name. This machine knows only the instructions and names that a dictionary
of tensors needs, refuses every other one by its name, and calls nothing but
the functions of this module. Python's own unpickler is not used at all: it
hashes whatever a program gives it as a key, and the hash of a tuple nested a
million deep ends the process.

A tensor comes out as a description of where its numbers lie in the file.
"""

import io
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

# NumPy's codes; bfloat16, which NumPy has not, is read as its 16 bits.
_STORAGE_TYPES = {
  'BFloat16Storage': 'bfloat16',
  'BoolStorage': '?',
  'ByteStorage': 'u1',
  'CharStorage': 'i1',
  'DoubleStorage': 'f8',
  'FloatStorage': 'f4',
  'HalfStorage': 'f2',
  'IntStorage': 'i4',
  'LongStorage': 'i8',
  'ShortStorage': 'i2',
}

_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
# Instructions whose argument is the object.
_LITERALS = {
  *('INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4'),
  *('FLOAT', 'BINFLOAT'),
  *('STRING', 'BINSTRING', 'SHORT_BINSTRING'),
  *('UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8'),
  *('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8'),
}
_KEYS = (str, int, float, bytes, type(None))


class NotAllowedError(Exception):
  """The pickle asks for something that no dictionary of tensors needs."""


class Storage(NamedTuple):
  """A row of numbers in the file: its name there, type and length."""

  key: str
  dtype: str
  size: int

  @property
  def nbytes(self) -> int:
    return self.size * self.item_bytes

  @property
  def item_bytes(self) -> int:
    return {'bfloat16': 2, '?': 1}.get(self.dtype) or int(self.dtype[1:])


class StoredTensor(NamedTuple):
  """A tensor's place in its storage; offset and strides count elements."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


class _StorageType(NamedTuple):
  dtype: str


class _Function(NamedTuple):
  call: Callable[..., Any]


def read_pickle(file: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
  """Reads one pickle; leaves `file` behind it.

  Args:
    file: the bytes, in memory: a pickle that announces more than there is then
      reserves nothing.

  Returns:
    What it builds, of dicts, lists, tuples, str, bytes, numbers, None and
    `StoredTensor` (sets come as lists); and the storages by key.

  Raises:
    NotAllowedError: names the instruction, function or type that is refused.
    Exception: of any kind, where the program is damaged.
  """
  start = file.tell()
  machine = _Machine(room=file.seek(0, io.SEEK_END) - start)
  file.seek(start)
  for opcode, argument, _ in pickletools.genops(file):
    machine.step(opcode.name, argument)
  return machine.stack.pop(), machine.storages


def _damaged(what: str) -> ValueError:
  return ValueError(f'its pickle {what}')


class _Machine:
  """The stack, the memo and the storages met so far."""

  def __init__(self, room: int):
    self.stack = []
    self.storages = {}
    self._marks = []
    self._memo = {}
    # Items that calls may copy. A program that was written by a pickler spends
    # a byte or more on each; one that copies a list again and again does not.
    self._room = room

  def step(self, name: str, argument: Any):
    """Runs one instruction."""
    stack = self.stack
    match name:
      case 'PROTO' | 'FRAME' | 'STOP':
        pass
      case 'NONE' | 'NEWTRUE' | 'NEWFALSE':
        stack.append(_CONSTANTS[name])
      case _ if name in _LITERALS:
        stack.append(argument)
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
        self._memo[argument] = stack[-1]
      case 'MEMOIZE':
        self._memo[len(self._memo)] = stack[-1]
      case 'GLOBAL':
        stack.append(_named(*argument.split(' ', 1)))
      case 'STACK_GLOBAL':
        stack.append(_named(*self._pop(2)))
      case 'REDUCE':
        self._call(*self._pop(2))
      case 'BUILD':
        self._drop_attributes()
      case 'BINPERSID':
        self._add_storage(stack.pop())
      case _:
        raise NotAllowedError(f'it has the instruction {name}')

  def _pop(self, count: int) -> list:
    if len(self.stack) < count:
      raise _damaged('takes more than it has made')
    items = self.stack[-count:]
    del self.stack[-count:]
    return items

  def _pop_to_mark(self) -> list:
    start = self._marks.pop()
    items = self.stack[start:]
    del self.stack[start:]
    return items

  def _extend(self, items: list):
    if not isinstance(self.stack[-1], list):
      raise _damaged(f'appends to a {type(self.stack[-1]).__name__}')
    self.stack[-1].extend(items)

  def _update(self, items: list):
    target = self.stack[-1]
    if not isinstance(target, dict) or len(items) % 2:
      raise _damaged(f'sets items of a {type(target).__name__}')
    for key, value in zip(items[::2], items[1::2]):
      if not isinstance(key, _KEYS):
        raise NotAllowedError(f'it has a key of type {type(key).__name__}')
      target[key] = value

  def _drop_attributes(self):
    """Attributes of a dictionary, such as a state dict's format version."""
    self.stack.pop()
    if not isinstance(self.stack[-1], dict):
      kind = type(self.stack[-1]).__name__.lstrip('_')
      raise NotAllowedError(f'it sets attributes of a {kind}')

  def _call(self, function: Any, arguments: Any):
    if not isinstance(function, _Function) or not isinstance(arguments, tuple):
      kind = type(function).__name__.lstrip('_')
      raise NotAllowedError(f'it calls a {kind}')
    for argument in arguments:
      if isinstance(argument, list | tuple | dict):
        self._room -= len(argument)
    if self._room < 0:
      raise NotAllowedError('it copies its lists again and again')
    self.stack.append(function.call(*arguments))

  def _add_storage(self, description: Any):
    if not isinstance(description, tuple) or description[:1] != ('storage',):
      raise NotAllowedError(
        f'it refers to a {description[0]!r}, not to a storage'
        if isinstance(description, tuple) and description
        else 'it refers to something that is no storage'
      )
    # A place in another storage follows in files written before 2018.
    _, kind, key, _, size, *view = description
    if not isinstance(kind, _StorageType):
      raise NotAllowedError('a storage has a type that is none')
    if any(part is not None for part in view):
      raise NotAllowedError(f'storage {key!r} is a part of another storage')
    if not isinstance(key, str) or not isinstance(size, int) or size < 0:
      raise _damaged(f'has a storage {key!r} of {size!r} elements')
    storage = Storage(key, kind.dtype, size)
    if self.storages.setdefault(key, storage) != storage:
      raise _damaged(f'describes the storage {key!r} in two ways')
    self.stack.append(storage)


def _named(module: str, name: str) -> _Function | _StorageType:
  if module == 'torch' and name in _STORAGE_TYPES:
    return _StorageType(_STORAGE_TYPES[name])
  if (module, name) not in _FUNCTIONS:
    raise NotAllowedError(f'it names {module}.{name}')
  return _FUNCTIONS[module, name]


def _tensor(
  storage, offset, shape, strides, requires_grad=False, hooks=None, bits=None
) -> StoredTensor:
  del requires_grad, hooks
  if bits and any(bits.values()):
    raise NotAllowedError('a tensor is stored conjugated or negated')
  numbers = (offset, *shape, *strides)
  if (
    not isinstance(storage, Storage)
    or len(shape) != len(strides)
    # No file has 2**63 bytes.
    or any(not isinstance(n, int) or not 0 <= n < 2**63 for n in numbers)
  ):
    raise _damaged(
      f'has a tensor of shape {shape!r} with strides {strides!r} from element '
      f'{offset!r} of {storage!r}'
    )
  return StoredTensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor, *_) -> StoredTensor:
  if not isinstance(tensor, StoredTensor):
    raise _damaged('has a parameter that is no tensor')
  return tensor


def _ordered_dict(items=()) -> dict:
  # Python 2 gave the items as an argument.
  if any(not isinstance(key, _KEYS) for key, _ in items):
    raise NotAllowedError('it has a key that is neither text nor a number')
  return dict(items)


def _counter(counts=None) -> dict:
  return {} if counts is None else counts


def _set(items) -> list:
  return items


_FUNCTIONS = {
  ('collections', 'OrderedDict'): _Function(_ordered_dict),
  # Milestones of a learning rate schedule.
  ('collections', 'Counter'): _Function(_counter),
  ('__builtin__', 'set'): _Function(_set),
  ('builtins', 'set'): _Function(_set),
  ('torch._utils', '_rebuild_tensor'): _Function(_tensor),
  ('torch._utils', '_rebuild_tensor_v2'): _Function(_tensor),
  ('torch._utils', '_rebuild_parameter'): _Function(_parameter),
  ('torch._utils', '_rebuild_parameter_with_state'): _Function(_parameter),
}
