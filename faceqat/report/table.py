"""The one table at the end of a run: float, fake-quantized, integer."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faceqat.evaluators import intervals

Results = Mapping[str, Mapping[str, float]]

_MISSING = '-'


def _format(metrics: Mapping[str, float], name: str, pattern: str) -> str:
  value = metrics.get(name)
  if value is None or not math.isfinite(value):
    return _MISSING
  return pattern.format(value)


def _percent(metrics: Mapping[str, float], name: str) -> str:
  return _format({name: 100 * metrics.get(name, math.nan)}, name, '{:.2f}')


def _interval(metrics: Mapping[str, float], name: str) -> str:
  """What stands behind a value in per cent that has an interval."""
  limits = [_percent(metrics, f'{end}/{name}') for end in ('low', 'high')]
  return '' if _MISSING in limits else f' [{limits[0]}, {limits[1]}]'


def _percent_in(metrics: Mapping[str, float], name: str) -> str:
  """A value in per cent, with its interval where it has one."""
  return _percent(metrics, name) + _interval(metrics, name)


def _accuracy(metrics: Mapping[str, float]) -> str:
  accuracy = _percent(metrics, 'accuracy')
  error = _percent(metrics, 'accuracy_se')
  if error != _MISSING:
    accuracy = f'{accuracy} ± {error}'
  return accuracy + _interval(metrics, 'accuracy')


def _points(metrics: Mapping[str, float], name: str) -> str:
  """A difference of fractions, in points."""
  points = 100 * metrics.get(name, math.nan)
  return _format({name: points}, name, '{:+.2f}')


def _difference(metrics: Mapping[str, float], base: Mapping, name: str) -> str:
  """Of the accuracy to the row of a name: what quantization costs."""
  if 'accuracy' not in metrics or 'accuracy' not in base:
    return _MISSING
  cost = _points({'x': metrics['accuracy'] - base['accuracy']}, 'x')
  limits = [_points(metrics, f'{end}/difference') for end in ('low', 'high')]
  # The interval is of the difference to float, whatever stands first.
  if name != 'float' or _MISSING in limits:
    return cost
  return f'{cost} [{", ".join(limits)}]'


def _columns(rows: Results) -> dict[str, Callable[[Mapping], str]]:
  """Each column's title, and how to write a row's cell."""
  names = list(dict.fromkeys(name for row in rows.values() for name in row))
  first, base = next(iter(rows.items()))
  columns: dict[str, Callable[[Mapping], str]] = {}
  if 'accuracy' in names:
    columns['accuracy %'] = _accuracy
    if len(rows) > 1:
      columns[f'vs {first}'] = lambda row: _difference(row, base, first)
  if 'auc' in names:
    columns['AUC'] = lambda row: _format(row, 'auc', '{:.5f}')
  if 'eer' in names:
    columns['EER %'] = lambda row: _percent_in(row, 'eer')
  for name in names:
    if name.startswith('tar@far='):
      far = name.removeprefix('tar@far=')
      columns[f'TAR % @ FAR {far}'] = lambda row, name=name: _percent_in(
        row, name
      )
  if 'rank1' in names:
    columns['rank-1 %'] = lambda row: _percent_in(row, 'rank1')
  for name in names:
    if name.startswith('tpir@fpir='):
      fpir = name.removeprefix('tpir@fpir=')
      columns[f'TPIR % @ FPIR {fpir}'] = lambda row, name=name: _percent_in(
        row, name
      )
  if 'cosine_mean' in names:
    columns['cosine'] = lambda row: _format(row, 'cosine_mean', '{:.4f}')
  if 'cosine_p1' in names:
    columns['1st pct'] = lambda row: _format(row, 'cosine_p1', '{:.4f}')
  if 'threshold' in names:
    columns['threshold'] = lambda row: _format(row, 'threshold', '{:.4f}')
  if 'bytes' in names:
    columns['bytes'] = lambda row: _format(row, 'bytes', '{:,.0f}')
  return columns


def results_table(rows: Results) -> str:
  """Writes the results as plain text, one reading a row.

  Args:
    rows: By reading (`float`, `fake_quant`, `integer`, and `integer_match`,
      where the pairs are compared in integers too), in the order of the
      table: the values that the verification evaluator yields, fractions;
      `rank1` and `tpir@fpir=X`, of identification, fractions; `low/NAME` and
      `high/NAME`, the interval of NAME, and `low/difference` and
      `high/difference` that of the accuracy's difference to the `float` row;
      `cosine_mean` and `cosine_p1`, mean and first percentile of the cosines
      between this reading's embeddings and the first one's of the same images;
      and `bytes`, the size of the reading's file. What a reading lacks, or
      what is not a finite number, is shown as a dash. The second column of
      accuracies is the difference from the first row, in points.

  Returns:
    Lines of equal length, joined by line breaks.

  Raises:
    ValueError: There is no row.
  """
  if not rows:
    raise ValueError('A table of results needs at least one reading, got none.')
  columns = _columns(rows)
  lines = [['reading', *columns]]
  for reading, metrics in rows.items():
    lines.append([reading, *(write(metrics) for write in columns.values())])
  return align(lines)


def benchmarks_table(results: Mapping[str, Results]) -> str:
  """Writes the accuracies on several benchmarks as one table, with their mean.

  Args:
    results: by benchmark, as in `results_table`. One without an accuracy has a
      dash, and no part in the mean.

  Returns:
    Lines of equal length, joined by line breaks: one reading a row.
  """
  lines = [['accuracy %', *results, 'mean']]
  for reading in next(iter(results.values())):
    cells = [_percent(rows[reading], 'accuracy') for rows in results.values()]
    known = [
      rows[reading]['accuracy']
      for rows in results.values()
      if 'accuracy' in rows[reading]
    ]
    mean = {'mean': sum(known) / len(known)} if known else {}
    lines.append([reading, *cells, _percent(mean, 'mean')])
  return align(lines)


def notes(rows: Results) -> list[str]:
  """How to read the intervals of a table, in sentences.

  Args:
    rows: as in `results_table`.
  """
  names = {name for row in rows.values() for name in row}
  found = []
  if any(name.startswith('low/') for name in names):
    found.append(intervals.MEANING)
  if 'accuracy' in names and 'low/accuracy' not in names:
    found.append(
      'No intervals of accuracy, EER and TAR: these pairs do not say who is '
      'shown.'
    )
  return found


def align(lines: Sequence[Sequence[str]]) -> str:
  """Writes cells as columns: names to the left, numbers to the right.

  Args:
    lines: of equally many cells, the titles first.

  Returns:
    Lines of equal length, joined by line breaks.
  """
  widths = [max(map(len, column)) for column in zip(*lines)]
  titles, *rows = lines
  return '\n'.join(
    '  '.join(
      cell.rjust(width) if i else cell.ljust(width)
      for i, (cell, width) in enumerate(zip(line, widths))
    )
    for line in (titles, ['-' * width for width in widths], *rows)
  )


def cells(text: str) -> list[list[str]]:
  """Reads back what `align` wrote: lines of cells, the titles first."""
  titles, rule, *rows = text.split('\n')
  spans = [found.span() for found in re.finditer('-+', rule)]
  return [
    [line[start:end].strip() for start, end in spans]
    for line in (titles, *rows)
  ]


def results_json(rows: Results) -> dict[str, dict[str, Any]]:
  """The same results as plain numbers, for `json.dump`.

  Args:
    rows: As in `results_table`; values may be NumPy or JAX scalars.

  Returns:
    By reading and name: int, float, or None in place of NaN and infinity,
    which JSON does not have.
  """

  def plain(value):
    value = value.item() if hasattr(value, 'item') else value
    return value if math.isfinite(value) else None

  return {
    reading: {name: plain(value) for name, value in metrics.items()}
    for reading, metrics in rows.items()
  }
