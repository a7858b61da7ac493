"""Parts of a classifier that several processes hold, each its own.

Every process writes its rows to `<checkpoints>/../classes/<step>`, and later
reads those that it then has: a folder that all of them see. One process alone
has all rows, and they stand in the checkpoint itself.
"""

import pathlib
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from faceqat.training import distributed, sharding

_FOLDER = 'classes'


def are_apart(state: Any) -> bool:
  """Whether this process has only a part of some leaf."""
  return any(
    isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
    for leaf in _of_classes(state).values()
  )


def without(state: Any) -> Any:
  """A state whose split leaves are None."""
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: None if sharding.is_sharded(path) else leaf, state
  )


def folder_of(checkpoints: pathlib.Path, step: int) -> pathlib.Path:
  return checkpoints.parent / _FOLDER / str(step)


def save(checkpoints: pathlib.Path, step: int, state: Any, kept: list[int]):
  """Writes the split leaves; all processes call it, and wait for each other.

  Args:
    checkpoints: the folder of the checkpoints.
    step: of the state.
    state: on the mesh.
    kept: steps that have a checkpoint; older parts of others are removed.
  """
  kept = distributed.value_of_first(kept)
  if step in kept:
    return
  with ocp.StandardCheckpointer() as checkpointer:
    # What is there already is of a run that ended before its checkpoint.
    checkpointer.save(
      folder_of(checkpoints, step), _of_classes(state), force=True
    )
  if distributed.is_first():
    for old in folder_of(checkpoints, step).parent.iterdir():
      number = int(old.name) if old.name.isdecimal() else step
      if number not in kept and number < max(kept, default=0):
        shutil.rmtree(old)


def restore(
  checkpoints: pathlib.Path, step: int, state: Any, rest: Any, mesh: Mesh
) -> Any:
  """A state whose split leaves are those that were saved.

  Args:
    checkpoints, step: as they were given.
    state: on the mesh of now, which may have other padding; its split leaves
      say what to read.
    rest: what it becomes, as `without` leaves it.
    mesh: of now.
  """
  leaves = jax.tree_util.tree_leaves_with_path(state)
  wanted = {
    _name(path): jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding.placement(path, mesh)
    )
    for path, leaf in leaves
    if sharding.is_sharded(path)
  }
  with ocp.StandardCheckpointer() as checkpointer:
    # Padding is cut or added.
    found = checkpointer.restore(
      folder_of(checkpoints, step), wanted, strict=False
    )
  return jax.tree_util.tree_map_with_path(
    lambda path, _, other: found.get(_name(path), other), state, rest
  )


def _of_classes(state):
  """The split leaves by name."""
  leaves = jax.tree_util.tree_leaves_with_path(state)
  return {
    _name(path): leaf for path, leaf in leaves if sharding.is_sharded(path)
  }


def _name(path):
  return jax.tree_util.keystr(path, simple=True, separator='/')
