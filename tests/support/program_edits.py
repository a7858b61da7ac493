"""Changes to what a program's file says, under a correct digest."""

import functools
import operator

from faceqat.integer import program_file


def edit(path, change):
  """Rewrites a file after `change(description, arrays)`."""
  description, arrays = program_file.read(path)
  arrays = {name: value.copy() for name, value in arrays.items()}
  change(description, arrays)
  path.write_bytes(program_file.to_bytes(description, arrays))


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
