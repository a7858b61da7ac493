"""Folders of drawn pictures, and what finds and embeds them in a test."""

import types

import numpy as np
from PIL import Image

from faceqat.faces import alignment
from faceqat.faces.detection import Face


def draw_folder(root, people, images, seed=0):
  """Folders of people, each with pictures that resemble each other."""
  rng = np.random.default_rng(seed)
  for person in range(people):
    folder = root / f'p{person}'
    folder.mkdir(parents=True)
    own = rng.integers(40, 216, (14, 14, 3))
    for image in range(images):
      pixels = own + rng.integers(-30, 31, own.shape)
      large = pixels.astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
      Image.fromarray(large).save(folder / f'{image}.png')
  return root


def find_whole(image):
  """A detector that finds one upright face in any picture."""
  scale = image.shape[0] / 112
  return [
    Face(
      np.array([20.0, 20.0, 72.0, 84.0]) * scale,
      alignment.ARCFACE_TEMPLATE * scale,
      score=0.9,
    )
  ]


def stand_in(calls):
  """A network that sees squares of sixteen pixels; notes its calls."""

  def predict(images):
    calls.append(len(images))
    squares = images.reshape(len(images), 7, 16, 7, 16, 3).mean(axis=(2, 4))
    return (squares.reshape(len(images), -1) - 128).astype(np.float32)

  return types.SimpleNamespace(
    predict=predict,
    image_size=(112, 112),
    digest=lambda batch: 'ab',
    table=None,
  )
