"""From the config's `data` and `eval` blocks to images, people and pairs."""

import contextlib
import pathlib
from typing import NamedTuple

import ml_collections

from faceqat.data import pairs
from faceqat.data.folder import FolderSource
from faceqat.data.images import DamagedImageError
from faceqat.data.pipeline import split_holdout, split_people, subset
from faceqat.data.recordio import RecordIOSource
from faceqat.data.synthetic import SyntheticFaces

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
  """

  train: object
  known: object
  validation: pairs.PairSet | None


def make_training_data(config: ml_collections.ConfigDict) -> TrainingData:
  """Opens the training set and splits it.

  Args:
    config: the block `data`. `path` is a folder `person/image.jpg`, a RecordIO
      file `.rec`, or empty for drawn faces, which are drawn at `image_size`
      whatever `stored_size` is.

  Raises:
    ValueError: the set is missing, unreadable, of another image size or too
      small for its splits.
  """
  source = _open(config)
  _check_first_image(source)
  validation = None
  if config.validation_people:
    source, held_out = split_people(
      source, config.validation_people, config.seed
    )
    validation = pairs.synthetic_pairs(
      held_out, config.validation_pairs, seed=config.seed
    )
  if not config.holdout_images_per_person:
    return TrainingData(source, subset(source, []), validation)
  train, known = split_holdout(source, config.holdout_images_per_person)
  return TrainingData(train, known, validation)


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
  _, held_out = split_people(
    _open(config), config.validation_people, config.seed
  )
  return held_out


def _open(config: ml_collections.ConfigDict):
  if not config.path:
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
  if pathlib.Path(config.path).suffix == '.rec':
    return RecordIOSource(config.path, config.image_size, config.stored_size)
  return FolderSource(config.path, config.image_size, config.stored_size)


def _check_first_image(source):
  """Finds a data set of another image size before anything is computed."""
  with contextlib.suppress(DamagedImageError):
    source[0]


def make_evaluation_pairs(
  config: ml_collections.ConfigDict, *, image_size: int
) -> pairs.PairSet:
  """Opens the pairs of the final table: people never trained on.

  Args:
    config: the block `eval`. `path` is a `.bin` file, or a folder of images
      with `pairs` naming its `pairs.txt`, or empty for drawn faces. Files of
      `stored_size` pixels are resized, drawn faces ignore it.
    image_size: height and width of the images given.

  Raises:
    ValueError: the set is missing, unreadable or of another image size.
  """
  pair_set = _open_pairs(config, image_size)
  # An image of another size is found here, not after a training.
  pair_set.images[0]
  return pair_set


def _open_pairs(
  config: ml_collections.ConfigDict, image_size: int
) -> pairs.PairSet:
  if not config.path:
    faces = SyntheticFaces(
      config.num_people,
      config.images_per_person,
      image_size=image_size,
      seed=config.seed,
      first_person=_FIRST_EVALUATION_PERSON,
    )
    return pairs.synthetic_pairs(faces, config.num_pairs, seed=config.seed)
  if pathlib.Path(config.path).suffix == '.bin':
    return pairs.read_bin(config.path, image_size, config.stored_size)
  if not config.pairs:
    raise ValueError(
      f'eval.path is the folder {config.path}, but eval.pairs is empty; name '
      'its pairs.txt there'
    )
  return pairs.read_pairs_txt(
    config.path, config.pairs, image_size, config.stored_size
  )
