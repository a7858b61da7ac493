"""The tables of what was measured: accuracies, and exported files."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faceqat.evaluators import intervals
from faceqat.report.table import Table

Results = Mapping[str, Mapping[str, float]]

_MISSING = '-'


def write_cell(
  metrics: Mapping[str, float], name: str, pattern: str, factor: float = 1
) -> str:
  """A number times a factor; a dash where it is missing or not finite."""
  value = metrics.get(name)
  if value is None or not math.isfinite(value):
    return _MISSING
  return pattern.format(factor * value)


def _percent(metrics: Mapping[str, float], name: str) -> str:
  return write_cell(metrics, name, '{:.2f}', 100)


def _points(metrics: Mapping[str, float], name: str) -> str:
  """A difference of fractions, in points."""
  return write_cell(metrics, name, '{:+.2f}', 100)


def _interval(metrics: Mapping[str, float], name: str, write=_percent) -> str:
  """The interval in brackets that stands behind a value, if it has one."""
  limits = [write(metrics, f'{end}/{name}') for end in ('low', 'high')]
  return '' if _MISSING in limits else f' [{", ".join(limits)}]'


def _percent_in(metrics: Mapping[str, float], name: str) -> str:
  return _percent(metrics, name) + _interval(metrics, name)


def _accuracy(metrics: Mapping[str, float]) -> str:
  accuracy = _percent(metrics, 'accuracy')
  error = _percent(metrics, 'accuracy_se')
  if error != _MISSING:
    accuracy = f'{accuracy} ± {error}'
  return accuracy + _interval(metrics, 'accuracy')


def _difference(metrics: Mapping[str, float], base: Mapping, name: str) -> str:
  """Of the accuracy to that of the row `name`: what quantization costs."""
  if 'accuracy' not in metrics or 'accuracy' not in base:
    return _MISSING
  cost = _points({'x': metrics['accuracy'] - base['accuracy']}, 'x')
  # The interval is of the difference to float, whatever stands first.
  if name != 'float':
    return cost
  return cost + _interval(metrics, 'difference', _points)


def _columns(
  rows: Results, differences: bool
) -> dict[str, Callable[[Mapping], str]]:
  """Each column's title, and how to write a row's cell."""
  names = list(dict.fromkeys(name for row in rows.values() for name in row))
  first, base = next(iter(rows.items()))
  columns: dict[str, Callable[[Mapping], str]] = {}
  if 'accuracy' in names:
    columns['accuracy %'] = _accuracy
    if differences and len(rows) > 1:
      columns[f'vs {first}'] = lambda row: _difference(row, base, first)
  if 'auc' in names:
    columns['AUC'] = lambda row: write_cell(row, 'auc', '{:.5f}')
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
    columns['cosine'] = lambda row: write_cell(row, 'cosine_mean', '{:.4f}')
  if 'cosine_p1' in names:
    columns['1st pct'] = lambda row: write_cell(row, 'cosine_p1', '{:.4f}')
  if 'threshold' in names:
    columns['threshold'] = lambda row: write_cell(row, 'threshold', '{:.4f}')
  if 'bytes' in names:
    columns['bytes'] = lambda row: write_cell(row, 'bytes', '{:,.0f}')
  return columns


def results_table(
  rows: Results, *, name: str = 'precision', differences: bool = True
) -> Table:
  """The results, one precision a row.

  Args:
    rows: By precision (`float`, `fake_quant`, `integer`, and `integer_match`,
      where the pairs are compared in integers too), in the order of the
      table: the values that the verification evaluator yields, fractions;
      `rank1` and `tpir@fpir=X`, of identification, fractions; `low/NAME` and
      `high/NAME`, the interval of NAME, and `low/difference` and
      `high/difference` that of the accuracy's difference to the `float` row;
      `cosine_mean` and `cosine_p1`, mean and first percentile of the cosines
      between its embeddings and the first one's of the same images; and
      `bytes`, the size of its file. What a precision lacks, or
      what is not a finite number, is shown as a dash.
    name: of what the rows are.
    differences: add a column with the accuracy's difference to the first row,
      in points.

  Returns:
    The table; its notes say how to read the intervals.

  Raises:
    ValueError: There is no row.
  """
  if not rows:
    raise ValueError(
      'A table of results needs at least one precision, got none.'
    )
  columns = _columns(rows, differences)
  lines = [
    [precision, *(write(metrics) for write in columns.values())]
    for precision, metrics in rows.items()
  ]
  return Table([name, *columns], lines, _notes(rows))


def benchmarks_table(results: Mapping[str, Results]) -> Table:
  """The accuracies on several benchmarks and their mean, one precision a row.

  Args:
    results: by benchmark, as in `results_table`. One without an accuracy has a
      dash, and no part in the mean.
  """
  lines = []
  for precision in next(iter(results.values())):
    cells = [_percent(rows[precision], 'accuracy') for rows in results.values()]
    known = [
      rows[precision]['accuracy']
      for rows in results.values()
      if 'accuracy' in rows[precision]
    ]
    mean = {'mean': sum(known) / len(known)} if known else {}
    lines.append([precision, *cells, _percent(mean, 'mean')])
  return Table(['accuracy %', *results, 'mean'], lines)


def formats_table(
  rows: Mapping[str, Mapping[str, Any]], notes: Sequence[str] = ()
) -> Table:
  """Exported files beside the evaluator, one format a row.

  Args:
    rows: by format, as in `exactness.json`: `contract` (None: held to none),
      `bytes`, `outputs`, in how many of them the file is `differing`, the
      `largest` difference in steps, and `milliseconds` an image.
    notes: of the table.
  """
  counts = ('bytes', 'outputs', 'differing', 'largest')
  return Table(
    ['format', 'contract', *counts, 'ms/image'],
    [
      [
        name,
        row['contract'] or 'none',
        *(f'{row[count]:,}' for count in counts),
        f'{row["milliseconds"]:.2f}',
      ]
      for name, row in rows.items()
    ],
    notes,
  )


def _notes(rows: Results) -> list[str]:
  """How to read the intervals of a table, in sentences."""
  names = {name for row in rows.values() for name in row}
  found = []
  if any(name.startswith('low/') for name in names):
    found.append(intervals.MEANING)
  if 'accuracy' in names and 'low/accuracy' not in names:
    found.append(
      'No intervals of accuracy, EER and TAR: they need pairs that say who is '
      'shown, and older runs a new evaluation.'
    )
  return found


def results_json(rows: Results) -> dict[str, dict[str, Any]]:
  """The same results as plain numbers, for `json.dump`.

  Args:
    rows: As in `results_table`; values may be NumPy or JAX scalars.

  Returns:
    By precision and name: int, float, or None in place of NaN and infinity,
    which JSON does not have.
  """

  def plain(value):
    value = value.item() if hasattr(value, 'item') else value
    return value if math.isfinite(value) else None

  return {
    precision: {name: plain(value) for name, value in metrics.items()}
    for precision, metrics in rows.items()
  }
