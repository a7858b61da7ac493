"""Starts a run from the weights of a file or of another run."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from faceqat.data import places, stated_faces
from faceqat.data.pipeline import batches, subset
from faceqat.evaluators.predict import make_predict
from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.faces.images import SkippedImages
from faceqat.faces.made import are_made
from faceqat.losses.objective import Objective
from faceqat.models.weights.assign import assign, without_steps
from faceqat.models.weights.pixels import Pixels
from faceqat.models.weights.pretrained import load_pretrained
from faceqat.quant.spec import FLOAT
from faceqat.training.checkpoint import Checkpointer, load_network, read_config
from faceqat.training.train_state import TrainState

Batch = dict[str, Any]

# Of each person, for the first class weights.
_IMAGES_PER_CLASS = 8

# What the weight files of other projects are for, where there is one project
# with such files: InsightFace's.
_OF_FILES = {'.params': Fingerprint('arcface', 112)}


def start_from(
  state: TrainState, model, config: ml_collections.ConfigDict
) -> tuple[TrainState, ml_collections.ConfigDict]:
  """A new state whose backbone has the weights of a file or of another run.

  Args:
    state: of the new run.
    model: its network.
    config: of the run, of `with_fingerprint`. `pretrained` is a weight file, as
      `load_pretrained` takes it, or the folder of a run; `pretrained_pixels`
      what the network of a file saw.

  Returns:
    The state; and the config, whose fingerprint says whose weights they are.

  Raises:
    ValueError: the weights are not of this model, or may have been trained on
      one kind of pixels or another.
  """
  path = config.pretrained
  if _is_run(path):
    variables = _of_run(state.variables, path)
  else:
    found = load_pretrained(path, model, state.variables, _pixels_given(config))
    print(found.sentence)
    variables = found.variables
    with config.unlocked():
      config.fingerprint.weights = found.weights
  state = state.replace(
    params={**state.params, 'backbone': variables['params']},
    batch_stats=variables['batch_stats'],
  )
  return state, config


def _pixels_given(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """What the config says of the pixels of the weights it starts from.

  Raises:
    ValueError: a field has no such value.
  """
  given = {name: v for name, v in config.pretrained_pixels.items() if v}
  Pixels(**given)
  return given


def _is_run(path: str) -> bool:
  """Whether the weights are those of a run's folder, and not of a file.

  Raises:
    ValueError: a folder without checkpoints.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    return False
  if not (folder / 'checkpoints').is_dir():
    files = sorted(entry for entry in folder.iterdir() if entry.is_file())
    raise ValueError(
      f'pretrained is {path}, a folder without checkpoints: give that of a '
      'training run, or a weight file'
      + (f', such as {files[0]}' if files else '')
    )
  return True


def _of_run(variables: dict[str, Any], workdir: str) -> dict[str, Any]:
  """The float weights of a run; ranges and learned steps stay behind."""
  there = load_network(workdir).variables
  values = {}
  for collection in ('params', 'batch_stats'):
    values |= flax.traverse_util.flatten_dict(there[collection], sep='/')
  return assign(variables, without_steps(values), workdir)


