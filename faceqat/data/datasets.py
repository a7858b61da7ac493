"""From the config's `data` and `eval` blocks to images, people and pairs."""

import dataclasses
import os
from typing import NamedTuple

import ml_collections
import numpy as np

from faceqat.data import held_out_people, places
from faceqat.data.benchmarks import pair_lists, pairs
from faceqat.data.decoded import keep_decoded
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
from faceqat.data.sources.labelled import SourceInRGB
from faceqat.data.stated_faces import is_bgr, stated
from faceqat.data.summary import summarize
from faceqat.faces import lazy_images
from faceqat.faces.images import SkippedImages
from faceqat.faces.made import are_made
from faceqat.fields import check_value
from faceqat.files import folders
from faceqat.files.image_size import ImageSize

# Evaluation draws people from this number on, so that no training set of less
# than a million people meets them.
_FIRST_EVALUATION_PERSON = 1_000_000


class TrainingData(NamedTuple):
  """The three uses of one data set.

  Attributes:
    train: the source that the network learns from.
    known: images of the same people, kept out of `train`: validation loss and
      accuracy of the classifier.
    validation: pairs of people kept out of both: verification during training,
      by which the best checkpoint is chosen; None if none were kept out.
    held_out: the names of those people.
    summary: lines for the user on people, names and damaged images.
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
      `places.list_sets` takes them, or empty for drawn faces, which have
      `image_size` whatever `stored_size` is. BGR images are made RGB.
    process_index: this process, of those that train as one.
    process_count: all processes; each looks at a part of the images.

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
      every_image=config.check_images,
      process_index=process_index,
      process_count=process_count,
    )
  everybody, validation, names, gone = source, None, [], []
  if config.path:
    source, why = keep_decoded(source, config.image_size, config.cache_gb)
    notes += why
  if config.validation_people:
    source, held_out, gone = held_out_people.hold_out(source, config)
    names = list(held_out.class_names)
    held_out = _usable(held_out, config, skipped)
    validation = held_out_people.held_out_pairs(held_out, config)
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


def _open(config: ml_collections.ConfigDict):
  """The source of all people that a config names."""
  paths = places.list_sets(config.path, 'data.path')
  sets = [_open_set(config, path) for path in paths]
  check_value('data.same_names', config.same_names, SAME_NAMES)
  if len(sets) == 1:
    return sets[0]
  return JoinedSource(sets, set_names(paths), config.same_names)


def _open_set(config: ml_collections.ConfigDict, path: str):
  if not path:
    return _drawn_training_people(config)
  if path.startswith(tfds.PREFIX):
    source = tfds.TFDSSource(
      path, config.image_size, config.stored_size, config.tfds_dir
    )
  else:
    source = _open_people(path, config.image_size, config.stored_size)
  bgr = is_bgr(stated(config, path, config.image_size))
  return SourceInRGB(source) if bgr else source


def _drawn_training_people(config: ml_collections.ConfigDict) -> SyntheticFaces:
  if config.num_people > _FIRST_EVALUATION_PERSON:
    raise ValueError(
      f'data.num_people is {config.num_people}; {_FIRST_EVALUATION_PERSON} '
      'is the most, as the evaluation draws the people after them'
    )
  return _drawn_people(config, config.image_size, first_person=0)


def _drawn_people(config, image_size, first_person: int) -> SyntheticFaces:
  return SyntheticFaces(
    config.num_people,
    config.images_per_person,
    image_size=image_size,
    seed=config.seed,
    first_person=first_person,
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
      pair_lists.py). Without lists a folder, or a pack, is one of people, and
      pairs of them are drawn; or `path` is empty, for drawn faces. Files of
      `stored_size` pixels are resized, drawn faces ignore it.
    image_size: height and width of the images given.

  Raises:
    ValueError: a set is missing, unreadable or of another image size, there
      are more or fewer lists than folders, or two sets have one name.
  """
  if not config.path:
    faces = _drawn_people(config, image_size, _FIRST_EVALUATION_PERSON)
    return [pairs.synthetic_pairs(faces, config.num_pairs, seed=config.seed)]
  benchmarks = {}
  for path, list_path in _paths_and_lists(config):
    pair_set = _open_pairs(path, list_path, config, image_size)
    if pair_set.name in benchmarks:
      raise ValueError(
        f'eval.path names two sets of pairs called {pair_set.name}; rename a '
        'file, or a folder, as results are written under these names'
      )
    benchmarks[pair_set.name] = pair_set
  return list(benchmarks.values())


def _paths_and_lists(config: ml_collections.ConfigDict):
  """Each path with its list of pairs; None: it needs none, or has none."""
  paths = folders.split_paths(config.path)
  lists = folders.split_paths(config.pairs)
  wanting = [path for path in paths if not places.is_bin(path)]
  if lists and len(wanting) != len(lists):
    raise ValueError(
      f'eval.path names {len(wanting)} folders ({", ".join(wanting)}), but '
      f'eval.pairs {len(lists)} lists; name one for each folder, in their '
      'order, or none'
    )
  rest = iter(lists)
  return [
    (path, None if places.is_bin(path) else next(rest, None)) for path in paths
  ]


def _open_pairs(
  path: str,
  list_path: str | None,
  config: ml_collections.ConfigDict,
  image_size: ImageSize,
) -> pairs.PairSet:
  """Opens one set; what cannot be used is found here, not after a training."""
  sizes = image_size, config.stored_size
  if places.is_bin(path):
    pair_set = pairs.read_bin(path, *sizes)
  elif list_path:
    places.refuse_file(path, 'eval.path')
    pair_set = pair_lists.read_list(path, list_path, *sizes)
  else:
    pair_set = _draw_pairs(path, config, sizes)
  pairs.check_kinds(pair_set.same, path)
  check_evaluation_images(pair_set.images, pair_set.name)
  if is_bgr(stated(config, path, image_size)):
    images = lazy_images.in_rgb(pair_set.images)
    pair_set = dataclasses.replace(pair_set, images=images)
  return pair_set


def _draw_pairs(
  path: str,
  config: ml_collections.ConfigDict,
  sizes: tuple[ImageSize, ImageSize],
) -> pairs.PairSet:
  """Pairs of people for whom there is no list."""
  try:
    folder = places.people_folder(path, 'eval.path')
    source = _open_people(folder, *sizes, 'eval.path')
    # An image and those made of it are one.
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
