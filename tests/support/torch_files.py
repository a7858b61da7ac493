"""PyTorch checkpoints made by hand, one instruction after the other.

The programs are written as `torch.save` writes them, in protocol 2, so that
the tests run without PyTorch, and so that they can also lie.
"""

import io
import pickle
import pickletools
import zipfile

import numpy as np
import onnx

from faceqat.models.weights import torch_checkpoint

FORMATS = ['zip', 'legacy']
NUMBERS = np.arange(6, dtype=np.float32)
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


def plain(value) -> bytes:
  """The instructions that build a plain value."""
  return pickletools.optimize(pickle.dumps(value, 2))[2:-1]


def named(module: str, name: str) -> bytes:
  return b'c' + module.encode() + b'\n' + name.encode() + b'\n'


def call(function: bytes, *arguments: bytes) -> bytes:
  return function + b'(' + b''.join(arguments) + b'tR'


def mapping(items: dict[str, bytes]) -> bytes:
  pairs = b''.join(plain(key) + value for key, value in items.items())
  return b'}(' + pairs + b'u'


def ordered(items: dict[str, bytes]) -> bytes:
  """An OrderedDict with an attribute, as a module's state dictionary."""
  empty = call(named('collections', 'OrderedDict'))
  pairs = b''.join(plain(key) + value for key, value in items.items())
  return empty + b'(' + pairs + b'u' + mapping({'_metadata': empty}) + b'b'


def storage(key='0', kind='FloatStorage', size=6, legacy=False) -> bytes:
  view = b'N' if legacy else b''
  return (
    b'('
    + plain('storage')
    + named('torch', kind)
    + plain(key)
    + plain('cpu')
    + plain(size)
    + view
    + b'tQ'
  )


def tensor(place: bytes, shape=(2, 3), strides=(3, 1), offset=0) -> bytes:
  return call(
    named('torch._utils', '_rebuild_tensor_v2'),
    place,
    plain(offset),
    plain(shape),
    plain(strides),
    plain(False),
    call(named('collections', 'OrderedDict')),
  )


def program(value: bytes) -> bytes:
  return b'\x80\x02' + value + b'.'


def zip_file(
  value: bytes,
  storages: dict[str, bytes],
  byteorder: str | None = 'little',
  compression: int = zipfile.ZIP_STORED,
  root: str = 'archive',
) -> bytes:
  """A file of the present format."""
  records = {'data.pkl': program(value)}
  if byteorder is not None:
    records['byteorder'] = byteorder.encode()
  records |= {f'data/{key}': data for key, data in storages.items()}
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', compression) as archive:
    for name, data in records.items():
      archive.writestr(f'{root}/{name}', data)
  return file.getvalue()


def legacy_file(
  value: bytes,
  storages: dict[str, tuple[int, bytes]],
  magic: int = MAGIC_NUMBER,
  version: int = 1001,
) -> bytes:
  """A file from before it; each storage is a count and bytes."""
  pieces = [
    *(pickle.dumps(head, 2) for head in (magic, version)),
    pickle.dumps({'protocol_version': 1001, 'little_endian': True}, 2),
    program(value),
    pickle.dumps(list(storages), 2),
  ]
  for size, data in storages.values():
    pieces += [np.int64(size).tobytes(), data]
  return b''.join(pieces)


def by_hand(kind, wrap=None, data=None, size=6, **fields):
  """A file with one float32 tensor 'weight' of six numbers.

  `wrap` makes the whole object of the tensor's instructions.
  """
  legacy = kind == 'legacy'
  weight = tensor(storage(size=size, legacy=legacy), **fields)
  value = wrap(weight) if wrap else ordered({'weight': weight})
  data = NUMBERS.tobytes() if data is None else data
  if legacy:
    return legacy_file(value, {'0': (size, data)})
  return zip_file(value, {'0': data})


def of_state(state):
  """The instructions that build a state dictionary, and its storages."""
  parts = {
    name: tensor(
      storage(str(index), 'FloatStorage', array.size),
      array.shape,
      tuple(stride // array.itemsize for stride in array.strides),
    )
    for index, (name, array) in enumerate(state.items())
  }
  data = {str(i): array.tobytes() for i, array in enumerate(state.values())}
  return ordered(parts), data


def save_onnx(arrays, path):
  """A graph of nothing but initialisers."""
  tensors = [
    onnx.numpy_helper.from_array(a, name) for name, a in arrays.items()
  ]
  graph = onnx.helper.make_graph([], 'graph', [], [], tensors)
  onnx.save(onnx.helper.make_model(graph), path)


def floating(state):
  """A state dictionary without its counts of batches."""
  return {name: array for name, array in state.items() if array.ndim}


def read(tmp_path, data: bytes) -> dict[str, np.ndarray]:
  path = tmp_path / 'net.pth'
  path.write_bytes(data)
  return torch_checkpoint.read(path)
