"""The look of every figure: colours, lines, axes."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

# Okabe and Ito's palette, for any colour vision; line styles for print.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
STYLES = ('-', '--', ':', '-.')
MUTED = '#666666'
GRID = '#dddddd'
SHADE = '#eeeeee'


def line(i: int) -> dict:
  """Line i: later ones are thinner, so that coinciding curves all show."""
  return {
    'color': COLOURS[i % len(COLOURS)],
    'linestyle': STYLES[i % len(STYLES)],
    'linewidth': max(2.6 - 0.6 * i, 1.2),
  }


def panel(wide: bool = False) -> tuple[Figure, Axes]:
  """A figure of the page with axes: text is of reading size on a phone."""
  figure = Figure(figsize=(9, 3.4) if wide else (4.8, 3.7))
  figure.set_layout_engine('constrained')
  return figure, figure.subplots()


def clean(axes: Axes) -> None:
  axes.spines[['top', 'right']].set_visible(False)
  axes.grid(True, color=GRID, linewidth=0.6)
  axes.set_axisbelow(True)


def text(words: str) -> str:
  """Of the user's own, as Matplotlib draws it unchanged.

  Dollars would begin a formula, and a legend leaves out what begins with an
  underscore: a space without width goes before it.
  """
  words = words.replace('$', r'\$')
  return f'\u200b{words}' if words.startswith('_') else words


def percent_ticks(axis) -> None:
  """Labels the ticks of fractions as per cent, in plain text."""
  axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))


def percent(fraction: float) -> str:
  return f'{100 * fraction:.4g} %'


def legend_below(figure: Figure, columns: int = 2) -> None:
  """One legend for the figure, under it, where it hides nothing."""
  labelled = {}
  for axes in figure.axes:
    for handle, label in zip(*axes.get_legend_handles_labels()):
      labelled.setdefault(label, handle)
  if labelled:
    figure.legend(
      labelled.values(),
      labelled.keys(),
      loc='outside lower center',
      ncols=min(columns, len(labelled)),
      fontsize=9,
      frameon=False,
    )
