"""The contents of a training set, to recognise it when a run resumes."""

import hashlib
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from faceqat.files.names import first_few

_MOST_NAMES = 3
# For a run that would go on with other people.
CHANGED_PEOPLE = ('refuse', 'continue', 'continue_with_means')


class Contents(NamedTuple):
  """The people and images of a labelled source, independent of its folder.

  Attributes:
    people: the class names, in the order of their labels.
    num_images: N.
    images: SHA-256 of the labels and the names of all images, in their order.
  """

  people: list[str]
  num_images: int
  images: str

  def check(
    self, before: Mapping[str, Any], changed_people: str = 'refuse'
  ) -> list[str]:
    """Compares with the contents that a run was trained on so far.

    Args:
      before: the fields of this class; older runs lack some, which are not
        compared.
      changed_people: one of `CHANGED_PEOPLE`: whether a run goes on with people
        who are others, or in another order.

    Returns:
      A sentence for the user, where there are other images or people.

    Raises:
      ValueError: the people are others, or in another order, and that is
        refused; or nobody is left.
    """
    here = self._asdict()
    there = {name: before.get(name, value) for name, value in here.items()}
    if there == here:
      return []
    if there['people'] == self.people:
      return [
        'the training set has other images than before: '
        f'{self.num_images:,} of the same people, there were '
        f'{there["num_images"]:,}. Training goes on with these, in an order of '
        'their own'
      ]
    changes = (
      'the people of the training set are not those that the run was trained '
      f'on: {_changes(there["people"], self.people)}'
    )
    start_anew = (
      'start from its weights with --config.pretrained=THIS_RUN and another '
      '--workdir'
    )
    if changed_people == 'refuse':
      raise ValueError(
        f'{changes}. What the classifier learnt of one would be taken for '
        'another: give the same people to go on, or '
        '--config.data.changed_people=continue, with which it follows their '
        f'names, or {start_anew}'
      )
    if {*there['people']}.isdisjoint(self.people):
      raise ValueError(f'{changes}. Nobody is left to go on with: {start_anew}')
    begins = 'at random' if changed_people == 'continue' else 'at their mean'
    return [
      f'{changes}. Training goes on with {self.num_images:,} images, in an '
      'order of their own: what the classifier learnt follows the names, and '
      f'who is new begins {begins}'
    ]


def contents(source) -> Contents:
  """The contents of a labelled source; no image is read."""
  digest = hashlib.sha256()
  for index, label in enumerate(np.asarray(source.labels).tolist()):
    # Without its folder, which may have moved.
    name = os.path.basename(source.name(index))
    digest.update(f'{label} {name}\n'.encode(errors='surrogateescape'))
  return Contents(list(source.class_names), len(source), digest.hexdigest())


def _changes(before: list[str], now: list[str]) -> str:
  """The difference between two lists of people, in a few words."""
  parts = [f'there were {len(before):,}, now there are {len(now):,}']
  for word, names in (
    ('gone', set(before) - set(now)),
    ('new', set(now) - set(before)),
  ):
    if names:
      parts.append(f'{word}: {first_few(sorted(names), _MOST_NAMES)}')
  if len(parts) == 1:
    parts.append('they stand in another order')
  return '; '.join(parts)
