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
