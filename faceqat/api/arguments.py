"""Refuses arguments of another kind than a function takes, in one sentence."""

from typing import Any


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
