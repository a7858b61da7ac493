"""Starts a run from the weights of a file or of another run."""

import dataclasses
import pathlib
from collections.abc import Collection
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from faceqat.calibration.steep_slopes import without_steep_slopes
from faceqat.data import places, stated_faces
from faceqat.data.pipeline import batches, subset
from faceqat.evaluators.predict import make_predict
from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.faces.images import SkippedImages
from faceqat.faces.made import are_made
from faceqat.models.weights.assign import assign, without_steps
from faceqat.models.weights.pixels import Pixels
from faceqat.models.weights.pretrained import load_pretrained
from faceqat.models.weights.pruning import prune
from faceqat.quant.spec import FLOAT
from faceqat.training.checkpoint import latest_config, load_network
from faceqat.training.resume import Saved
from faceqat.training.train_state import TrainState

# For the first class weights.
_IMAGES_PER_CLASS = 8

# The faces that weight files are for. Only InsightFace has such files.
_OF_FILES = {'.params': Fingerprint('arcface', 112)}


def start_from(
  state: TrainState, model, config: ml_collections.ConfigDict
) -> tuple[TrainState, ml_collections.ConfigDict]:
  """Puts the weights of a file or of another run into the backbone of a state.

  Args:
    state, model: of the new run.
    config: of the new run, as `with_fingerprint` gives it.

  Returns:
    The state; and the config, whose fingerprint says whose weights they are.

  Raises:
    ValueError: the weights are not of this model, or it is not clear on which
      kind of pixels they were trained.
  """
  path = config.pretrained
  if is_run(path):
    variables = _of_run(state.variables, path)
  else:
    found = load_pretrained(path, model, state.variables, _pixels_given(config))
    print(found.sentence)
    variables = found.variables
    with config.unlocked():
      config.fingerprint.weights = found.weights
  variables = without_steep_slopes(model, variables, config.data.image_size)
  state = state.replace(
    params={**state.params, 'backbone': variables['params']},
    batch_stats=variables['batch_stats'],
  )
  return state, config


