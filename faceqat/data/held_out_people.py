"""People and images kept out of training.

The people are drawn once and then named in the config of the run. If a set that
has changed were drawn from again, people whom the network knows could be held
out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from faceqat.data.benchmarks import pairs
from faceqat.data.pipeline import only_people, split_off, subset
from faceqat.data.sampler import by_person
from faceqat.data.sources.labelled import Subset
from faceqat.faces.made import are_made, independent_of
from faceqat.fields import check_value, whole_from


class Split(NamedTuple):
  """Two parts of a source that share nobody.

  Attributes:
    rest: who may be trained on.
    held_out: the others, without images that were made of others.
    gone: the names of people who were held out and are in the set no more.
  """

  rest: Subset
  held_out: Subset
  gone: list[str]


def hold_out(source, config: ml_collections.ConfigDict) -> Split:
  """Keeps people out of training.

  Args:
    source: a labelled source.
    config: the block `data`; `validation_people` is above 0. A run's own config
      names the people in `held_out`.

  Raises:
    ValueError: fewer than two people would be left, or too few held out for
      pairs.
  """
  names = config.get('held_out')
  if names:
    rest, held_out, gone = _split_named(source, names)
  else:
    count, gone = config.validation_people, []
    # Of which each fold of the pairs has two.
    least, most = 2 * pairs.FOLDS, len(source.class_names) - 2
    if not least <= count <= most:
      some = f'from {least} to {most}, or ' if least <= most else ''
      raise ValueError(
        f'data.validation_people is {count}, and the training set has '
        f'{most + 2} people: pairs take {least} or more, and two are left to '
        f'train on; give {some}0 to hold out nobody'
      )
    rest, held_out = split_off(source, count, config.seed)
  held_out = subset(held_out, np.flatnonzero(~are_made(held_out)))
  return Split(rest, held_out, gone)


def split_holdout(source, images_per_person: int) -> tuple[Subset, Subset]:
  """Keeps images of known people out of training, to validate on.

  Args:
    source: a labelled source.
    images_per_person: how many, k; the last k images of every person that has
      at least 3k are held out. Images that were made of others do not count;
      those made of one held out are in no part.

  Returns:
    (train, holdout), with the labels and class names of `source`.

  Raises:
    ValueError: k is below 1, or nobody has 3k images.
  """
  check_value('images_per_person', images_per_person, whole_from(1))
  held, made = np.zeros(len(source), bool), are_made(source)
  for members in by_person(source.labels):
    members = members[~made[members]]
    if len(members) >= 3 * images_per_person:
      held[members[-images_per_person:]] = True
  if not held.any():
    raise ValueError(
      f'data.holdout_images_per_person is {images_per_person}, which takes '
      f'{3 * images_per_person} images of a person, and nobody has as many: '
      'give a smaller number, or 0 to hold out none'
    )
  trained = ~held & independent_of(source, np.flatnonzero(held))
  return Subset(source, np.flatnonzero(trained)), Subset(
    source, np.flatnonzero(held)
  )


def held_out_pairs(
  held_out, config: ml_collections.ConfigDict
) -> pairs.PairSet:
  """Pairs of the people of `Split.held_out`, for validation.

  Args:
    held_out: these people.
    config: as of `hold_out`.

  Raises:
    ValueError: they have too few images for `validation_pairs`; or, where a run
      goes on and some of them are gone, too few for any.
  """
  most, seed = config.validation_pairs, config.seed
  try:
    return pairs.synthetic_pairs(held_out, most, seed)
  except ValueError:
    if not config.get('held_out'):
      raise
    # One person who is gone must not end the run.
    return pairs.draw_pairs(held_out, most, seed)


def _split_named(source, names: Sequence[str]):
  names = {*names}
  missing = names - {*source.class_names}
  # Joined with another set, a name may become `set/name`, and back.
  alike = {_end(name) for name in missing}
  held = np.array(
    [name in names or _end(name) in alike for name in source.class_names]
  )
  num_held, total = int(held.sum()), len(held)
  if not 2 <= num_held <= total - 2:
    raise ValueError(
      f'Of the {len(names)} people whom this run has held out, {num_held} are '
      f'among the {total} of its training set: both parts need at least two'
    )
  seen = {_end(source.class_names[person]) for person in np.flatnonzero(held)}
  gone = sorted(name for name in missing if _end(name) not in seen)
  rest, held_out = (
    only_people(source, np.flatnonzero(people)) for people in (~held, held)
  )
  return rest, held_out, gone


def _end(name: str) -> str:
  return name.rpartition('/')[2]
