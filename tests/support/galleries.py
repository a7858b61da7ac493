"""A gallery of ten images, whose embeddings no network made."""

import numpy as np

from faceqat.faces.fingerprint import Fingerprint
from faceqat.identification import gallery
from faceqat.identification.gallery import Maker

MAKER = Maker('integer', 'ab' * 32, Fingerprint('arcface', 112))
# 10 images of four people, who come in any order.
PEOPLE = ['Dan', 'Ann', 'Ben', 'Ann', 'Ann', 'Cid', 'Ben', 'Dan', 'Ann', 'Cid']


def make_sums(kind, count=10, size=32, seed=0):
  """What `verification.embed` gives."""
  rng = np.random.default_rng(seed)
  if kind == 'float':
    return (rng.normal(size=(count, size)) * 30).astype(np.float32)
  return rng.integers(-254, 255, (count, size), np.int32)


def make_digests(count=10, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (count, 16), np.uint8)


def make_gallery(kind='integer', int8=False):
  start = gallery.empty(32, kind == 'integer', int8, MAKER)
  names = [f'{person}/{i}.jpg' for i, person in enumerate(PEOPLE)]
  made, twice = start.grown(make_sums(kind), PEOPLE, names, make_digests())
  assert not twice
  return made
