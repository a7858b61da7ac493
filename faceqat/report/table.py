"""A table: data until it is printed."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells under titles, the first of each row a name, the others numbers.

  `str` writes it as columns, names to the left and numbers to the right, and
  the notes below a blank line:

    >>> print(Table(['mode', 'AUC'], [['float', '0.98772']], ['On LFW.']))
    mode       AUC
    -----  -------
    float  0.98772
    <BLANKLINE>
    On LFW.

  Attributes:
    titles: of the columns.
    rows: of as many cells.
    notes: lines that say how to read it.
  """

  titles: Sequence[str]
  rows: Sequence[Sequence[str]]
  notes: Sequence[str] = ()

  def __str__(self):
    widths = [max(map(len, column)) for column in zip(self.titles, *self.rows)]
    lines = [
      '  '.join(
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(line, widths))
      )
      for line in (self.titles, ['-' * width for width in widths], *self.rows)
    ]
    return '\n'.join([*lines, '', *self.notes] if self.notes else lines)
