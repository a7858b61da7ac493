"""Reads the arrays of a safetensors file; every fault is a ValueError.

safetensors itself raises an error of another type for element types that NumPy
lacks. Callers name the file and the remedy.
"""

import os

import numpy as np
import safetensors


def read_arrays(
  path: str | os.PathLike,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads a file that exists.

  Returns:
    Its arrays and its texts, by name.

  Raises:
    ValueError: it is damaged, or has numbers of a type that NumPy lacks.
  """
  try:
    with safetensors.safe_open(path, 'np') as file:
      # It is no mapping: it has keys() and cannot be iterated over.
      arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
      return arrays, file.metadata() or {}
  except safetensors.SafetensorError as error:
    raise ValueError(str(error)) from error
  except (TypeError, AttributeError) as error:
    raise ValueError(f'it has numbers of a type unknown here: {error}') from (
      error
    )
