"""People kept out of training, who stay out when a run goes on.

Who they are is drawn once. Later the config of the run names them: drawn again
from a set that has changed, others would be held out, whom the network knows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from faceqat.data import pairs
from faceqat.data.made import are_made
from faceqat.data.pipeline import Subset, only_people, split_people, subset


class Split(NamedTuple):
  """Two parts of a source that share nobody.

  Attributes:
    rest: who may be trained on.
    held_out: the others, without images that were made of others.
    gone: the names of people who were held out before and are not there.
  """

  rest: Subset
  held_out: Subset
  gone: list[str]


def hold_out(source, config: ml_collections.ConfigDict) -> Split:
  """Keeps people out of training.

  Args:
    source: a labelled source.
    config: the block `data`; `validation_people` is above 0. With `held_out`,
      as a run's own config has it, these are the people.

  Raises:
    ValueError: either part would have fewer than two people.
  """
  names = config.get('held_out')
  if names:
    rest, held_out, gone = _split_named(source, names)
  else:
    rest, held_out = split_people(source, config.validation_people, config.seed)
    gone = []
  held_out = subset(held_out, np.flatnonzero(~are_made(held_out)))
  return Split(rest, held_out, gone)


def draw_pairs(held_out, config: ml_collections.ConfigDict) -> pairs.PairSet:
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
    # Or one who is gone would end the run.
    return pairs.draw_pairs(held_out, most, seed)


def _split_named(source, names: Sequence[str]):
  names = {*names}
  missing = names - {*source.class_names}
  # With another set beside it, or merged, somebody is `set/name` or no more.
  alike = {_end(name) for name in missing}
  held = np.array(
    [name in names or _end(name) in alike for name in source.class_names]
  )
  num_held, total = int(held.sum()), len(held)
  if not 2 <= num_held <= total - 2:
    raise ValueError(
      f'Of the {len(names)} people whom this run has held out, {num_held} are '
      f'among the {total} of its training set: both parts need at least two.'
    )
  seen = {_end(source.class_names[person]) for person in np.flatnonzero(held)}
  gone = sorted(name for name in missing if _end(name) not in seen)
  rest, held_out = (
    only_people(source, np.flatnonzero(people)) for people in (~held, held)
  )
  return rest, held_out, gone


def _end(name: str) -> str:
  return name.rpartition('/')[2]
