"""Photographs for the tests of preparation, and a detector that knows them.

A detector is not made for drawings, so here a photograph says by its size how
many faces it has: one for each 10 pixels of width beyond 100. They stand beside
each other, and each is smaller than the one before.
"""

import numpy as np
from PIL import Image

from faceqat.faces import alignment, detection

_HEIGHT = 90
# The crops of `make_photographs`.
CROPS = [
  *('Ann/1.jpg', 'Ann/2.jpg', 'Ann/3.jpg', 'Bob/1.jpg', 'Bob/2.jpg'),
  'Eve/1.jpg',
]


def make_photograph(path, seed, faces=1):
  """Writes blots in which the detector finds so many faces."""
  path.parent.mkdir(parents=True, exist_ok=True)
  coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
  size = (100 + 10 * faces, _HEIGHT)
  picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
  picture.save(path, quality=95)


def detect(image):
  """The faces of a photograph of `make_photograph`."""
  assert image.shape[0] == _HEIGHT
  count = (image.shape[1] - 100) // 10
  found = []
  for number in range(count):
    size = 60 * 0.8**number / max(count, 1)
    corner = np.array([5 + 90 * number / count, 10])
    found.append(
      detection.Face(
        np.array([*corner, size, size]),
        corner + alignment.ARCFACE_TEMPLATE * size / 112,
        0.9,
      )
    )
  return found


def make_photographs(root):
  """Ann 3 photographs, Bob 2, Eve 1 and one without a face, Max only such."""
  for seed, name in enumerate(
    ('Ann/1.jpg', 'Ann/2.png', 'Ann/3.jpg', 'Bob/1.jpg', 'Bob/2.jpg')
  ):
    make_photograph(root / name, seed)
  make_photograph(root / 'Eve/1.jpg', 10)
  make_photograph(root / 'Eve/2.jpg', 11, faces=0)
  make_photograph(root / 'Max/1.jpg', 12, faces=0)
  return root


def read_images(folder):
  """The bytes of a data set's images by their names."""
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in folder.rglob('*/*.jpg')
  }
