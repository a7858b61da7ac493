"""The tables of what was measured: accuracies, exported files, layers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faceqat.evaluators import intervals
from faceqat.evaluators.agreement import Agreement
from faceqat.report.table import Table

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


def agreement_table(found: Agreement) -> Table:
  """One line a layer, the worst one marked, and the embedding's cosines."""
  titles = ['layer', 'float-fake dB', 'float-int dB', 'lost dB']
  titles += ['fake-int steps', 'differing', '']
  rows = [
    [
      layer.name,
      f'{layer.float_to_fake:.1f}',
      f'{layer.float_to_integer:.1f}',
      f'{layer.lost:.1f}',
      f'{layer.fake_to_integer_steps}',
      f'{layer.fake_to_integer_differing:.2%}',
      '<- worst' if layer is found.worst else '',
    ]
    for layer in found.layers
  ]
  return Table(titles, rows, [found.summary()])


def _notes(rows: Results) -> list[str]:
  """How to read the intervals of a table, in sentences."""
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
