import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure

from faceqat.report import plots, style, svg


def drawn(prefix='a-', title='title'):
  figure, axes = style.panel()
  for i in range(3):
    axes.plot(np.arange(5) * i, marker='o', label=f'{i}', **style.line(i))
  axes.set_title(title)
  style.clean(axes)
  style.legend_below(figure)
  return svg.to_svg(figure, prefix, 'what it <shows>')


def test_two_figures_share_no_identifier_and_refer_to_their_own():
  both = [drawn('a-'), drawn('b-')]
  ids = [set(re.findall(r'id="([^"]*)"', text)) for text in both]
  assert len(ids[0]) > 10
  assert not ids[0] & ids[1]
  for text, own in zip(both, ids):
    used = re.findall(r'(?:href="#|url\(#)([^")]*)', text)
    assert len(used) > 10
    assert set(used) <= own


def test_the_same_figure_is_the_same_text():
  assert drawn() == drawn()


def test_no_rule_holds_for_the_page_and_no_size_is_fixed():
  root = ET.fromstring(drawn())
  assert 'style' not in {element.tag for element in root.iter()}
  assert 'metadata' not in {element.tag for element in root.iter()}
  assert not {'width', 'height'} & root.attrib.keys()
  assert 'viewBox' in root.attrib
  assert root.get('aria-label') == 'what it <shows>'


def test_every_colour_is_one_of_the_page():
  """But for those within a text, which is the user's."""
  text = drawn(title='#000000')
  assert re.findall('#[0-9a-f]{6}', text) == ['#000000']
  for i in range(3):
    assert f'var(--line-{i})' in text


def test_text_stays_text_and_takes_the_font_of_the_page():
  figure = Figure()
  figure.text(0.1, 0.1, style.text('_<b>$x^2$ 李'))
  found = svg.to_svg(figure, 'a-', '')
  assert '\u200b_&lt;b&gt;$x^2$ 李</text>' in found
  assert 'font-family' not in found


@pytest.mark.parametrize('name', ['_hidden', '$x^2$', 'a_b$c', r'\alpha'])
def test_a_legend_has_names_that_matplotlib_would_read_otherwise(name):
  figure, axes = style.panel()
  same = np.arange(20) % 2 == 0
  plots.draw_roc(axes, {name: (same * 1.0, same)})
  style.legend_below(figure)
  text = svg.to_svg(figure, 'a-', '')
  (shown,) = re.findall('>([^<]*), AUC', text)
  assert shown.strip('\u200b') == name
