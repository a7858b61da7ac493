"""From the config's `data` and `eval` blocks to images, people and pairs."""

import dataclasses
import os
from typing import NamedTuple

import ml_collections
import numpy as np

from faceqat.data import held_out_people, places
from faceqat.data.benchmarks import pair_lists, pairs
from faceqat.data.channels import ImagesInRGB, SourceInRGB
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.data.inspection import (
  check_evaluation_images,
  check_training_images,
  usable,
)
from faceqat.data.joined import SAME_NAMES, JoinedSource, set_names
from faceqat.data.pipeline import only_people, subset
from faceqat.data.sources import PACKS, tfds
from faceqat.data.sources.folder import FolderSource
from faceqat.data.summary import summarize
from faceqat.faces import fingerprint
from faceqat.faces.alignment import TEMPLATES
from faceqat.faces.fingerprint import Fingerprint
from faceqat.faces.images import SkippedImages
from faceqat.faces.made import are_made
from faceqat.files import folders
from faceqat.files.image_size import ImageSize

# Drawn people are numbered; evaluation takes them from here on, so that no
# training set of less than a million people meets them.
_FIRST_EVALUATION_PERSON = 1_000_000


class TrainingData(NamedTuple):
  """The three uses of one data set.

  Attributes:
    train: what the network learns from.
    known: images of the same people, kept out of `train`: validation loss and
      accuracy of the classifier.
    validation: pairs of people kept out of both: verification during training,
      by which the best checkpoint is chosen; None if none were kept out.
    held_out: the names of those people.
    summary: lines for the user: who is trained on, held out and ignored,
      whose names are alike, and what is wrong with the images.
    skipped: takes images that are passed over; None: they are an error.
  """

  train: object
  known: object
  validation: pairs.PairSet | None
  held_out: list[str]
  summary: tuple[str, ...]
  skipped: SkippedImages | None


def make_training_data(
  config: ml_collections.ConfigDict,
  process_index: int = 0,
  process_count: int = 1,
) -> TrainingData:
  """Opens the training set and splits it.

  Args:
    config: the block `data`. `path` is a folder `person/image.jpg`, a RecordIO
      file `.rec`, an ArrayRecord file `.array_record`, a folder that holds such
      a pack, a data set of TFDS `tfds:NAME`, several of these as
      `places.list_sets` takes them, or empty for drawn faces, which are drawn
      at `image_size` whatever `stored_size` is. Images that are BGR are made
      RGB.
    process_index: this process, of those that train as one.
    process_count: all processes. Each looks at a part of the images.

  Raises:
    ValueError: the set is missing, unreadable, too small for its splits, or
      has images that cannot be used and may not be passed over.
  """
  source = _open(config)
  skipped = SkippedImages() if config.skip_damaged else None
  notes = []
  # Nobody spoils drawn faces.
  if config.path:
    notes = check_training_images(
      source,
      skipped,
      # Runs from before it are looked at as the configs do.
      every_image=config.get('check_images', True),
      process_index=process_index,
      process_count=process_count,
    )
  everybody, validation, names, gone = source, None, [], []
  if config.validation_people:
    source, held_out, gone = held_out_people.hold_out(source, config)
    names = held_out.class_names
    held_out = _usable(held_out, config, skipped)
    validation = held_out_people.draw_pairs(held_out, config)
  if config.holdout_images_per_person:
    train, known = held_out_people.split_holdout(
      source, config.holdout_images_per_person
    )
  else:
    train, known = source, subset(source, [])
  summary = (*summarize(everybody, train, known, gone), *notes)
  return TrainingData(train, known, validation, names, summary, skipped)


def _usable(held_out, config, skipped: SkippedImages | None):
  """People kept out of training, without images that are passed over."""
  if skipped is None or not config.path:
    return held_out
  whole = subset(held_out, usable(held_out, skipped))
  return only_people(whole, np.unique(whole.labels))


def make_held_out_people(config: ml_collections.ConfigDict):
  """Opens the people that `make_training_data` keeps out of training.

  Args:
    config: the block `data`.

  Returns:
    A labelled source of all of their images; None if nobody is kept out.

  Raises:
    ValueError: the set is missing or unreadable.
  """
  if not config.validation_people:
    return None
  held_out = held_out_people.hold_out(_open(config), config).held_out
  skipped = SkippedImages() if config.skip_damaged else None
  return _usable(held_out, config, skipped)


