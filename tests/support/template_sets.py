"""Templates of few images, and embeddings of them without a network."""

import numpy as np

from faceqat.data.benchmarks.ijb import TemplateSet


def make_templates():
  """Eight images of four templates; the first two are of one person."""
  pixels = np.random.default_rng(1).integers(1, 256, (8, 4, 4, 3), np.uint8)
  return TemplateSet(
    name='tiny',
    images=list(pixels),
    template=np.array([0, 0, 0, 1, 2, 2, 3, 3]),
    media=np.array([1, 1, 2, 1, 5, 6, 7, 7]),
    quality=np.linspace(0.1, 0.8, 8),
    first=np.array([0, 0, 1, 2]),
    second=np.array([1, 2, 3, 3]),
    same=np.array([True, False, False, False]),
  )


def embed_pixels(images):
  return images.sum(2).reshape(len(images), -1).astype(np.int32)
