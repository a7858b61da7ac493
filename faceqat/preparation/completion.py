"""Completes people who have few crops with images made of these.

Such an image is mirrored, shifted by a few pixels and changed in brightness;
its name says so (`faces/made.py`). Its pixels depend on the seed, the person
and the name of the crop alone.
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

# As a share of the crop's height: 4 pixels of 112, as in training.
_MAX_SHIFT = 4 / 112
_MAX_BRIGHTNESS = 0.2

# For each person the crops to make images of, and the image's number, from 1.
Plan = dict[str, list[tuple[str, int]]]


def check_format(least: int, data_format: str):
  """Refuses to complete people in packs."""
  if least and data_format != 'folder':
    raise ValueError(
      f'--complete={least} needs --format=folder: the records of a pack have '
      'no names to say which images are made, and these must not be compared'
    )


def plan(
  parts: Mapping[str, Mapping[str, Sequence[str]]], least: int
) -> dict[str, Plan]:
  """The images to make, so that everybody in training has `least`.

  Args:
    parts: by split ('' for the only one), the files of each person's crops,
      person/name.jpg, one at least.
    least: images of each person.

  Returns:
    By split, for people with fewer images; their crops are used in turn.
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


def write_images(planned: Plan, folder: str | os.PathLike, seed: int):
  """Makes the images of a plan.

  Args:
    planned: for each person.
    folder: holds the crops, person/name.jpg, and gets the images.
    seed: of the changes.
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
