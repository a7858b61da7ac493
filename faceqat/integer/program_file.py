"""The file that holds a program: safetensors with a description and a digest.

The header's one metadata entry is JSON: format version and SHA-256. The digest
covers every byte of the file, with its own 64 digits taken as zeros. Then come
two arrays of bytes: `description`, JSON that zlib compressed, and `packed`,
what `packing` makes of the arrays.

Versions 1 and 2 have the description in the entry and each array for itself;
version 2 has weights of up to 4 bits two to a byte.
"""

import json
import math
import os
import zlib
from collections.abc import Iterator

import numpy as np
import safetensors.numpy

from faceqat.files import seal, strict_json
from faceqat.integer import packing
from faceqat.integer.tensors import check_integers

FORMAT_VERSION = 3

_KEY = 'faceqat_program'
# Of a header, as safetensors itself allows; and of a description.
_MAX_BYTES = 100_000_000
_NIBBLE = 4

# Raised where a description has values of wrong types, or lacks some.
MALFORMED = (
  AttributeError,
  KeyError,
  OverflowError,
  RecursionError,
  TypeError,
)


def to_bytes(description: dict, arrays: dict) -> bytes:
  """The file's content.

  Args:
    description: JSON-able.
    arrays: int8, int32 and float32, not empty.
  """
  records, packed = packing.pack_arrays(arrays)
  text = json.dumps({**description, 'arrays': records}, allow_nan=False)
  compressed = np.frombuffer(zlib.compress(text.encode(), 9), np.uint8)
  return _sealed(
    {'version': FORMAT_VERSION, 'sha256': seal.BLANK},
    {'description': compressed, 'packed': packed},
  )


def to_bytes_2(description: dict, arrays: dict) -> bytes:
  """The content of a file of version 2, whose SHA-256 names a program.

  It depends on no library that compresses, and files that carry the digest of
  a program are older than version 3.
  """
  arrays = dict(arrays)
  operators = []
  for fields, key in _weights_of_operators(description):
    if fields.get('weight_bits', 8) <= _NIBBLE:
      fields = {**fields, 'packed_shape': arrays[key].shape}
      arrays[key] = packing.pack(arrays[key], _NIBBLE)
    operators.append(fields)
  return _sealed(
    {
      'version': 2,
      'sha256': seal.BLANK,
      'description': {**description, 'operators': operators},
    },
    arrays,
  )


def _weights_of_operators(description: dict) -> Iterator[tuple[dict, str]]:
  """The fields of each operator, and the name that its weights would have."""
  for fields in description['operators']:
    yield fields, f'{fields["name"]}:weights'


def _sealed(entry: dict, arrays: dict) -> bytes:
  arrays = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
  text = json.dumps(entry, allow_nan=False)
  # The digest stands before what else there is, so its zeros come first.
  return seal.close(safetensors.numpy.save(arrays, metadata={_KEY: text}))


def read(path: str | os.PathLike) -> tuple[dict, dict[str, np.ndarray]]:
  """Reads a file of `to_bytes`: (description, arrays).

  Raises:
    ValueError: names the file; it is no program file, cut short, damaged, or
      written by a newer version.
  """
  name = os.fspath(path)
  with open(path, 'rb') as file:
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), 'little')
    if size < 8 or length > _MAX_BYTES:
      raise ValueError(_foreign(name, 'it does not start as one'))
    if 8 + length > size:
      raise ValueError(
        f'{name} is no program file or is cut short: its header announces '
        f'{length} bytes, the file has {size}: copy it again'
      )
    header = file.read(length)
    entry = _entry(name, header)
    version = entry.get('version')
    if not isinstance(version, int) or version < 1:
      raise ValueError(f'{name} is damaged: its version is {version!r}')
    if version > FORMAT_VERSION:
      raise ValueError(
        f'{name} has format version {version}; this faceqat reads up to '
        f'{FORMAT_VERSION}: upgrade faceqat or convert the checkpoint again'
      )
    content = length.to_bytes(8, 'little') + header + file.read()
  digest = entry.get('sha256')
  if not isinstance(digest, str) or len(digest) != 64:
    raise ValueError(f'{name} is damaged: it has no SHA-256')
  if not seal.is_whole(content, digest):
    raise ValueError(
      f'{name} is damaged or cut short: its SHA-256 does not match: copy it '
      'again or convert the checkpoint again'
    )
  try:
    arrays = safetensors.numpy.load(content)
  except Exception as error:
    raise ValueError(f'{name} has unreadable arrays: {error}') from error
  try:
    if version < 3:
      return _read_2(entry, arrays)
    return _read_3(**arrays)
  except ValueError as error:
    raise ValueError(f'{name}: {error}') from error
  except MALFORMED as error:
    raise ValueError(malformed(name, error)) from error


