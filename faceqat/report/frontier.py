"""The picture of accuracy over bytes: runs, and what others publish."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from faceqat.files import strict_json
from faceqat.report import figures, style
from faceqat.report.comparison import Evaluation


class Point(NamedTuple):
  """A network in the picture.

  Attributes:
    name: the text beside its mark.
    size: bytes of its file.
    accuracy: in [0, 1], of pairs.
    limits: of the accuracy's 95 % interval over people, where it is known.
  """

  name: str
  size: int
  accuracy: float
  limits: tuple[float, float] | None = None


def points_of(evaluations: Sequence[Evaluation]) -> list[Point]:
  """Points of evaluated runs, named after their folders.

  Raises:
    ValueError: a run's results have no accuracy or no bytes.
  """
  names = [evaluation.run.resolve().name for evaluation in evaluations]
  if len({*names}) < len(names):
    names = [str(evaluation.run) for evaluation in evaluations]
  return list(map(_point, evaluations, names))


def _point(evaluation: Evaluation, name: str) -> Point:
  results = evaluation.results
  missing = [
    field
    for field in ('accuracy', 'bytes')
    if not math.isfinite(results.get(field, math.nan))
  ]
  if missing:
    raise ValueError(
      f'{evaluation.run}/results.json has no {" and no ".join(missing)} of the '
      f'precision {evaluation.precision!r}, which a picture needs; evaluate '
      'the run anew (faceqat.evaluate), on pairs in two folds or more'
    )
  ends = 'low/accuracy', 'high/accuracy'
  known = all(end in results for end in ends)
  return Point(
    name,
    int(results['bytes']),
    results['accuracy'],
    tuple(results[end] for end in ends) if known else None,
  )


def read_published(path: str | os.PathLike) -> list[Point]:
  """Reads what others publish: `[{"name":, "bytes":, "accuracy":}, ...]`.

  Accuracies are in per cent, as papers have them. Other fields, such as where
  a figure comes from, are left alone.

  Raises:
    ValueError: the file is no such list.
    OSError: it cannot be read.
  """
  try:
    rows = strict_json.parse(pathlib.Path(path).read_bytes(), list)
    return [_published(row, number) for number, row in enumerate(rows, 1)]
  except ValueError as error:
    raise ValueError(
      f'{path}: {error}; give a list of objects with name, bytes (a whole '
      'number over 0) and accuracy (0 to 100)'
    ) from error


def _published(row: Any, number: int) -> Point:
  fields = row if isinstance(row, dict) else {}
  name, size = fields.get('name'), fields.get('bytes')
  accuracy = fields.get('accuracy')
  if not (
    isinstance(name, str)
    and type(size) is int
    and 0 < size < 2**63
    and type(accuracy) in (int, float)
    and 0 <= accuracy <= 100
  ):
    raise ValueError(f'its entry {number} is {row!r}')
  return Point(name, size, accuracy / 100)


def frontier_figure(
  points: Sequence[Point],
  published: Sequence[Point],
  path: str | os.PathLike,
  *,
  precision: str,
  pairs: str,
) -> None:
  """Draws accuracy over bytes; a line joins the `best` of the own runs.

  Args:
    points: of own runs, at least one.
    published: of others.
    path: file to write; its suffix is the format, PNG without one.
    precision: of the own runs.
    pairs: the name of the pairs that all accuracies are of.
  """
  figure = Figure(figsize=(10, 5), layout='constrained')
  axes = figure.subplots()
  style.clean(axes)
  joined = best(points)
  axes.step(
    [point.size for point in joined],
    [point.accuracy for point in joined],
    where='post',
    color=style.COLOURS[0],
    linewidth=1,
    alpha=0.5,
  )
  own, others = style.COLOURS[:2]
  _draw(axes, points, f'faceqat, {precision}', 'o', own, above=True)
  _draw(axes, published, 'published', 's', others, above=False)
  axes.set_xscale('log')
  axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
  axes.xaxis.set_major_formatter(_size)
  axes.xaxis.set_minor_formatter(NullFormatter())
  axes.margins(x=0.15, y=0.08)
  axes.set_ylim(top=min(axes.get_ylim()[1], 1))
  style.percent_ticks(axes.yaxis)
  axes.set_xlabel('size of the file')
  axes.set_ylabel(f'accuracy on {pairs}')
  axes.legend(loc='lower right')
  figures.save(figure, path)


def _draw(
  axes: Axes,
  points: Sequence[Point],
  label: str,
  marker: str,
  colour: str,
  *,
  above: bool,
):
  """Marks with bars for their intervals; names above these, or below right."""
  for index, point in enumerate(points):
    axes.errorbar(
      point.size,
      point.accuracy,
      yerr=_lengths(point),
      fmt=marker,
      color=colour,
      capsize=3,
      label='' if index else label,
    )
    axes.annotate(
      style.text(point.name),
      (
        point.size,
        point.limits[1] if above and point.limits else point.accuracy,
      ),
      xytext=(0, 5) if above else (6, -11),
      textcoords='offset points',
      horizontalalignment='center' if above else 'left',
      fontsize='small',
      color=colour,
    )


def best(points: Sequence[Point]) -> list[Point]:
  """Those more accurate than all of at most their size, by rising size."""
  found = []
  for point in sorted(points, key=lambda point: (point.size, -point.accuracy)):
    if not found or point.accuracy > found[-1].accuracy:
      found.append(point)
  return found


def _lengths(point: Point) -> list[list[float]] | None:
  """Of the bar below and above the accuracy."""
  if point.limits is None:
    return None
  low, high = point.limits
  return [[point.accuracy - low], [high - point.accuracy]]


def _size(size: float, _) -> str:
  return f'{size / 1000:,.0f} KB' if size < 1e6 else f'{size / 1e6:.3g} MB'
