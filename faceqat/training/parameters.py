"""Writes the table of trained parameters to the folder of a run."""

import pathlib
from typing import Any

from clu import parameter_overview

from faceqat.files import atomic


def write_parameters(params: dict[str, Any], workdir: pathlib.Path) -> str:
  """Writes `parameters.txt`: name, shape, type and size of every array.

  Args:
    params: of a `TrainState`.
    workdir: an existing folder.

  Returns:
    A line for the user: their numbers, and the file.
  """
  path = pathlib.Path(workdir) / 'parameters.txt'
  table = parameter_overview.get_parameter_overview(params, include_stats=False)
  atomic.write(path, f'{table}\n'.encode())
  backbone = parameter_overview.count_parameters(params['backbone'])
  others = parameter_overview.count_parameters(params) - backbone
  return (
    f'{backbone:,} parameters in the network, {others:,} in the objective; '
    f'they are listed in {path}'
  )
