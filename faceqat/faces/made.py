"""Images that `prepare --complete` made of others.

Only their names show it. They are trained on, never held out nor compared.
"""

import os
import re
from collections.abc import Iterable

import numpy as np

_MADE = re.compile(r'(.*)\.made[1-9]\d*\.\w+', re.DOTALL)


def name_of(original: str, number: int) -> str:
  """The name of an image that is made of another; numbers begin with 1.

  >>> name_of('ann/1.jpg', 2)
  'ann/1.made2.jpg'
  """
  stem, suffix = os.path.splitext(original)
  return f'{stem}.made{number}{suffix}'


def is_made(name: str) -> bool:
  """Whether an image has the name of one that was made."""
  # Sets have millions of names.
  return '.made' in name and _MADE.fullmatch(name) is not None


def are_made(source) -> np.ndarray:
  """Which images of a labelled source were made, bool [N]; in packs none."""
  made = getattr(source, 'made', None)
  return np.zeros(len(source), bool) if made is None else np.asarray(made)


def independent_of(source, held: Iterable[int]) -> np.ndarray:
  """Which images of a source were not made of those in `held`, bool [N]."""
  made = are_made(source)
  allowed = np.ones(len(source), bool)
  if made.any():
    stems = {os.path.splitext(source.name(int(index)))[0] for index in held}
    for index in np.flatnonzero(made):
      match = _MADE.fullmatch(source.name(int(index)))
      allowed[index] = match[1] not in stems
  return allowed
