"""Reads the tables of a page or of a command's output; prints Markdown rows."""

import re
from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
  """A row of a table.

  Attributes:
    line: of the text, from 1.
    cells: by the title of their column. An empty first cell is that of the row
      above, as tables leave out what stays.
  """

  line: int
  cells: dict[str, str]

  def is_of(self, name: str) -> bool:
    """Whether a cell is `name`, or begins with it and a comma."""
    cells = (plain(cell) for cell in self.cells.values())
    return any(cell == name or cell.startswith(f'{name},') for cell in cells)


def print_titles(titles: Sequence[str]):
  """Prints the first two lines of a Markdown table."""
  print_row(titles)
  print('|---' * len(titles) + '|', flush=True)


def print_row(cells: Sequence[object]):
  """Prints a row of a Markdown table."""
  print(f'| {" | ".join(map(str, cells))} |', flush=True)


def plain(cell: str) -> str:
  """A cell without Markdown's marks."""
  return cell.replace('*', '').replace('`', '').strip()


def number(cell: str) -> float | None:
  """The first number of a cell, or None."""
  found = re.search(r'[-+]?\d[\d,]*(\.\d+)?', plain(cell))
  return float(found[0].replace(',', '')) if found else None


def decimals(cell: str) -> int:
  """How many digits the first number of a cell has behind its point."""
  found = re.search(r'\d[\d,]*(?:\.(\d+))?', plain(cell))
  return len(found[1] or '') if found else 0


def read_rows(text: str) -> list[Row]:
  """The rows of all tables of a text.

  A table is one of Markdown, or one with a line of dashes below its titles
  that says how wide its columns are.
  """
  lines, rows, titles, split = text.splitlines(), [], None, None
  for index, line in enumerate(lines):
    if re.fullmatch(r'\s*(\|\s*:?-+:?\s*)+\|\s*', line):
      split = _split_markdown
      titles = split(lines[index - 1])
    elif re.fullmatch(r'-{3,}(  +-{3,})+', line.rstrip()):
      split = _split_at([match.span() for match in re.finditer('-+', line)])
      titles = split(lines[index - 1])
    elif titles and any(cells := split(line)):
      previous = rows[-1] if rows and rows[-1].line == index else None
      if not cells[0] and previous:
        cells[0] = previous.cells[titles[0]]
      rows.append(Row(index + 1, dict(zip(titles, cells))))
    else:
      titles = None
  return rows


def _split_markdown(line):
  if not line.lstrip().startswith('|'):
    return []
  return [cell.strip() for cell in line.strip().strip('|').split('|')]


def _split_at(spans):
  def split(line):
    if line.startswith('```'):
      return []
    return [line[start:end].strip() for start, end in spans]

  return split
