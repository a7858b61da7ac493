"""Draws one figure of the page."""

from collections.abc import Callable

from faceqat.report import style
from faceqat.report.blocks import Drawing


def drawing(
  title: str,
  caption: str,
  draw: Callable[..., None],
  *curves,
  x: str,
  y: str = '',
  percent: str = '',
  columns: int = 2,
  wide: bool = False,
) -> Drawing:
  """Draws axes with labels, and the legend below them.

  Args:
    title: above the figure.
    caption: below it: how to read it.
    draw: of `plots` or `layer_plots`, called with the axes and `curves`.
    *curves: what to draw.
    x: label of the axis.
    y: label of the other one.
    percent: the axes whose numbers are fractions: 'x', 'y' or 'xy'.
    columns: of the legend.
    wide: takes the width of two.
  """
  figure, axes = style.panel(wide)
  draw(axes, *curves)
  for name in percent:
    style.percent_ticks(getattr(axes, f'{name}axis'))
  axes.set(xlabel=x, ylabel=y)
  style.legend_below(figure, columns)
  return Drawing(title, figure, caption, wide)