def training_fingerprint(
  config: ml_collections.ConfigDict,
) -> Fingerprint | None:
  """What the images of `make_training_data` are; None: nothing says so.

  Args:
    config: the block `data`; its `fingerprint` goes before each `faces.json`.

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
    path: _as_read(_stated(config, path, config.image_size))
    for path in places.list_sets(config.path, 'data.path')
  }


def check_evaluation(
  config: ml_collections.ConfigDict,
  wanted: Fingerprint | None,
  wanted_by: str,
  *,
  image_size: ImageSize,
) -> list[str]:
  """Compares all sets of `make_benchmarks` with what a network is for.

  Args:
    config: the block `eval`; its `fingerprint` goes before each `faces.json`.
    wanted: of the network; None: it does not say.
    wanted_by: the network, for messages.
    image_size: height and width of the images given.

  Returns:
    Sentences for the user: what could not be compared, and why.

  Raises:
    ValueError: a set is of another kind of faces; it says what to do.
  """
  # Those are aligned as they are read. Older runs know of none.
  named = fingerprint.names_template(wanted)
  if config.get('templates') and named and wanted.template not in TEMPLATES:
    known = ' or '.join(map(repr, TEMPLATES))
    raise ValueError(
      f'eval.templates={config.templates} can be aligned to {known}, '
      f'{wanted_by} is for {wanted.template!r}: leave eval.templates empty'
    )
  if not config.path:
    drawn = Fingerprint(fingerprint.DRAWN, image_size)
    return fingerprint.warn_of_drawn(drawn, wanted, "eval.path=''", wanted_by)
  untold = [] if fingerprint.is_stated(wanted) else [wanted_by]
  warnings = []
  for path in folders.split_paths(config.path):
    found = _as_read(_stated(config, path, image_size))
    fingerprint.check(found, wanted, path, wanted_by, field='eval.fingerprint')
    warnings += fingerprint.warn_of_drawn(found, wanted, path, wanted_by)
    if not fingerprint.is_stated(found):
      untold.append(path)
  return [*warnings[:1], *(fingerprint.unstated(what) for what in untold)]


def _stated(
  config: ml_collections.ConfigDict, path: str, image_size: ImageSize
) -> Fingerprint | None:
  """What a set's files are, as they lie there."""
  if not path:
    return Fingerprint(fingerprint.DRAWN, image_size)
  if path.startswith(tfds.PREFIX):
    path = tfds.find_folder(path, config.tfds_dir)
  found = fingerprint.read(path)
  # Configs of older runs have no such block.
  fields = config.get('fingerprint') or {}
  fields = {name: value for name, value in fields.items() if value}
  if not fields:
    return found
  found = found or Fingerprint(
    fingerprint.UNKNOWN, config.stored_size or image_size
  )
  return dataclasses.replace(found, **fields)


def _as_read(found: Fingerprint | None) -> Fingerprint | None:
  """Networks are given RGB, whatever lies in the files."""
  return found and dataclasses.replace(found, channels='RGB')


def _is_bgr(found: Fingerprint | None) -> bool:
  return found is not None and found.channels == 'BGR'


def _open(config: ml_collections.ConfigDict):
  """The source of all people that a config names."""
  paths = places.list_sets(config.path, 'data.path')
  sets = [_open_set(config, path) for path in paths]
  # Configs of older runs have no such field.
  same_names = config.get('same_names', SAME_NAMES[0])
  if same_names not in SAME_NAMES:
    raise ValueError(
      f'data.same_names is {same_names!r}; give {" or ".join(SAME_NAMES)}'
    )
  if len(sets) == 1:
    return sets[0]
  return JoinedSource(sets, set_names(paths), same_names)


def _open_set(config: ml_collections.ConfigDict, path: str):
  if not path:
    return _draw_people(config)
  if path.startswith(tfds.PREFIX):
    source = tfds.TFDSSource(
      path, config.image_size, config.stored_size, config.tfds_dir
    )
  else:
    source = _open_people(path, config.image_size, config.stored_size)
  bgr = _is_bgr(_stated(config, path, config.image_size))
  return SourceInRGB(source) if bgr else source


def _draw_people(config: ml_collections.ConfigDict) -> SyntheticFaces:
  if config.num_people > _FIRST_EVALUATION_PERSON:
    raise ValueError(
      f'data.num_people is {config.num_people}; {_FIRST_EVALUATION_PERSON} '
      'is the most, as the evaluation draws the people after them'
    )
  return SyntheticFaces(
    config.num_people,
    config.images_per_person,
    image_size=config.image_size,
    seed=config.seed,
  )


