"""The parts of a page: sections, and the blocks in them.

How they look is in templates/page.html, which has a form for each `kind`.
"""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure

from faceqat.report.table import Table


class _Block:
  @property
  def kind(self) -> str:
    return type(self).__name__


@dataclasses.dataclass(frozen=True)
class Text(_Block):
  """A paragraph."""

  text: str


@dataclasses.dataclass(frozen=True)
class Missing(_Block):
  """A part that is not there, and the command that makes it."""

  what: str
  command: str = ''


@dataclasses.dataclass(frozen=True)
class Headlines(_Block):
  """The few numbers to remember: (number, meaning, number beside it)."""

  numbers: Sequence[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class Facts(_Block):
  """Names and values."""

  facts: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class TitledTable(_Block):
  """A table under a title; a folded one shows its title until it is opened."""

  title: str
  table: Table
  folded: bool = False


@dataclasses.dataclass(frozen=True)
class Drawing(_Block):
  """A figure in the colours of `style`, under its title and above its caption.

  A wide one takes the width of two.
  """

  title: str
  figure: Figure
  caption: str
  wide: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
  """Pixels as a `data:` URL, with their meaning in words and a caption."""

  source: str
  width: int
  height: int
  alternative: str
  caption: str


@dataclasses.dataclass(frozen=True)
class PictureRow(_Block):
  """Pictures beside each other."""

  title: str
  pictures: Sequence[Picture]


Block = Text | Missing | Headlines | Facts | TitledTable | Drawing | PictureRow


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of the page under a heading."""

  title: str
  blocks: Sequence[Block]
