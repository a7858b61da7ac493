"""Completes people who have few crops with images that are made of them.

What is made is mirrored, moved by a few pixels and changed in brightness; its
name says so (`faces/made.py`). Which images are made, and their pixels, follow
from the seed, the person and the name of the crop alone.
"""

import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from faceqat.data.augment import Augment
from faceqat.faces import made
from faceqat.preparation import crops

# Of a crop's size: 4 pixels of 112, as in training.
_MAX_SHIFT = 4 / 112
_MAX_BRIGHTNESS = 0.2


# For a person, crops, and which of the images made of it each is, from 1.
Plan = dict[str, list[tuple[str, int]]]


def check(least: int, data_format: str):
  """Refuses to complete people in packs.

  Raises:
    ValueError: `data_format` is not 'folder', and somebody is to be completed.
  """
  if least and data_format != 'folder':
    raise ValueError(
      f'--complete={least} needs --format=folder: the records of a pack have '
      'no names to say which images are made, and these must not be compared.'
    )


def plan(
  parts: Mapping[str, Mapping[str, Sequence[str]]], least: int
) -> dict[str, Plan]:
  """What has to be made, so that everybody has `least` images.

  Args:
    parts: by split, '' for the only one, the files of each person's crops,
      person/name.jpg, one at least.
    least: images that are enough.

  Returns:
    For what is trained on, whoever has fewer; their crops in turn, so that
    none is used much more than the others.
  """
  return {
    name: {
      person: [
        (files[turn % len(files)], turn // len(files) + 1)
        for turn in range(least - len(files))
      ]
      for person, files in people.items()
      if len(files) < least
    }
    for name, people in parts.items()
    if name in ('', 'train')
  }


def write(planned: Plan, folder: str | os.PathLike, seed: int):
  """Makes the images of a plan.

  Args:
    planned: for each person.
    folder: holds the crops as person/name.jpg; what is made lies beside them.
    seed: another one gives other images.
  """
  folder = pathlib.Path(folder)
  for jobs in planned.values():
    for file, number in jobs:
      with Image.open(folder / file) as picture:
        image = np.asarray(picture)
      shift = max(1, round(_MAX_SHIFT * image.shape[0]))
      augment = Augment(0.5, shift, _MAX_BRIGHTNESS)
      rng = np.random.default_rng(_seed(seed, file, number))
      pixels = augment(image, rng)
      path = folder / made.name_of(file, number)
      path.write_bytes(crops.encode(pixels))


def _seed(seed: int, file: str, number: int) -> list[int]:
  digest = hashlib.sha256(f'{seed}:{number}:{file}'.encode()).digest()
  return list(digest)
