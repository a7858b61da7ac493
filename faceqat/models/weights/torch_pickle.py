"""Reads the pickles inside PyTorch's files without running them.

They come through `restricted_pickle`, with the names that a dictionary of
tensors needs and no other. A tensor comes out as its place in the file.
"""

import io
from typing import Any, NamedTuple

from faceqat.files.restricted_pickle import (
  Function,
  Machine,
  NotAllowedError,
  check_key,
  damaged,
  kind_of,
  shown,
)

# NumPy's codes; bfloat16, which NumPy lacks, is read as its 16 bits.
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
# NumPy's limit; the product of a million is a number of a million digits.
_MAX_DIMENSIONS = 64


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


def read_pickle(file: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
  """Reads one pickle; leaves `file` behind it.

  Args:
    file: the bytes, in memory.

  Returns:
    The value that it builds, of dicts, lists, tuples, str, bytes, numbers,
    None and `StoredTensor` (sets come as lists); and the storages by key.

  Raises:
    NotAllowedError: names the instruction, function or type that is refused.
    Exception: of any kind, where the program is damaged.
  """
  machine = _TensorMachine()
  return machine.run(file), machine.storages


def _tensor(
  storage, offset, shape, strides, requires_grad=False, hooks=None, bits=None
) -> StoredTensor:
  del requires_grad, hooks
  if bits and any(bits.values()):
    raise NotAllowedError('a tensor is stored conjugated or negated')
  if not isinstance(storage, Storage):
    raise damaged(f'has a tensor in a {kind_of(storage)}')
  if max(len(shape), len(strides)) > _MAX_DIMENSIONS:
    raise damaged(f'has a tensor of {len(shape)} dimensions')
  numbers = (offset, *shape, *strides)
  # No file has 2**63 bytes.
  if len(shape) != len(strides) or any(
    not isinstance(n, int) or not 0 <= n < 2**63 for n in numbers
  ):
    shape, strides = (
      f'({", ".join(map(shown, row))})' for row in (shape, strides)
    )
    raise damaged(
      f'has a tensor of shape {shape} with strides {strides} from element '
      f'{shown(offset)}'
    )
  return StoredTensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor, *_) -> StoredTensor:
  if not isinstance(tensor, StoredTensor):
    raise damaged('has a parameter that is no tensor')
  return tensor


def _ordered_dict(items=()) -> dict:
  # Python 2 gave the items as an argument.
  for key, _ in items:
    check_key(key)
  return dict(items)


# Lightning kept the state of each callback under its class until 1.5. A class
# comes out as its name: nothing can be made of it.
_CALLBACKS = (
  ('model_checkpoint', 'ModelCheckpoint'),
  ('early_stopping', 'EarlyStopping'),
)
# Nothing is copied into a dict or a set here, as that hashes what it is given.
_COUNTER = Function(lambda counts=None: {} if counts is None else counts)
_SET = Function(lambda items: items)
_NAMES = {
  ('collections', 'OrderedDict'): Function(_ordered_dict),
  # Milestones of a learning rate schedule.
  ('collections', 'Counter'): _COUNTER,
  ('__builtin__', 'set'): _SET,
  ('builtins', 'set'): _SET,
  ('torch._utils', '_rebuild_tensor'): Function(_tensor),
  ('torch._utils', '_rebuild_tensor_v2'): Function(_tensor),
  ('torch._utils', '_rebuild_parameter'): Function(_parameter),
  ('torch._utils', '_rebuild_parameter_with_state'): Function(_parameter),
  **{
    (f'pytorch_lightning.callbacks.{module}', name): name
    for module, name in _CALLBACKS
  },
  **{
    ('torch', name): _StorageType(dtype)
    for name, dtype in _STORAGE_TYPES.items()
  },
}


class _TensorMachine(Machine):
  """Keeps the storages that it meets."""

  def __init__(self):
    super().__init__(_NAMES)
    self.storages: dict[str, Storage] = {}

  def set_state(self, target: Any, state: Any):
    # Attributes of a dictionary, such as a state dict's format version, are
    # dropped.
    if not isinstance(target, dict):
      super().set_state(target, state)

  def load_persistent(self, description: Any) -> Storage:
    if not isinstance(description, tuple) or not description:
      raise NotAllowedError('it refers to something that is no storage')
    if not isinstance(description[0], str) or description[0] != 'storage':
      raise NotAllowedError(
        f'it refers to a {shown(description[0])}, not to a storage'
      )
    # A place in another storage follows in files written before 2018.
    _, kind, key, _, size, *view = description
    if not isinstance(kind, _StorageType):
      raise NotAllowedError('a storage has a type that is none')
    if any(part is not None for part in view):
      raise NotAllowedError(
        f'storage {shown(key)} is a part of another storage'
      )
    if not isinstance(key, str) or not isinstance(size, int) or size < 0:
      raise damaged(f'has a storage {shown(key)} of {shown(size)} elements')
    check_key(key)
    storage = Storage(key, kind.dtype, size)
    if self.storages.setdefault(key, storage) != storage:
      raise damaged(f'describes the storage {key!r} in two ways')
    return storage
