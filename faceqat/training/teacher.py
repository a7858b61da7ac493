"""The network whose embeddings a distillation learns."""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from faceqat.calibration import packaged_network
from faceqat.data import places
from faceqat.evaluators.predict import make_predict
from faceqat.faces import fingerprint
from faceqat.files.image_size import ImageSize, height_width
from faceqat.models.features import block_shapes, embed_by_block
from faceqat.models.network import variable_shapes
from faceqat.models.weights.pixels import SeveralProjectsError
from faceqat.models.weights.pretrained import PACKAGED, load_pretrained
from faceqat.quant.spec import FLOAT
from faceqat.training.array_digest import digest_arrays
from faceqat.training.checkpoint import load_network
from faceqat.training.start import is_run

Batch = dict[str, Any]

_FIELD = 'loss.teacher'

_embed_by_block = jax.jit(embed_by_block, static_argnums=0)


class Teacher(NamedTuple):
  """A network that computes in float.

  Attributes:
    model, variables: of the network.
    image_size: height and width of its images.
  """

  model: nn.Module
  variables: dict[str, Any]
  image_size: tuple[int, int]


def load_teacher(
  config: ml_collections.ConfigDict,
  model: nn.Module,
  start: dict[str, Any],
) -> Teacher:
  """The network that `config.loss.teacher` names; prints which it is.

  Args:
    config: of the run, as `with_fingerprint` gives it.
    model: of the run.
    start: its variables with the weights of `config.pretrained`, which are
      copied: they are the teacher where no other is named.

  Raises:
    ValueError: there is no such network, it is for other faces, or its
      embeddings, images or blocks are of other sizes than the run's.
  """
  name, whole, size = config.loss.teacher, model, config.data.image_size
  if config.model.get('inner_width', 1.0) < 1:
    # The network from which inner channels were cut.
    name, whole = name or config.pretrained, model.clone(inner_width=1.0)
  if name:
    teacher = _named(name, whole, config)
  else:
    start = jax.tree.map(jnp.copy, start)
    teacher = Teacher(model, start, height_width(size))
  if config.loss.features:
    _check_blocks(teacher, model, height_width(size))
  return teacher


def _named(
  name: str, model: nn.Module, config: ml_collections.ConfigDict
) -> Teacher:
  """A packaged network, a run, or the model with the weights of a file."""
  size = config.data.image_size
  if name in PACKAGED or is_run(name, _FIELD):
    packaged = name in PACKAGED
    found = (packaged_network.load_float if packaged else load_network)(name)
    faces = fingerprint.of_run(found.config)
    _check_faces(config, faces)
    size = found.config.data.image_size
    teacher = Teacher(found.model, found.variables, height_width(size))
  else:
    teacher = Teacher(model, _of_file(name, model, size), height_width(size))
  _check_sizes(teacher, config)
  print(f'learns the embeddings of {name}')
  return teacher


def make_teacher(
  teacher: Teacher, features: bool = False
) -> Callable[[Batch], Batch]:
  """Makes a function that adds `target` [B, D], a teacher's embeddings.

  Images of another size than the teacher's are resized for it.

  Args:
    teacher: the network.
    features: also add `target_features`, what its blocks put out.
  """
  predict = make_predict(teacher.model, teacher.variables, FLOAT)

  def with_targets(batch: Batch) -> Batch:
    images = batch['image']
    if images.shape[1:3] != teacher.image_size:
      images = _resized(images, size=teacher.image_size)
    if not features:
      return {**batch, 'target': predict(images)}
    target, found = _embed_by_block(teacher.model, teacher.variables, images)
    return {**batch, 'target': target, 'target_features': found}

  return with_targets


def with_digest(
  config: ml_collections.ConfigDict, teacher: Teacher
) -> ml_collections.ConfigDict:
  """The config with `teacher_sha256`, of the teacher's weights."""
  weights = {
    name: teacher.variables[name]
    for name in ('params', 'batch_stats')
    if name in teacher.variables
  }
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.teacher_sha256 = digest_arrays(weights)
  return config


