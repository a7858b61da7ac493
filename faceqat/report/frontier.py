"""The picture of accuracy over bytes: runs, and what others publish."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from faceqat.files import strict_json
from faceqat.report import figures, style
from faceqat.report.comparison import Evaluation


class Point(NamedTuple):
  """A network.

  Attributes:
    name: at its mark.
    size: bytes of its file.
    accuracy: in [0, 1], of pairs.
    limits: of the accuracy's 95 % interval over people, where it is known.
  """

  name: str
  size: int
  accuracy: float
  limits: tuple[float, float] | None = None


def point_of(evaluation: Evaluation) -> Point:
  """The point of an evaluated run, named after its folder.

  Raises:
    ValueError: its results have no accuracy or no bytes.
  """
  results = evaluation.results
  missing = [name for name in ('accuracy', 'bytes') if name not in results]
  if missing:
    raise ValueError(
      f'{evaluation.run}/results.json has no {" and no ".join(missing)} of the '
      f'precision {evaluation.precision!r}; evaluate the run anew, on pairs in '
      'folds'
    )
  ends = 'low/accuracy', 'high/accuracy'
  known = all(end in results for end in ends)
  return Point(
    evaluation.run.name,
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
      f'{path}: {error}; give a list of objects with name, bytes (over 0) and '
      'accuracy (0 to 100)'
    ) from error


def _published(row: Any, number: int) -> Point:
  fields = row if isinstance(row, dict) else {}
  name, size = fields.get('name'), fields.get('bytes')
  accuracy = fields.get('accuracy')
  if not (
    isinstance(name, str)
    and type(size) is int
    and size > 0
    and type(accuracy) in (int, float)
    and 0 <= accuracy <= 100
  ):
    raise ValueError(f'its entry {number} is {row!r}')
  return Point(name, size, accuracy / 100)


def frontier_figure(
  points: Sequence[Point],
  published: Sequence[Point],
  path: str | os.PathLike,
) -> None:
  """Draws accuracy over bytes; a step joins the best of each size.

  Args:
    points: of own runs, at least one.
    published: of others.
    path: file to write; its suffix is the format.
  """
  figure = Figure(figsize=(9, 5), layout='constrained')
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
  groups = (
    ('faceqat, in integers', 'o', points),
    ('published', 's', published),
  )
  for (label, marker, group), colour in zip(groups, style.COLOURS):
    for index, point in enumerate(group):
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
        (point.size, point.accuracy),
        xytext=(6, -11),
        textcoords='offset points',
        fontsize='small',
        color=colour,
      )
  axes.set_xscale('log')
  axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
  axes.xaxis.set_major_formatter(_kilobytes)
  axes.xaxis.set_minor_formatter(NullFormatter())
  style.percent_ticks(axes.yaxis)
  axes.set_xlabel('bytes of the file')
  axes.set_ylabel('accuracy of pairs')
  axes.margins(x=0.12, y=0.08)
  axes.legend(loc='lower right')
  figures.save(figure, path)


def best(points: Sequence[Point]) -> list[Point]:
  """Those that no smaller one reaches, by rising size."""
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


def _kilobytes(size: float, _) -> str:
  return f'{size / 1000:,.0f} KB' if size < 1e6 else f'{size / 1e6:.3g} MB'
