"""The configs that come with faceqat: their names, and what their fields mean.

In a checkout they lie in `configs/`, in an installed faceqat inside of it.
"""

import ast
import difflib
import functools
import importlib.machinery
import importlib.util
import itertools
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

_PACKAGE = pathlib.Path(__file__).parent
FOLDER = next(
  (
    folder
    for folder in (_PACKAGE / 'configs', _PACKAGE.parent / 'configs')
    if (folder / 'base.py').exists()
  ),
  _PACKAGE / 'configs',
)


def names() -> list[str]:
  """Of all experiments, sorted."""
  return sorted(
    path.stem
    for path in FOLDER.glob('*.py')
    if '\ndef get_config(' in path.read_text()
  )


def path_of(config: str) -> str:
  """The file of a config that is given by name; a path stays as it is.

  Args:
    config: `mbv2_int8` or a path; either may have a form, `mbv2_int8:smoke`.

  Raises:
    ValueError: no config has this name; it lists those that there are.
  """
  name, colon, form = config.partition(':')
  if name.endswith('.py') or os.sep in name or os.path.exists(name):
    return config
  if name not in names():
    near = difflib.get_close_matches(name, names(), 1)
    raise ValueError(
      f'there is no config {name!r}; '
      + (f'did you mean {near[0]}? There are ' if near else 'there are ')
      + f'{", ".join(names())}; or give the path of a file'
    )
  return f'{FOLDER / name}.py{colon}{form}'


def make_importable():
  """Lets the file of a config import its blocks, as `configs.base`, anywhere.

  In the folder of a checkout it could anyway.
  """
  if 'configs' not in sys.modules:
    spec = importlib.machinery.ModuleSpec('configs', None, is_package=True)
    spec.submodule_search_locations = [str(FOLDER)]
    sys.modules['configs'] = importlib.util.module_from_spec(spec)


class Field(NamedTuple):
  """A field of a config.

  Attributes:
    name: with those of the blocks around it, `data.path`.
    value: what it is.
    comment: above it in its source, in one line; '' where there is none.
  """

  name: str
  value: Any
  comment: str


def fields(config: Mapping[str, Any], prefix: str = '') -> Iterator[Field]:
  """The fields of a config in the order of their source, blocks last.

  An empty block is a field. A block of other fields than any of faceqat's has
  no comments.
  """
  comments = _comments_of(set(config))
  order = [name for name in comments if name in config]
  order += [name for name in config if name not in comments]
  blocks = [name for name in order if len(_items(config[name]))]
  for name in order:
    if name not in blocks:
      yield Field(f'{prefix}{name}', config[name], comments.get(name, ''))
  for name in blocks:
    yield from fields(config[name], f'{prefix}{name}.')


def _items(value: Any) -> Iterable:
  return value.items() if hasattr(value, 'items') else ()


class _Block(NamedTuple):
  """Fields of a block and their comments; an open one takes others besides."""

  comments: dict[str, str]
  is_open: bool


def _comments_of(names: set[str]) -> dict[str, str]:
  """By field, of the block in the sources that has these fields."""
  fitting = [
    block
    for block in _blocks()
    if block.comments.keys() == names
    or (block.is_open and block.comments.keys() < names)
  ]
  if not fitting:
    return {}
  return max(fitting, key=lambda block: len(block.comments)).comments


@functools.cache
def _blocks() -> list[_Block]:
  """Every dictionary of constant names in the sources."""
  found = []
  for path in sorted(FOLDER.glob('*.py')):
    source = path.read_text()
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
      if isinstance(node, ast.Dict) and node.keys:
        keys = [key for key in node.keys if isinstance(key, ast.Constant)]
        comments, before = {}, 0
        for key in keys:
          # The first of several in a line has their comment.
          is_first = key.lineno > before
          comments[key.value] = _comment(lines, key.lineno) if is_first else ''
          before = key.lineno
        found.append(_Block(comments, len(keys) < len(node.keys)))
  return found


def _comment(lines: list[str], number: int) -> str:
  """The comment lines right above a line, which counts from 1."""
  above = itertools.takewhile(
    lambda line: line.startswith('#'),
    (line.strip() for line in reversed(lines[: number - 1])),
  )
  return ' '.join(line.lstrip('# ') for line in reversed(list(above)))
