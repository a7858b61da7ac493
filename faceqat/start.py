"""What a run starts from, where it does not start from scratch."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from faceqat.checkpoint import Checkpointer, load_network, read_config
from faceqat.data import fingerprint, places, sources
from faceqat.data.fingerprint import Fingerprint
from faceqat.data.made import are_made
from faceqat.data.pipeline import batches, subset
from faceqat.losses.objective import Objective
from faceqat.models.import_weights.assign import assign, without_steps
from faceqat.models.import_weights.pretrained import load_pretrained
from faceqat.quant.spec import FLOAT
from faceqat.train_state import TrainState, make_predict

Batch = dict[str, Any]

# Of each person, for the first class weights.
_IMAGES_PER_CLASS = 8

# What the weight files of other projects are for, where there is one project
# with such files: InsightFace's.
_OF_FILES = {'.params': Fingerprint('arcface', 112)}


def start_from(state: TrainState, model, path: str) -> TrainState:
  """A new state whose backbone has the weights of a file or of another run.

  Args:
    state: of the new run.
    model: its network.
    path: a weight file, as `load_pretrained` takes it, or the folder of a run.

  Raises:
    ValueError: the weights are not of this model.
  """
  if pathlib.Path(path).is_dir():
    variables = _of_run(state.variables, path)
  else:
    variables = load_pretrained(path, model, state.variables)
  return state.replace(
    params={**state.params, 'backbone': variables['params']},
    batch_stats=variables['batch_stats'],
  )


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
      faces than the training set.
  """
  before, name = None, config.pretrained
  step = checkpointer.latest_step
  if step is not None:
    name = str(checkpointer.folder.parent)
    before = fingerprint.of_run(checkpointer.config(step))
  elif name and pathlib.Path(name).is_dir():
    before = fingerprint.of_run(read_config(name))
  elif name:
    before = _OF_FILES.get(pathlib.Path(name).suffix)
  path, size = places.shown(config.data.path), config.data.image_size
  found = sources.training_fingerprint(config.data)
  fingerprint.check(found, before, path, name, field='data.fingerprint')
  for silent in sources.unstated_sets(config.data):
    print(fingerprint.unstated(silent))
  if fingerprint.names_template(before) and not fingerprint.names_template(
    found
  ):
    found = before
  found = found or Fingerprint(fingerprint.UNKNOWN, size)
  found = dataclasses.replace(found, size=size)
  # What is wrong with the pairs shows before the training, not after it.
  sources.check_evaluation(config.eval, found, 'this training', image_size=size)
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.fingerprint = dataclasses.asdict(found)
  return config


def with_class_means(
  state: TrainState, model, source, batch_size: int
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
  for batch in batches(
    subset(source, order[rank < _IMAGES_PER_CLASS]), batch_size
  ):
    embeddings = np.asarray(predict(batch['image']), np.float64)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    for embedding, label in zip(
      embeddings[batch['_mask']], batch['label'][batch['_mask']]
    ):
      weights[:, label] += embedding
  counts = np.bincount(labels, minlength=len(source.class_names))
  weights /= np.clip(counts, 1, _IMAGES_PER_CLASS)
  weights = jnp.asarray(weights, jnp.float32)
  classifier = {**state.params['classifier'], 'weights': weights}
  return state.replace(params={**state.params, 'classifier': classifier})


def make_teacher(
  model, variables: dict[str, Any], objective: Objective
) -> Callable[[Batch], Batch]:
  """Makes the function that adds to a batch what the objective asks of it.

  Args:
    model: the network.
    variables: with which the run started; they are copied.
    objective: where it needs a teacher, that is the float reading of these
      variables, and a batch gets its embeddings as `target` [B, D].
  """
  if not objective.needs_teacher:
    return lambda batch: batch
  predict = make_predict(model, jax.tree.map(jnp.copy, variables), FLOAT)
  return lambda batch: {**batch, 'target': predict(batch['image'])}
