"""The parts of a page: sections, and blocks in them, without their looks.

The looks are in templates/page.html, which has a form for each `kind`.
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
  """What is not there, and the command that makes it."""

  kind: ClassVar[str] = 'missing'
  what: str
  command: str = ''


@dataclasses.dataclass(frozen=True)
class Headlines:
  """The few numbers to remember: (number, what it is, what it is beside)."""

  kind: ClassVar[str] = 'headlines'
  numbers: Sequence[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class Facts:
  """Names and values."""

  kind: ClassVar[str] = 'facts'
  facts: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class TitledTable:
  """A table, and below it its notes.

  Attributes:
    title: above it.
    table: its cells.
    folded: show the title alone until the reader opens it.
  """

  kind: ClassVar[str] = 'table'
  title: str
  table: Table
  folded: bool = False


@dataclasses.dataclass(frozen=True)
class Drawing:
  """A figure.

  Attributes:
    title: above it.
    figure: drawn in the colours of `style`, without a title.
    caption: below it: how to read it.
    wide: takes the width of two.
  """

  kind: ClassVar[str] = 'drawing'
  title: str
  figure: Figure
  caption: str
  wide: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture of pixels.

  Attributes:
    source: a `data:` URL.
    width, height: in pixels.
    alternative: what it shows, in words.
    caption: below it.
  """

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