def check_same(
  before: ml_collections.ConfigDict,
  now: ml_collections.ConfigDict,
  checkpoint: str | os.PathLike,
):
  """Refuses to go on with another teacher; where it lies is free.

  Args:
    before: of a checkpoint. Older ones do not have the digest, and no other
      teacher than the network that the run started from.
    now: as `with_digest` gives it.
    checkpoint: for the message.

  Raises:
    ValueError: the teachers differ.
  """
  is_same = before.loss.get('teacher', '') == now.loss.teacher
  if 'teacher_sha256' in before:
    is_same = before.teacher_sha256 == now.teacher_sha256
  if not is_same:
    named = [
      config.loss.get('teacher', '') or f'pretrained={config.pretrained}'
      for config in (before, now)
    ]
    raise ValueError(
      f'{checkpoint} learnt from {named[0]}, and {named[1]} is not that '
      'network now: give the teacher that it learnt from to go on, or another '
      '--workdir to start anew'
    )


@functools.partial(jax.jit, static_argnames='size')
def _resized(images: jax.Array, *, size: tuple[int, int]) -> jax.Array:
  """[B, H, W, 3] uint8 to another height and width, linearly."""
  shape = (len(images), *size, 3)
  resized = jax.image.resize(jnp.float32(images), shape, 'linear')
  return jnp.uint8(jnp.rint(jnp.clip(resized, 0, 255)))


def _of_file(
  path: str, model: nn.Module, image_size: ImageSize
) -> dict[str, Any]:
  """The weights of a file, for the run's own model."""
  shapes = variable_shapes(model, image_size)
  empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  by_run = (
    'to learn from a file of another model, or of pixels that have to be '
    f'stated, make a run of it (--config.pretrained={path} '
    f'--config.total_steps=0) and give its folder as {_FIELD}'
  )
  try:
    found = load_pretrained(path, model, empty)
  except SeveralProjectsError as error:
    raise ValueError(f'{error}; {by_run}') from error
  except ValueError as error:
    raise ValueError(f'{_FIELD}: {error}; {by_run}') from error
  print(found.sentence)
  return found.variables


def _check_faces(
  config: ml_collections.ConfigDict, wanted: fingerprint.Fingerprint | None
):
  """Compares the faces of a run with those that its teacher is for."""
  ours = fingerprint.of_run(config)
  path = places.shown(config.data.path)
  name = f'{_FIELD}={config.loss.teacher}'
  fingerprint.check(ours, wanted, path, name, field='data.fingerprint')
  for note in fingerprint.warn_of_drawn(ours, wanted, path, name):
    print(note)


def _check_sizes(teacher: Teacher, config: ml_collections.ConfigDict):
  name, ours = config.loss.teacher, config.model.embedding_size
  if teacher.model.embedding_size != ours:
    raise ValueError(
      f'{_FIELD} is {name}, whose embeddings have '
      f'{teacher.model.embedding_size} numbers, but model.embedding_size is '
      f'{ours}; give --config.model.embedding_size='
      f'{teacher.model.embedding_size}, or another teacher'
    )
  height, width = height_width(config.data.image_size)
  if height * teacher.image_size[1] != width * teacher.image_size[0]:
    raise ValueError(
      f'{_FIELD} is {name}, for images of {teacher.image_size}, but '
      f'data.image_size is {(height, width)}, which cannot be resized to them '
      'without stretching faces; give a size of the same shape'
    )


def _check_blocks(
  teacher: Teacher, model: nn.Module, image_size: tuple[int, int]
):
  """Refuses a teacher whose blocks put out other shapes than the run's."""
  ours = block_shapes(model, image_size)
  theirs = block_shapes(teacher.model, teacher.image_size)
  if ours and ours == theirs:
    return
  names = [name for name in ours if theirs.get(name) != ours[name]]
  raise ValueError(
    'loss.features is for a teacher with the same blocks as model.name: '
    + (
      f'{names[0]} puts out {ours[names[0]]} here, and in the teacher '
      f'{theirs.get(names[0], "there is none")}'
      if names
      else f'here there are {len(ours)}, in the teacher {len(theirs)}'
    )
    + '; set loss.features=0, or give a teacher of the same kind'
  )