def with_fingerprint(
  config: ml_collections.ConfigDict, checkpointer: Checkpointer
) -> ml_collections.ConfigDict:
  """The config with `fingerprint`: the faces that the network will be for.

  They are those of the training set. Where that does not say, or is drawn, they
  are those of what the run starts from.

  Args:
    config: of the run.
    checkpointer: of the run, which may be there to be continued.

  Raises:
    ValueError: what the run starts from, or an evaluation set, is of other
      faces than the training set; or there are no weights of a file whose
      pixels `pretrained_pixels` could be.
  """
  pixels = _pixels_given(config)
  if pixels and not (config.pretrained and not _is_run(config.pretrained)):
    raise ValueError(
      f'pretrained_pixels.{min(pixels)} is given, but pretrained is '
      f'{config.pretrained!r}, '
      + ('a run, whose pixels are its own' if config.pretrained else 'empty')
      + ': it says what a weight file was trained on'
    )
  before, name = None, config.pretrained
  step = checkpointer.latest_step
  if step is not None:
    name = str(checkpointer.folder.parent)
    before = fingerprint.of_run(checkpointer.config(step))
  elif name and _is_run(name):
    before = fingerprint.of_run(read_config(name))
  elif name:
    before = _OF_FILES.get(pathlib.Path(name).suffix.lower())
  path, size = places.shown(config.data.path), config.data.image_size
  found = stated_faces.training_fingerprint(config.data)
  fingerprint.check(found, before, path, name, field='data.fingerprint')
  if not config.data.path:
    # From drawn faces to photographs is the way to go, and not back.
    for warning in fingerprint.warn_of_drawn(
      found, before, "data.path=''", name
    ):
      print(warning)
  for silent in stated_faces.unstated_sets(config.data):
    print(fingerprint.unstated(silent))
  if fingerprint.names_template(before) and not fingerprint.names_template(
    found
  ):
    found = before
  found = found or Fingerprint(fingerprint.UNKNOWN, size)
  weights = before.weights if before else ''
  found = dataclasses.replace(found, size=size, weights=weights)
  # What is wrong with the pairs shows before the training, not after it.
  stated_faces.check_evaluation(
    config.eval, found, 'this training', image_size=size
  )
  for note in places.trained_on(config.eval, config.data):
    print(note)
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.fingerprint = fingerprint.to_fields(found)
  return config


def with_class_means(
  state: TrainState,
  model,
  source,
  batch_size: int,
  skipped: SkippedImages | None = None,
) -> TrainState:
  """A state whose class weights are the mean embeddings of the classes.

  Random weights would pull a network that knows faces already in random
  directions first (Qi et al. 2018, Low-shot learning with imprinted weights).

  Args:
    state: of the run; the backbone has its weights. Where the objective has no
      class weights, it is returned as it is.
    model: its network.
    source: labelled images, of which the first few of each class are taken.
    batch_size: images in one call of the network.
    skipped: takes damaged images, which are left out of the means; None: they
      are an error. A class without any other keeps its random weights.
  """
  if 'weights' not in state.params['classifier']:
    return state
  order = np.argsort(source.labels, kind='stable')
  # Means of photographs, not of what was made of the first of them.
  order = order[~are_made(source)[order]]
  labels = np.asarray(source.labels)[order]
  rank = np.arange(len(labels)) - np.searchsorted(labels, labels)
  predict = make_predict(model, state.variables, FLOAT)
  weights = np.zeros((model.embedding_size, len(source.class_names)))
  counts = np.zeros(len(source.class_names), int)
  for batch in batches(
    subset(source, order[rank < _IMAGES_PER_CLASS]), batch_size, skipped
  ):
    embeddings = np.asarray(predict(batch['image']), np.float64)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    for embedding, label in zip(
      embeddings[batch['_mask']], batch['label'][batch['_mask']]
    ):
      weights[:, label] += embedding
      counts[label] += 1
  weights /= np.maximum(counts, 1)
  classifier = dict(state.params['classifier'])
  classifier['weights'] = jnp.where(
    jnp.asarray(counts > 0),
    jnp.asarray(weights, jnp.float32),
    classifier['weights'],
  )
  return state.replace(params={**state.params, 'classifier': classifier})


def make_teacher(
  model, variables: dict[str, Any], objective: Objective
) -> Callable[[Batch], Batch]:
  """Makes the function that adds to a batch what the objective asks of it.

  Args:
    model: the network.
    variables: with which the run started; they are copied.
    objective: where it needs a teacher, that is the float precision of these
      variables, and a batch gets its embeddings as `target` [B, D].
  """
  if not objective.needs_teacher:
    return lambda batch: batch
  predict = make_predict(model, jax.tree.map(jnp.copy, variables), FLOAT)
  return lambda batch: {**batch, 'target': predict(batch['image'])}
