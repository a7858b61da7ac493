"""Reads photographs of any size as upright RGB pixels."""

import os
import warnings

import numpy as np

from faceqat.files import decoding


def read_photograph(path: str | os.PathLike) -> np.ndarray:
  """Reads a photograph, uint8 [H, W, 3] RGB, as `decoding.decode` does.

  Raises:
    ValueError: the file is missing, damaged, no image, has no pixels or more
      than `decoding.MAX_PIXELS`, or has values of 32 bits.
  """
  try:
    with warnings.catch_warnings():
      # Pillow warns of large images and of damaged metadata.
      warnings.simplefilter('ignore')
      return np.array(decoding.decode(path))
  except FileNotFoundError:
    raise ValueError(f'{path} is not there; give a photograph') from None
  except decoding.UnreadableError as error:
    if os.path.isdir(path):
      raise ValueError(f'{path} is a folder; give a photograph') from None
    remedy = '' if error.remedy else ': restore or remove it'
    raise ValueError(f'{path} {error}{remedy}') from error
