"""Reads how a config's faces are aligned, as far as their sets say."""

import dataclasses

import ml_collections

from faceqat.data import places
from faceqat.data.sources import tfds
from faceqat.faces import fingerprint
from faceqat.faces.alignment import TEMPLATES
from faceqat.faces.fingerprint import Fingerprint
from faceqat.files import folders
from faceqat.files.image_size import ImageSize


def training_fingerprint(
  config: ml_collections.ConfigDict,
) -> Fingerprint | None:
  """The fingerprint of the images of `make_training_data`; None: unknown.

  Args:
    config: the block `data`; its `fingerprint` overrides each `faces.json`.

  Raises:
    ValueError: no such set of TFDS, `faces.json` or the block is wrong, or two
      sets are of other faces.
  """
  found = _training_fingerprints(config)
  telling = fingerprint.most_telling(list(found.values()))
  wanted_by = next(path for path in found if found[path] is telling)
  for path, other in found.items():
    fingerprint.check(other, telling, path, wanted_by, field='data.fingerprint')
  return telling


def unstated_sets(config: ml_collections.ConfigDict) -> list[str]:
  """The paths of training sets that do not say how faces are aligned."""
  return [
    path
    for path, found in _training_fingerprints(config).items()
    if not fingerprint.is_stated(found)
  ]


def _training_fingerprints(config) -> dict[str, Fingerprint | None]:
  return {
    path: _as_read(stated(config, path, config.image_size))
    for path in places.list_sets(config.path, 'data.path')
  }


def check_evaluation(
  config: ml_collections.ConfigDict,
  wanted: Fingerprint | None,
  wanted_by: str,
  *,
  image_size: ImageSize,
) -> list[str]:
  """Compares the faces of `make_benchmarks` with those that a network takes.

  Args:
    config: the block `eval`; its `fingerprint` overrides each `faces.json`.
    wanted: of the network; None: unknown.
    wanted_by: the network, for messages.
    image_size: height and width of the images given.

  Returns:
    Sentences for the user on sets that could not be compared.

  Raises:
    ValueError: a set is of another kind of faces; it gives the remedy.
  """
  # Those are aligned as they are read.
  named = fingerprint.names_template(wanted)
  if config.templates and named and wanted.template not in TEMPLATES:
    known = ' or '.join(map(repr, TEMPLATES))
    raise ValueError(
      f'eval.templates={config.templates} can be aligned to {known}, '
      f'{wanted_by} is for {wanted.template!r}: leave eval.templates empty'
    )
  if not config.path:
    drawn = Fingerprint(fingerprint.DRAWN, image_size)
    return fingerprint.warn_of_drawn(drawn, wanted, "eval.path=''", wanted_by)
  unstated = [] if fingerprint.is_stated(wanted) else [wanted_by]
  warnings = []
  for path in folders.split_paths(config.path):
    found = _as_read(stated(config, path, image_size))
    fingerprint.check(found, wanted, path, wanted_by, field='eval.fingerprint')
    warnings += fingerprint.warn_of_drawn(found, wanted, path, wanted_by)
    if not fingerprint.is_stated(found):
      unstated.append(path)
  return [*warnings[:1], *map(fingerprint.unstated, unstated)]


def stated(
  config: ml_collections.ConfigDict, path: str, image_size: ImageSize
) -> Fingerprint | None:
  """The fingerprint of a set's files."""
  if not path:
    return Fingerprint(fingerprint.DRAWN, image_size)
  if path.startswith(tfds.PREFIX):
    path = tfds.find_folder(path, config.tfds_dir)
  found = fingerprint.read(path)
  fields = {k: v for k, v in config.fingerprint.items() if v}
  if not fields:
    return found
  found = found or Fingerprint(
    fingerprint.UNKNOWN, config.stored_size or image_size
  )
  return dataclasses.replace(found, **fields)


def _as_read(found: Fingerprint | None) -> Fingerprint | None:
  """The same for the images given, which are RGB whatever the files have."""
  return found and dataclasses.replace(found, channels='RGB')


def is_bgr(found: Fingerprint | None) -> bool:
  return found is not None and found.channels == 'BGR'