def malformed(name: str, error: Exception) -> str:
  """What is said of a description that has other things than were written."""
  return (
    f'{name}: its description is malformed ({type(error).__name__}: {error}); '
    'convert the checkpoint again'
  )


def _read_2(entry: dict, arrays: dict) -> tuple[dict, dict]:
  """Description and arrays of a file of version 1 or 2."""
  description = entry.get('description')
  if not isinstance(description, dict):
    raise ValueError('it is damaged: it has no description')
  for fields, key in _weights_of_operators(description):
    if 'packed_shape' in fields:
      arrays[key] = _unpack_nibbles(fields, arrays[key])
  return description, arrays


def _unpack_nibbles(fields: dict, packed: np.ndarray) -> np.ndarray:
  """Weights of up to 4 bits, int8; takes their shape out of the fields."""
  try:
    shape = check_integers(
      fields.pop('packed_shape'), 'the shape of packed weights', 1, 2**24
    )
    nibbles = packing.unpack(packed, _NIBBLE, math.prod(shape))
  except ValueError as error:
    raise ValueError(f'Operator {fields["name"]!r}: {error}') from None
  # Moves bit 3 up to the sign, and back down with it.
  return ((nibbles << 4).view(np.int8) >> 4).reshape(shape)


def _read_3(*, description: np.ndarray, packed: np.ndarray):
  """Description and arrays, of the arrays that the file has."""
  fields = _inflate(description)
  return fields, packing.unpack_arrays(fields.pop('arrays'), packed)


def records(content: bytes) -> list[dict]:
  """What `packing.unpack_arrays` has to know of each array of a whole file."""
  return _inflate(safetensors.numpy.load(content)['description'])['arrays']


def _inflate(description: np.ndarray) -> dict:
  inflate = zlib.decompressobj()
  try:
    text = inflate.decompress(description.tobytes(), _MAX_BYTES)
  except zlib.error as error:
    raise ValueError(f'its description is damaged: {error}') from error
  if not inflate.eof:
    raise ValueError(
      f'its description is cut short, or longer than {_MAX_BYTES:,} bytes'
    )
  return strict_json.parse(text, dict)


def is_program(content: bytes) -> bool:
  """Whether the bytes of a safetensors file, or its start, are a program's."""
  return f'"{_KEY}"'.encode() in content[:256]


def _entry(name: str, header: bytes) -> dict:
  """The JSON entry of a safetensors header."""
  try:
    fields = strict_json.parse(header)
  except ValueError:
    raise ValueError(_foreign(name, 'its header is not JSON')) from None
  metadata = fields.get('__metadata__') if isinstance(fields, dict) else None
  text = metadata.get(_KEY) if isinstance(metadata, dict) else None
  if not isinstance(text, str):
    raise ValueError(_foreign(name, f'its header has no {_KEY!r}'))
  try:
    return strict_json.parse(text, dict)
  except ValueError:
    raise ValueError(
      f'{name} is damaged: its description is not JSON'
    ) from None


def _foreign(name: str, reason: str) -> str:
  return (
    f'{name} is no faceqat program file: {reason}; give the file that '
    'the conversion wrote'
  )
