"""Data sets that say how their faces are aligned, or do not."""

import pickle

import numpy as np
from pictures import encode

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint

SIZE = 32
ARCFACE = Fingerprint('arcface', SIZE)
MARGIN = Fingerprint('margin_32', SIZE)


def write_faces(root, faces, people=32):
  """A folder set as large as the smoke form's drawn one."""
  source = SyntheticFaces(people, 4, image_size=SIZE)
  for index in range(len(source)):
    path = root / f'{source.name(index)}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(source[index]['image']))
  if faces is not None:
    fingerprint.write(faces, root)
  return root


def write_pairs(path, faces):
  """A .bin of ten pairs, their pixels (0, 10, 200) but for noise."""
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 9, (20, SIZE, SIZE, 3), np.uint8)
  images = [encode(image + np.uint8([0, 10, 200])) for image in noise]
  path.write_bytes(pickle.dumps((images, [True, False] * 5), protocol=2))
  if faces is not None:
    fingerprint.write(faces, path)
  return path
