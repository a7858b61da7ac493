"""Matplotlib figures as SVG inside of an HTML page.

Several figures share the page's names, styles and colours: identifiers get a
prefix, rules for the whole document are left out, and colours become variables
of the page's style sheet, which has them for light, dark and paper.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ET

import matplotlib
from matplotlib.figure import Figure

from faceqat.report import style

# A variable of page.css for each colour that figures are drawn in.
_VARIABLES = {
  '#000000': 'currentColor',
  '#ffffff': 'var(--paper)',
  style.MUTED: 'var(--muted)',
  style.GRID: 'var(--grid)',
  style.SHADE: 'var(--shade)',
  **{c.lower(): f'var(--line-{i})' for i, c in enumerate(style.COLOURS)},
}
_COLOUR = re.compile('|'.join(_VARIABLES))
_NUMBER = re.compile(r'-?\d+\.\d{3,}')
_FONT = re.compile('; font-family: [^;]*')
# Matplotlib writes coordinates there, and lengths.
_GEOMETRY = ('d', 'x', 'y', 'width', 'height', 'transform', 'points')


def to_svg(figure: Figure, prefix: str, label: str) -> str:
  """A figure as an `<svg>` element without a size of its own.

  Text stays text, in the fonts of the page. Nothing in it is a link, a rule or
  a script; the same figure always gives the same element.

  Args:
    figure: drawn in the colours of `style`.
    prefix: of all identifiers, another one for each figure of a page.
    label: its meaning, for whoever has the page read aloud.
  """
  written = io.StringIO()
  settings = {'svg.fonttype': 'none', 'svg.hashsalt': 'faceqat'}
  with matplotlib.rc_context(settings), warnings.catch_warnings():
    # The page's fonts have the letters that Matplotlib's lack.
    warnings.filterwarnings('ignore', 'Glyph', UserWarning)
    metadata = {'Date': None, 'Creator': None, 'Format': None, 'Type': None}
    figure.savefig(written, format='svg', transparent=True, metadata=metadata)
  # Our own drawing, no foreign document.
  root = ET.fromstring(written.getvalue())
  _clean(root, prefix)
  for name in ('width', 'height', 'version'):
    root.attrib.pop(name, None)
  root.set('role', 'img')
  root.set('aria-label', label)
  return ET.tostring(root, encoding='unicode')


def _clean(element: ET.Element, prefix: str):
  """Makes an element and its children fit for a page, in place."""
  element.tag = element.tag.rpartition('}')[2]
  for child in list(element):
    if child.tag.rpartition('}')[2] in ('metadata', 'style'):
      element.remove(child)
    else:
      _clean(child, prefix)
  if element.text and not element.text.strip():
    element.text = None
  element.tail = None
  attributes = dict(element.attrib)
  element.attrib.clear()
  for key, value in attributes.items():
    key = key.rpartition('}')[2]
    if key == 'id':
      value = prefix + value
    elif key == 'href':
      value = f'#{prefix}{value.removeprefix("#")}'
    elif key == 'clip-path':
      value = value.replace('#', f'#{prefix}')
    elif key == 'style':
      value = _COLOUR.sub(lambda found: _VARIABLES[found[0]], value)
      value = _FONT.sub('', value)
    elif key in _GEOMETRY:
      value = _NUMBER.sub(lambda found: f'{float(found[0]):.2f}', value)
      value = ' '.join(value.split())
    element.set(key, value)
