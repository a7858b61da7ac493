"""PyTorch's .pth, .pt and .ckpt files, read without PyTorch.

Two formats are in circulation. Since PyTorch 1.6 a file is a zip archive of
uncompressed records: a pickle `data.pkl`, and the numbers of each storage in
`data/<key>` in the byte order that the record `byteorder` states. Before that
it was five pickles one after the other (a magic number, the format's version,
a description of the machine, the object, the storages' keys), then for each
key an int64 count and the numbers, little-endian.

Only what the chosen dictionary refers to is read; the states of optimisers
beside it are not.
"""

import io
import math
import os
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from faceqat.files.restricted_pickle import shown
from faceqat.models.weights import weight_formats
from faceqat.models.weights.torch_pickle import (
  NotAllowedError,
  Storage,
  StoredTensor,
  read_pickle,
)
from faceqat.models.weights.torch_state import find_network, without_wrappers

_ZIP_START = b'PK\x03\x04'
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_VERSION = 1001

Storages = Callable[[Storage], np.ndarray]


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads a network's tensors.

  Args:
    path: what `torch.save` wrote of a state dictionary, or of a dictionary
      that has one under a usual name ('state_dict', 'model', ...), such as a
      Lightning checkpoint. Beside it there may be plain containers and numbers.

  Returns:
    Read-only arrays by name, without the 'module.' of DataParallel and the
    '_orig_mod.' of torch.compile. Element types are the file's, but bfloat16,
    which NumPy has not: float32 holds it exactly.

  Raises:
    ValueError: names the file. It cannot be opened, is damaged, cut short or
      of another format; its pickle names anything but tensors and plain
      containers; it has no state dictionary, or several; or a tensor does not
      lie within its storage.
  """
  path = os.fspath(path)
  data = weight_formats.read_bytes(path, 'checkpoint')
  try:
    is_zip = data.startswith(_ZIP_START)
    content, storages = (_read_zip if is_zip else _read_legacy)(data)
  except NotAllowedError as error:
    raise ValueError(
      f'{path} is no plain dictionary of tensors and was not run: {error}; '
      'save it again as torch.save(model.state_dict(), path)'
    ) from error
  # A damaged file fails in as many ways as it has bytes.
  except Exception as error:
    raise _damaged(path, error) from error
  tensors = find_network(content, path)
  arrays = {}
  for name, tensor in tensors.items():
    try:
      arrays[name] = _view(tensor, storages)
    except _UnfitError as error:
      raise ValueError(f'{path}: tensor {name!r} {error}') from error
    except Exception as error:
      raise _damaged(path, error) from error
  return without_wrappers(arrays)


class _UnfitError(Exception):
  """A tensor that does not lie within its storage."""


def _damaged(path: str, error: Exception) -> ValueError:
  return ValueError(
    f'{path} is damaged, truncated or no PyTorch checkpoint '
    f'({type(error).__name__}: {error}): get it again'
  )


def _read_zip(data: bytes) -> tuple[Any, Storages]:
  """The object in a zip archive, and what gives its storages."""
  archive = zipfile.ZipFile(io.BytesIO(data))
  infos = archive.infolist()
  names = {info.filename for info in infos}
  # What is not compressed, and takes no more room than the file has, cannot
  # grow when it is read.
  if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
    raise ValueError('its records are compressed, as PyTorch never does')
  total = sum(info.file_size for info in infos)
  if total > len(data) or len(names) < len(infos):
    raise ValueError(
      f'it lists {total} bytes in {len(infos)} records, of which '
      f'{len(names)} have a name of their own, in a file of {len(data)} bytes'
    )
  roots = [
    name.removesuffix('/data.pkl')
    for name in names
    if name.endswith('/data.pkl') and name.count('/') == 1
  ]
  if len(roots) != 1:
    raise ValueError(f'it has {len(roots)} records <name>/data.pkl, wanted one')
  (root,) = roots
  if f'{root}/constants.pkl' in names:
    raise NotAllowedError('it is a TorchScript program')
  order = '<'
  if f'{root}/byteorder' in names:
    text = archive.read(f'{root}/byteorder')
    if text not in (b'little', b'big'):
      raise ValueError(f'its byte order is {shown(text)}')
    order = '<' if text == b'little' else '>'
  content, _ = read_pickle(io.BytesIO(archive.read(f'{root}/data.pkl')))

  def load(storage: Storage) -> np.ndarray:
    name = f'{root}/data/{storage.key}'
    if name not in names:
      raise ValueError(f'it has no record {name!r}')
    _check_size(storage, archive.getinfo(name).file_size)
    return _numbers(storage, archive.read(name), order)

  return content, _keeping(load)


def _read_legacy(data: bytes) -> tuple[Any, Storages]:
  """The object in a file from before the zip format, and its storages."""
  file = io.BytesIO(data)
  magic, _ = read_pickle(file)
  if not isinstance(magic, int) or magic != _MAGIC_NUMBER:
    raise ValueError('it does not start with the magic number')
  version, _ = read_pickle(file)
  if not isinstance(version, int) or version != _VERSION:
    raise ValueError(f'its version is {shown(version)}, wanted {_VERSION}')
  read_pickle(file)  # The machine's sizes of types, which nobody reads.
  content, storages = read_pickle(file)
  keys, _ = read_pickle(file)
  if (
    not isinstance(keys, list)
    or not all(isinstance(key, str) and key in storages for key in keys)
    or not len(set(keys)) == len(keys) == len(storages)
  ):
    raise ValueError('its list of storages is not that of its tensors')
  position = file.tell()
  starts = {}
  for key in keys:
    storage = storages[key]
    count = int.from_bytes(data[position : position + 8], 'little')
    position += 8
    if position > len(data):
      raise ValueError(f'it ends before the storage {key!r}')
    if count != storage.size:
      raise ValueError(
        f'storage {key!r} has {count} elements, its tensors say {storage.size}'
      )
    starts[key] = position
    _check_size(storage, min(len(data) - position, storage.nbytes))
    position += storage.nbytes

  def load(storage: Storage) -> np.ndarray:
    start = starts[storage.key]
    content = memoryview(data)[start : start + storage.nbytes]
    return _numbers(storage, content, '<')

  return content, _keeping(load)


def _check_size(storage: Storage, found: int):
  if found != storage.nbytes:
    raise ValueError(
      f'storage {storage.key!r} has {found} bytes, wanted {storage.nbytes}'
    )


def _numbers(storage: Storage, data, order: str) -> np.ndarray:
  """A storage's elements, in this machine's byte order."""
  if storage.dtype == 'bfloat16':
    upper_half = np.frombuffer(data, f'{order}u2').astype(np.uint32)
    return (upper_half << 16).view(np.float32)
  if storage.dtype == '?':
    # A byte that is neither 0 nor 1 is no bool to NumPy.
    return np.frombuffer(data, np.uint8) != 0
  numbers = np.frombuffer(data, order + storage.dtype)
  return numbers.astype(numbers.dtype.newbyteorder('='), copy=False)


def _keeping(load: Storages) -> Storages:
  """Reads a storage once, however many tensors share it."""
  loaded = {}

  def load_once(storage: Storage) -> np.ndarray:
    if storage.key not in loaded:
      loaded[storage.key] = load(storage)
    return loaded[storage.key]

  return load_once


def _view(tensor: StoredTensor, storages: Storages) -> np.ndarray:
  """The tensor as a view of its storage: sharing costs no memory."""
  storage, offset, shape, strides = tensor
  count = math.prod(shape)
  steps = sum((n - 1) * s for n, s in zip(shape, strides))
  if count and offset + steps >= storage.size:
    raise _UnfitError(
      f'of shape {list(shape)} reaches element {offset + steps} of a storage '
      f'of {storage.size}: get the file again'
    )
  if count > storage.size:
    raise _UnfitError(
      f'of shape {list(shape)} repeats the {storage.size} elements of its '
      'storage: save it again after .contiguous()'
    )
  numbers = storages(storage)
  if not count:
    return np.empty(shape, numbers.dtype)
  return np.lib.stride_tricks.as_strided(
    numbers[offset:],
    shape,
    [stride * numbers.itemsize for stride in strides],
    writeable=False,
  )
