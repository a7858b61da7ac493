"""A contact sheet: each probe beside the best matches that a gallery has."""

import functools
import io
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from faceqat.files import atomic, folders

# The marks of a tile: a colour of Okabe and Ito's palette, and a sign and
# a word, so that colour vision and print play no part.
MARKS = {
  'right': ('#009E73', '✓'),
  'wrong': ('#D55E00', '✗'),
  'unknown': ('#666666', '?'),
  '': ('#BBBBBB', ''),
}

_PICTURE = 112
_GAP = 10
_FRAME = 4
_LINE = 15
_LINES = 2
_TITLE = 34
_FONT_SIZE = 11
# The probe stands a little apart from its matches.
_AFTER_PROBE = 14


class Tile(NamedTuple):
  """A picture with lines of text below it.

  Attributes:
    picture: uint8 [H, W, 3]; None where there is only a name.
    lines: at most two.
    mark: one of `MARKS`.
  """

  picture: np.ndarray | None
  lines: tuple[str, ...]
  mark: str = ''


def contact_sheet(
  rows: Sequence[tuple[Tile, Sequence[Tile]]],
  title: str,
  path: str | os.PathLike,
) -> None:
  """Draws one row a probe.

  Args:
    rows: the probe, and its matches, the best first.
    title: the line above them.
    path: file to write, a PNG.

  Raises:
    ValueError: there is no row.
  """
  if not rows:
    raise ValueError('A contact sheet needs at least one probe, got none')
  columns = 1 + max(len(matches) for _, matches in rows)
  step_x = _PICTURE + 2 * _FRAME + _GAP
  step_y = _PICTURE + 2 * _FRAME + _LINES * _LINE + _GAP
  width = 2 * _GAP + columns * step_x - _GAP + _AFTER_PROBE
  sheet = Image.new('RGB', (width, _TITLE + len(rows) * step_y), 'white')
  draw = ImageDraw.Draw(sheet)
  heading = _fitted(draw, title, width - 2 * _GAP, _font(_FONT_SIZE + 2))
  draw.text((_GAP, 9), heading, 'black', _font(_FONT_SIZE + 2))
  for number, (probe, matches) in enumerate(rows):
    y = _TITLE + number * step_y
    _draw_tile(sheet, draw, probe, _GAP, y)
    for column, match in enumerate(matches, 1):
      _draw_tile(sheet, draw, match, _GAP + _AFTER_PROBE + column * step_x, y)
  content = io.BytesIO()
  sheet.save(content, 'PNG', optimize=True)
  path = pathlib.Path(path)
  folders.make(path.parent)
  atomic.write(path, content.getvalue())


def _draw_tile(sheet, draw, tile: Tile, x: int, y: int):
  colour, sign = MARKS[tile.mark]
  outer = _PICTURE + 2 * _FRAME
  draw.rectangle((x, y, x + outer - 1, y + outer - 1), fill=colour)
  inside = (x + _FRAME, y + _FRAME)
  if tile.picture is None:
    end = (inside[0] + _PICTURE - 1, inside[1] + _PICTURE - 1)
    draw.rectangle((inside, end), fill='#EEEEEE')
    middle = (x + outer // 2, y + outer // 2)
    draw.text(middle, 'no picture', '#666666', _font(_FONT_SIZE), anchor='mm')
  else:
    picture = ImageOps.contain(
      Image.fromarray(tile.picture), (_PICTURE, _PICTURE)
    )
    left, top = ((_PICTURE - side) // 2 for side in picture.size)
    sheet.paste(picture, (inside[0] + left, inside[1] + top))
  for number, line in enumerate(tile.lines):
    text = f'{sign} {line}' if number == 0 and sign else line
    text = _fitted(draw, text, outer, _font(_FONT_SIZE))
    place = (x, y + outer + 2 + number * _LINE)
    ink = colour if number == 0 and sign else 'black'
    draw.text(place, text, ink, _font(_FONT_SIZE))


def _fitted(draw, text: str, width: int, font) -> str:
  """The text, cut in its middle where it is too long: both ends tell names.

  A line break in a name becomes a sign: a tile has so many lines and no more.
  """
  text = ''.join(c if c.isprintable() else '\ufffd' for c in text)
  shorter = text
  while len(shorter) > 1 and draw.textlength(shorter, font) > width:
    keep = len(shorter.replace('…', '')) - 1
    shorter = f'{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}'
  return shorter


@functools.cache
def _font(size: int):
  # Matplotlib's: it has the signs, and the letters of most languages.
  import matplotlib

  path = pathlib.Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf')
  return ImageFont.truetype(str(path), size)
