"""Which bytes of a file are which."""

import collections
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from faceqat.report.table import Table

# Factors written out for a runtime that has no rescaling; limits, shapes.
OTHER = 'other constants'
REST = 'the rest'
# What a constant holds, by the end of its name; a writer may add to the end.
_FIELDS = {
  'weight_scale': 'scales',
  'bias': 'biases',
  'alpha': 'slopes',
}
_LAST = ('scales', 'biases', 'slopes', OTHER, REST)


class Constant(NamedTuple):
  """An array in a file.

  Attributes:
    name: 'LAYER:FIELD', and what the file's writer added to it.
    bits: that it takes for each integer.
    size: in bytes.
  """

  name: str
  bits: int
  size: int


def by_part(content: bytes, constants: Iterable[Constant]) -> dict[str, int]:
  """Bytes of a file by what they hold; together they are all of the file's.

  Args:
    content: of the file.
    constants: all in it. What they do not take is `REST`: the description,
      operators, names.
  """
  counts: collections.Counter[str] = collections.Counter()
  for constant in constants:
    counts[_part(constant)] += constant.size
  counts[REST] += len(content) - counts.total()
  return dict(counts)


def _part(constant: Constant) -> str:
  field = constant.name.rpartition(':')[2]
  if field.endswith(('_scale', '_zero')) and field not in _FIELDS:
    return 'scales'
  for start, part in _FIELDS.items():
    if field.startswith(start):
      return part
  if field.startswith('weights'):
    return f'weights, {constant.bits} bits'
  return OTHER


def parts_table(parts: Mapping[str, Mapping[str, int]]) -> Table:
  """One part a row, one file a column; `parts` are those of `by_part`."""
  found = {part for counts in parts.values() for part in counts}
  weights = sorted(found - set(_LAST))
  rows = [
    [part, *(f'{counts.get(part, 0):,}' for counts in parts.values())]
    for part in [*weights, *(x for x in _LAST if x in found)]
  ]
  rows.append(['all', *(f'{sum(x.values()):,}' for x in parts.values())])
  return Table(['bytes', *parts], rows)