def _pixels_given(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The fields of `pretrained_pixels` that are given.

  Raises:
    ValueError: a field has no such value, or there is no weight file whose
      pixels it could describe.
  """
  given = {name: v for name, v in config.pretrained_pixels.items() if v}
  Pixels(**given)
  if given and not (config.pretrained and not is_run(config.pretrained)):
    raise ValueError(
      f'pretrained_pixels.{min(given)} is given, but pretrained is '
      f'{config.pretrained!r}, '
      + ('a run, whose pixels are its own' if config.pretrained else 'empty')
      + ': it says what a weight file was trained on'
    )
  return given


def is_run(path: str, field: str = 'pretrained') -> bool:
  """Whether weights are the folder of a run, and not a file.

  Args:
    path: of the weights.
    field: of the config that names them.

  Raises:
    ValueError: a folder without checkpoints.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    return False
  if not (folder / 'checkpoints').is_dir():
    files = sorted(entry for entry in folder.iterdir() if entry.is_file())
    raise ValueError(
      f'{field} is {path}, a folder without checkpoints: give that of a '
      'training run, or a weight file'
      + (f', such as {files[0]}' if files else '')
    )
  return True


def _of_run(variables: dict[str, Any], workdir: str) -> dict[str, Any]:
  """The float weights of a run, without its ranges and learned steps."""
  there = load_network(workdir).variables
  values = {}
  for collection in ('params', 'batch_stats'):
    values |= flax.traverse_util.flatten_dict(there[collection], sep='/')
  values = prune(without_steps(values), variables)
  return assign(variables, values, workdir)


def with_fingerprint(
  config: ml_collections.ConfigDict, saved: Saved | None
) -> ml_collections.ConfigDict:
  """The config with `fingerprint`: the faces that the network will be for.

  They are those of the training set. Where that does not say, or is drawn, they
  are those of the weights that the run starts from, or continues with. Prints
  what the user should know of the faces.

  Raises:
    ValueError: the weights, or an evaluation set, are of other faces than the
      training set; or `pretrained_pixels` is given without a weight file.
  """
  _pixels_given(config)
  before, name = _faces_before(config, saved)
  path, size = places.shown(config.data.path), config.data.image_size
  found = stated_faces.training_fingerprint(config.data)
  fingerprint.check(found, before, path, name, field='data.fingerprint')
  notes = []
  if not config.data.path:
    # Photographs after drawn faces are usual, the reverse is a mistake.
    notes += fingerprint.warn_of_drawn(found, before, "data.path=''", name)
  notes += map(fingerprint.unstated, stated_faces.unstated_sets(config.data))
  if fingerprint.names_template(before) and not fingerprint.names_template(
    found
  ):
    found = before
  found = found or Fingerprint(fingerprint.UNKNOWN, size)
  weights = before.weights if before else ''
  found = dataclasses.replace(found, size=size, weights=weights)
  # Before the training, not after it.
  stated_faces.check_evaluation(
    config.eval, found, 'this training', image_size=size
  )
  notes += places.trained_on(config.eval, config.data)
  for note in notes:
    print(note)
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.fingerprint = fingerprint.to_fields(found)
  return config


def _faces_before(
  config: ml_collections.ConfigDict, saved: Saved | None
) -> tuple[Fingerprint | None, str]:
  """The faces of the weights that a run starts from, and their name."""
  name = config.pretrained
  if saved is not None:
    return fingerprint.of_run(saved.config), str(saved.folder.parents[1])
  if name and is_run(name):
    found = latest_config(name)
    return found and fingerprint.of_run(found[0]), name
  return _OF_FILES.get(pathlib.Path(name).suffix.lower()), name


def with_class_means(
  state: TrainState,
  model,
  source,
  batch_size: int,
  skipped: SkippedImages | None = None,
  people: Collection[str] | None = None,
) -> TrainState:
  """A state whose class weights are the mean embeddings of the classes.

  Random weights would first pull a network that already knows faces in random
  directions (Qi et al. 2018, Low-shot learning with imprinted weights). Where
  the objective has no class weights, the state stays as it is.

  Args:
    state, model: of the run; the backbone is pretrained.
    source: labelled images, of which the first few of each class are used.
    batch_size: images in one call of the network.
    skipped: takes damaged images, which are left out of the means; None: they
      are an error. A class without other images keeps its random weights.
    people: whose class weights they are; None: all.
  """
  classifier = dict(state.params['classifier'])
  name = next((name for name in ('weights', 'rows') if name in classifier), '')
  if not name:
    return state
  order = np.argsort(source.labels, kind='stable')
  # Images that were made of others are left out.
  order = order[~are_made(source)[order]]
  if people is not None:
    wanted = np.isin(source.class_names, list(people))
    order = order[wanted[np.asarray(source.labels)[order]]]
  labels = np.asarray(source.labels)[order]
  rank = np.arange(len(labels)) - np.searchsorted(labels, labels)
  predict = make_predict(model, state.variables, FLOAT)
  learnt = classifier[name]
  rows = len(learnt) if name == 'rows' else len(source.class_names)
  # Of many people, in parts, the half of the bytes.
  dtype = np.float32 if name == 'rows' else np.float64
  sums, counts = np.zeros((rows, model.embedding_size), dtype), np.zeros(rows)
  for batch in batches(
    subset(source, order[rank < _IMAGES_PER_CLASS]), batch_size, skipped
  ):
    embeddings = np.asarray(predict(batch['image']), np.float64)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    known, known_labels = batch['_mask'], batch['label'][batch['_mask']]
    np.add.at(sums, known_labels, embeddings[known])
    np.add.at(counts, known_labels, 1)
  sums /= np.maximum(counts, 1)[:, None]
  is_known = (counts > 0)[:, None]
  if name == 'weights':
    sums, is_known = sums.T, is_known.T
  means = _beside(learnt, sums.astype(learnt.dtype))
  classifier[name] = jnp.where(_beside(learnt, is_known), means, learnt)
  return state.replace(params={**state.params, 'classifier': classifier})


def _beside(learnt: jax.Array, values: np.ndarray) -> jax.Array:
  """An array of the host on the devices of another, each with its part."""
  return jax.make_array_from_callback(
    learnt.shape,
    learnt.sharding,
    lambda index: np.broadcast_to(values, learnt.shape)[index],
  )
