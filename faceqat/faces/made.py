"""Images that were made of others, to complete people who have few.

`prepare --complete` makes them. Their names say so, and are all that says so:
they are trained on, and never held out, nor compared.
"""

import os
import re
from collections.abc import Iterable

import numpy as np

_MADE = re.compile(r'(.*)\.made[1-9]\d*\.\w+', re.DOTALL)


def name_of(original: str, number: int) -> str:
  """What the `number`-th image made of `original` is called; from 1."""
  stem, suffix = os.path.splitext(original)
  return f'{stem}.made{number}{suffix}'


def is_made(name: str) -> bool:
  """Whether an image's file, or path, is called like one that was made."""
  # Sets have millions of names.
  return '.made' in name and _MADE.fullmatch(name) is not None


def are_made(source) -> np.ndarray:
  """Which images of a labelled source were made, bool [N]; of packs none."""
  made = getattr(source, 'made', None)
  return np.zeros(len(source), bool) if made is None else np.asarray(made)


def independent_of(source, held: Iterable[int]) -> np.ndarray:
  """Which images were not made of some that are held out.

  Args:
    source: a labelled source.
    held: indices of images.

  Returns:
    bool [N]: off where an image was made of one of `held`.
  """
  made = are_made(source)
  allowed = np.ones(len(source), bool)
  if made.any():
    stems = {os.path.splitext(source.name(int(index)))[0] for index in held}
    for index in np.flatnonzero(made):
      match = _MADE.fullmatch(source.name(int(index)))
      allowed[index] = match[1] not in stems
  return allowed
