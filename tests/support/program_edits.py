"""Changes to what a program's file says, under a correct digest."""

import functools
import json
import operator
import zlib

import numpy as np
import safetensors.numpy

from faceqat.files import seal
from faceqat.integer import program_file


def edit(path, change, write=program_file.to_bytes):
  """Rewrites a file after `change(description, arrays)`."""
  description, arrays = program_file.read(path)
  arrays = {name: value.copy() for name, value in arrays.items()}
  change(description, arrays)
  path.write_bytes(write(description, arrays))


def to_plain_bytes(description, arrays):
  """A file of version 2 that takes any description and arrays, as they are."""
  entry = {'version': 2, 'sha256': seal.BLANK, 'description': description}
  return program_file._sealed(entry, arrays)


def edit_packed(path, change, compress=zlib.compress):
  """Rewrites a file after `change(description, stored)`.

  The description has the records of the packed arrays; `stored` are the arrays
  that the file itself has, without it.
  """
  stored = safetensors.numpy.load(path.read_bytes())
  description = json.loads(zlib.decompress(stored.pop('description').tobytes()))
  change(description, stored)
  content = compress(json.dumps(description).encode())
  entry = {'version': 3, 'sha256': seal.BLANK}
  path.write_bytes(
    program_file._sealed(
      entry, {'description': np.frombuffer(content, np.uint8), **stored}
    )
  )


def put(*keys, value):
  """A change of one value in the description."""
  *way, last = keys

  def change(description, arrays):
    functools.reduce(operator.getitem, way, description)[last] = value

  return change


def delete(*keys):
  """A change that takes one value out of the description."""
  *way, last = keys

  def change(description, arrays):
    functools.reduce(operator.getitem, way, description).pop(last)

  return change


def array(name, make):
  """A change of one array."""

  def change(description, arrays):
    arrays[name] = make(arrays[name])

  return change
