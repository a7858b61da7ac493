"""Arrays of a safetensors file, whose every fault is a ValueError.

There are element types that NumPy has not, for which safetensors raises what
its search for them comes to. Callers name the file, and what to do.
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
    ValueError: it is damaged, or has numbers of a type that NumPy has not.
  """
  try:
    with safetensors.safe_open(path, 'np') as file:
      arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
      return arrays, file.metadata() or {}
  except safetensors.SafetensorError as error:
    raise ValueError(str(error)) from error
  except (TypeError, AttributeError) as error:
    raise ValueError(f'it has numbers of a type unknown here: {error}') from (
      error
    )