def _open_people(
  path: str,
  image_size: ImageSize,
  stored_size: ImageSize,
  field: str = 'data.path',
):
  """The people of a folder or of a pack."""
  if not places.is_pack(path):
    return FolderSource(path, image_size, stored_size, field)
  suffix = next(end for end in PACKS if path.lower().endswith(end))
  return PACKS[suffix](path, image_size, stored_size)


def make_evaluation_pairs(
  config: ml_collections.ConfigDict, *, image_size: ImageSize
) -> pairs.PairSet:
  """Opens the pairs of the final table: the first of `make_benchmarks`."""
  return make_benchmarks(config, image_size=image_size)[0]


def make_benchmarks(
  config: ml_collections.ConfigDict, *, image_size: ImageSize
) -> list[pairs.PairSet]:
  """Opens all pairs of the final tables: people never trained on.

  Args:
    config: the block `eval`. `path` names `.bin` files and folders of images,
      between commas, and `pairs` a list for each of the folders (see
      pair_lists.py). Without lists a folder, or a pack, is one of people, of
      whom pairs are drawn; or `path` is empty, for drawn faces. Files of
      `stored_size` pixels are resized, drawn faces ignore it.
    image_size: height and width of the images given.

  Raises:
    ValueError: a set is missing, unreadable or of another image size, there
      are more or fewer lists than folders, or two sets have one name.
  """
  if not config.path:
    faces = SyntheticFaces(
      config.num_people,
      config.images_per_person,
      image_size=image_size,
      seed=config.seed,
      first_person=_FIRST_EVALUATION_PERSON,
    )
    return [pairs.synthetic_pairs(faces, config.num_pairs, seed=config.seed)]
  paths = folders.split_paths(config.path)
  lists = folders.split_paths(config.pairs)
  wanting = [path for path in paths if not places.is_bin(path)]
  if lists and len(wanting) != len(lists):
    raise ValueError(
      f'eval.path names {len(wanting)} folders ({", ".join(wanting)}), but '
      f'eval.pairs {len(lists)} lists; name one for each folder, in their '
      'order, or none'
    )
  list_of, sizes = iter(lists), (image_size, config.stored_size)
  benchmarks = {}
  for path in paths:
    if places.is_bin(path):
      pair_set = pairs.read_bin(path, *sizes)
    elif lists:
      places.refuse_file(path, 'eval.path')
      pair_set = pair_lists.read_list(path, next(list_of), *sizes)
    else:
      pair_set = _draw_pairs(path, config, sizes)
    # What cannot be used is found here, not after a training.
    pairs.check_kinds(pair_set.same, path)
    check_evaluation_images(pair_set.images, pair_set.name)
    if _is_bgr(_stated(config, path, image_size)):
      pair_set = dataclasses.replace(
        pair_set, images=ImagesInRGB(pair_set.images)
      )
    if pair_set.name in benchmarks:
      raise ValueError(
        f'eval.path names two sets of pairs called {pair_set.name}; rename a '
        'file, or a folder, as results are written under these names'
      )
    benchmarks[pair_set.name] = pair_set
  return list(benchmarks.values())


def _draw_pairs(
  path: str,
  config: ml_collections.ConfigDict,
  sizes: tuple[ImageSize, ImageSize],
) -> pairs.PairSet:
  """Pairs of people for whom there is no list."""
  try:
    folder = places.find_people(path, 'eval.path')
    source = _open_people(folder, *sizes, 'eval.path')
    # An image and what was made of it are one.
    source = subset(source, np.flatnonzero(~are_made(source)))
    pair_set = pairs.draw_pairs(source, config.num_pairs, config.seed)
  except ValueError as error:
    raise ValueError(
      f'eval.path={path} has no list in eval.pairs, and no pairs can be drawn: '
      f'{error}'
    ) from error
  print(
    f'{path} has no list in eval.pairs: {len(pair_set)} pairs of its '
    f'{len(source.class_names)} people are drawn, half of them same, in '
    f'{pair_set.fold.max() + 1} folds (eval.seed={config.seed})'
  )
  name = os.path.basename(os.path.abspath(path))
  return dataclasses.replace(pair_set, name=os.path.splitext(name)[0])
