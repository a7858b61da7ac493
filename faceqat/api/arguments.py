"""Refuses arguments of another kind than a function takes, in one sentence."""

import numbers
import os
from typing import Any

import numpy as np


def check_cosine(value: Any, name: str) -> None:
  """Refuses what is no cosine.

  Raises:
    ValueError: it is no number, or outside of [-1, 1].
  """
  try:
    fits = not isinstance(value, str) and -1 <= float(value) <= 1
  except (TypeError, ValueError):
    fits = False
  if not fits:
    raise ValueError(
      f'{name} is {value!r}, wanted a number: a cosine is between -1 and 1'
    )


def check_image(image: Any) -> None:
  """Refuses what is neither a path nor the pixels of a photograph.

  Raises:
    ValueError: it is neither.
  """
  if isinstance(image, str | os.PathLike):
    return
  if (
    not isinstance(image, np.ndarray)
    or image.dtype != np.uint8
    or image.ndim != 3
    or image.shape[2] != 3
  ):
    raise ValueError(
      f'a photograph is {_kind(image)}, wanted uint8 [H, W, 3] RGB, or a path'
    )


def check_crops(crops: Any, image_size: tuple[int, int]) -> None:
  """Refuses what is no sequence of faces of one size.

  Raises:
    ValueError: it is one face, no sequence, or has faces of another size.
  """
  wanted = [*image_size, 3]
  if isinstance(crops, str | bytes) or not hasattr(crops, '__len__'):
    raise ValueError(
      f'the crops are {_kind(crops)}, wanted uint8 [N, H, W, 3] or a list of '
      f'{wanted}'
    )
  if getattr(crops, 'ndim', 4) == 3:
    raise ValueError(
      f'the crops are {_kind(crops)}, a single one: give [N, H, W, 3] or a list'
    )
  for crop in crops:
    shape = list(getattr(crop, 'shape', ()))
    if shape != wanted or crop.dtype != np.uint8:
      raise ValueError(
        f'a crop is {_kind(crop)}, wanted uint8 {wanted}: give a list of the '
        'crops that detect gives, or faces that faceqat.prepare aligned'
      )


def check_embeddings(embeddings: Any, size: int, *, integer: bool) -> None:
  """Refuses what are no embeddings of a gallery's network.

  Raises:
    ValueError: they are no array, or of another size or type.
  """
  if (
    not hasattr(embeddings, 'dtype')
    or embeddings.shape[1:] != (size,)
    or np.issubdtype(embeddings.dtype, np.integer) != integer
  ):
    raise ValueError(
      f'the embeddings are {_kind(embeddings)}, and this gallery has '
      f'{"integers" if integer else "floats"} of size {size}: give what the '
      'network that made it embeds'
    )


def check_count(value: Any, name: str) -> None:
  """Refuses what is no count.

  Raises:
    ValueError: it is no whole number, or below 1.
  """
  if not isinstance(value, numbers.Integral) or value < 1:
    raise ValueError(f'{name} is {value!r}, wanted a whole number from 1')


def _kind(value: Any) -> str:
  """Type and shape of an array; of another object what it is."""
  if hasattr(value, 'dtype') and hasattr(value, 'shape'):
    return f'{value.dtype} {list(value.shape)}'
  return f'of type {type(value).__name__}'
