"""The file that holds a program: safetensors with a description and a digest.

The header's one metadata entry is JSON: format version, SHA-256 and the
description. The digest covers every byte of the file, with its own 64 digits
taken as zeros.
"""

import json
import os

import numpy as np
import safetensors.numpy

from faceqat.files import seal, strict_json

FORMAT_VERSION = 2

_KEY = 'faceqat_program'
_MAX_HEADER_BYTES = 100_000_000  # As safetensors itself allows.


def to_bytes(description: dict, arrays: dict) -> bytes:
  """The file's content, of a `description` (JSON-able) and `arrays`."""
  entry = {
    'version': FORMAT_VERSION,
    'sha256': seal.BLANK,
    'description': description,
  }
  arrays = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
  text = json.dumps(entry, allow_nan=False)
  # The digest stands before the description, so its zeros come first.
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
    if size < 8 or length > _MAX_HEADER_BYTES:
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
  if not isinstance(entry.get('description'), dict):
    raise ValueError(f'{name} is damaged: it has no description')
  try:
    arrays = safetensors.numpy.load(content)
  except Exception as error:
    raise ValueError(f'{name} has unreadable arrays: {error}') from error
  return entry['description'], arrays


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
