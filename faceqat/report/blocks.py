"""The parts of a page: sections, and the blocks in them.

How they look is in templates/page.html, which has a form for each `kind`.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure

from faceqat.report.table import Table


@dataclasses.dataclass(frozen=True)
class Text:
  """A paragraph."""

  kind: ClassVar[str] = 'text'
  text: str


@dataclasses.dataclass(frozen=True)
class Missing:
  """A part that is not there, and the command that makes it."""

  kind: ClassVar[str] = 'missing'
  what: str
  command: str = ''


@dataclasses.dataclass(frozen=True)
class Headlines:
  """The few numbers to remember: (number, meaning, number beside it)."""

  kind: ClassVar[str] = 'headlines'
  numbers: Sequence[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class Facts:
  """Names and values."""

  kind: ClassVar[str] = 'facts'
  facts: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class TitledTable:
  """A table under a title; a folded one shows its title until it is opened."""

  kind: ClassVar[str] = 'table'
  title: str
  table: Table
  folded: bool = False


@dataclasses.dataclass(frozen=True)
class Drawing:
  """A figure in the colours of `style`, under its title and above its caption.

  A wide one takes the width of two.
  """

  kind: ClassVar[str] = 'drawing'
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
class Gallery:
  """Pictures beside each other."""

  kind: ClassVar[str] = 'gallery'
  title: str
  pictures: Sequence[Picture]


Block = Text | Missing | Headlines | Facts | TitledTable | Drawing | Gallery


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of the page under a heading."""

  title: str
  blocks: Sequence[Block]
