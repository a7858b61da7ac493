"""Small images, as the bytes of their files."""

import io

import numpy as np
from PIL import Image


def encode(pixels: np.ndarray, form: str = 'PNG', **options) -> bytes:
  """Of pixels [H, W, 3] uint8, or grey ones [H, W]."""
  stream = io.BytesIO()
  Image.fromarray(pixels).save(stream, form, **options)
  return stream.getvalue()


def filled(value: int | tuple, size: int = 8, form: str = 'PNG') -> bytes:
  """A square of one colour; a single number stands for all three channels."""
  return encode(np.full((size, size, 3), value, np.uint8), form)


def write_people(root, counts, color=lambda person, image: 40 * person + image):
  """Writes root/NAME/0.png, ..., as many as `counts` says; returns the root."""
  for person, (name, count) in enumerate(counts.items()):
    (root / name).mkdir(parents=True)
    for image in range(count):
      (root / name / f'{image}.png').write_bytes(filled(color(person, image)))
  return root
