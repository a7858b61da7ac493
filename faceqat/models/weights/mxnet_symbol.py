"""Reads MXNet's graphs, `-symbol.json`."""

import os
import pathlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from faceqat.files import strict_json

# The operator of a tensor or of the image.
VARIABLE = 'null'


class Node(NamedTuple):
  """One operator of the graph.

  Attributes:
    operator: such as 'Convolution', or `VARIABLE`.
    name: of its output.
    inputs: names of nodes; an operator's tensors follow its input.
    attributes: as text; those that are missing have MXNet's default.
  """

  operator: str
  name: str
  inputs: tuple[str, ...]
  attributes: dict[str, str]

  def number(self, key: str, default: float) -> float:
    return float(self.attributes.get(key, default))

  def flag(self, key: str, default: bool) -> bool:
    return self.attributes.get(key, str(default)) in ('True', '1')

  def pair(self, key: str, default: int) -> tuple[int, ...]:
    """Reads '(1, 1)'; '(1L, 1L)' and '[1, 1]' of other versions; or '()'."""
    numbers = re.findall(r'\d+', self.attributes.get(key, ''))
    return tuple(map(int, numbers)) or (default, default)


def symbol_path(params_path: str | os.PathLike) -> pathlib.Path:
  """The graph of `prefix-0000.params` is `prefix-symbol.json` beside it."""
  path = pathlib.Path(params_path)
  prefix = re.sub(r'-\d{4}$', '', path.stem)
  return path.with_name(f'{prefix}-symbol.json')


def read_symbol(path: str | os.PathLike) -> list[Node]:
  """Reads the nodes of a graph, each after its inputs.

  Raises:
    ValueError: no such file, or no graph.
  """
  name = os.fspath(path)
  try:
    content = pathlib.Path(path).read_bytes()
  except FileNotFoundError:
    raise ValueError(
      f'There is no graph {name}: MXNet saves it beside the .params file, and '
      'it has what no tensor shows. Copy it there'
    ) from None
  try:
    entries = strict_json.parse(content, dict)['nodes']
    return [
      Node(
        operator=entry['op'],
        name=entry['name'],
        inputs=tuple(entries[index]['name'] for index, *_ in entry['inputs']),
        attributes=_attributes(entry),
      )
      for entry in entries
    ]
  except (ValueError, LookupError, TypeError, AttributeError) as error:
    raise ValueError(
      f'{name} is no MXNet graph ({type(error).__name__}: {error}). Give the '
      '-symbol.json that MXNet saved'
    ) from None


def input_scaling(nodes: Iterable[Node]) -> tuple[str, float, float]:
  """The scaling of the pixels at the begin of a graph.

  Returns:
    (name, factor, offset): node `name` is `factor * pixel + offset`.

  Raises:
    ValueError: the graph has no image.
  """
  name, factor, offset = None, 1.0, 0.0
  for node in nodes:
    if node.operator == VARIABLE and node.name == 'data':
      name = node.name
    elif name is not None and node.inputs[:1] == (name,):
      if node.operator == '_minus_scalar':
        offset -= node.number('scalar', 0.0)
      elif node.operator == '_mul_scalar':
        scalar = node.number('scalar', 1.0)
        factor, offset = factor * scalar, offset * scalar
      else:
        break
      name = node.name
  if name is None:
    raise ValueError('the graph has no input of the name data')
  return name, factor, offset


def _attributes(entry: dict) -> dict[str, str]:
  # MXNet before 0.9, before 0.12, and since.
  return {
    key: value
    for kind in ('param', 'attr', 'attrs')
    for key, value in entry.get(kind, {}).items()
  }
