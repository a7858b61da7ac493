"""A table: data until it is printed."""

import dataclasses
from collections.abc import Sequence

from tabulate import SEPARATING_LINE, DataRow, Line, TableFormat, tabulate

_ROW = DataRow('', '  ', '')
_COLUMNS = TableFormat(
  lineabove=None,
  linebelowheader=Line('', '-', '  ', ''),
  linebetweenrows=None,
  linebelow=None,
  headerrow=_ROW,
  datarow=_ROW,
  padding=0,
  with_header_hide=None,
)


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells under titles, the first of each row a name, the others numbers.

  `str` aligns names to the left and numbers to the right:

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
    # As a row, the titles are no wider than they are; tabulate pads headers.
    text = tabulate(
      [self.titles, SEPARATING_LINE, *self.rows],
      tablefmt=_COLUMNS,
      disable_numparse=True,
      colalign=['left', *['right'] * (len(self.titles) - 1)],
    )
    return '\n'.join([text, '', *self.notes] if self.notes else [text])
