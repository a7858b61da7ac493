"""The tables of measurements: accuracies, and exported files."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from faceqat.evaluators import intervals, rate_table
from faceqat.evaluators.group_rates import Difference, GroupRates
from faceqat.evaluators.match_rates import Rate, Row
from faceqat.evaluators.rate_table import MatchTable, default_row
from faceqat.report.table import Table

Results = Mapping[str, Mapping[str, float]]

_MISSING = '-'
# By metric, in the order of a table: the title, before the rate if there is
# one, and the form of a number; None: per cent, with an interval.
_COLUMNS = {
  'auc': ('AUC', '{:.5f}'),
  'eer': ('EER %', None),
  'tar@far': ('TAR % @ FAR ', None),
  'rank1': ('rank-1 %', None),
  'tpir@fpir': ('TPIR % @ FPIR ', None),
  'cosine_mean': ('cosine', '{:.4f}'),
  'cosine_p1': ('1st pct', '{:.4f}'),
  'threshold': ('threshold', '{:.4f}'),
  'bytes': ('bytes', '{:,.0f}'),
}
# What a table begins with: a column's title without its rate, and its meaning.
_SUMMARY = {
  'accuracy %': 'of pairs, by a threshold that other pairs chose',
  'vs': 'the difference in points',
  'TAR %': 'pairs of one person that are accepted, where the given share of '
  'pairs of two people is',
  'rank-1 %': 'faces whose nearest in a gallery is of the same person',
  'bytes': 'of the file',
}


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
  for wanted, (title, pattern) in _COLUMNS.items():
    for name in names:
      kind, _, rate = name.partition('=')
      if kind == wanted:
        columns[title + rate] = lambda row, name=name, pattern=pattern: (
          write_cell(row, name, pattern)
          if pattern
          else _percent(row, name) + _interval(row, name)
        )
  return columns


def results_table(
  rows: Results, *, name: str = 'precision', differences: bool = True
) -> Table:
  """The results, one precision a row.

  Args:
    rows: by precision, in the order of the table: values of `results.json`,
      fractions; `low/NAME` and `high/NAME` are the interval of NAME, and
      `low/difference` and `high/difference` that of the accuracy's difference
      to the `float` row. What is missing or not finite is a dash.
    name: of what the rows are.
    differences: add a column with the accuracy's difference to the first row,
      in points.

  Raises:
    ValueError: there is no row.
  """
  if not rows:
    raise ValueError(
      'A table of results needs at least one precision, got none'
    )
  columns = _columns(rows, differences)
  lines = [
    [precision, *(write(metrics) for write in columns.values())]
    for precision, metrics in rows.items()
  ]
  return Table([name, *columns], lines, _notes(rows))


def summary_table(rows: Results) -> Table:
  """The columns of `results_table` to look at first, and what they mean.

  Intervals are of accuracies alone, and of several rates it has the last.
  """
  columns = _columns(rows, differences=True)
  chosen, meanings = {}, []
  for start, meaning in _SUMMARY.items():
    titles = [x for x in columns if x == start or x.startswith(f'{start} ')]
    for title in titles[-1:]:
      chosen[title] = columns[title]
      meanings.append(f'{title}: {meaning}')
  lines = []
  for precision, metrics in rows.items():
    shown = {
      name: value
      for name, value in metrics.items()
      if name != 'accuracy_se' and not name.startswith(('low/tar', 'low/rank'))
    }
    lines.append([precision, *(write(shown) for write in chosen.values())])
  return Table(['precision', *chosen], lines, [*meanings, *_notes(rows)])


def benchmarks_table(results: Mapping[str, Results]) -> Table:
  """The accuracies on several benchmarks and their mean, one precision a row.

  A benchmark without an accuracy has a dash, and no part in the mean.
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


def rates_table(table: MatchTable) -> Table:
  """False-match and false non-match rates by threshold; the default is marked.

  Rates are in per cent, with intervals.
  """
  default = default_row(table)
  people = 'over people' if table.people else 'as of independent pairs'
  notes = [
    f'In brackets: 95 % intervals {people}. Of {table.images:,} images of '
    f'{table.faces}; rates of {rate_table.RATES[-1]:g} and more that they '
    'support. Other faces may have others.'
  ]
  return Table(
    ['threshold', 'false matches %', 'pairs', 'false non-matches %', ''],
    [
      [
        f'{row.threshold:.4f}',
        _with_limits(row.false_matches),
        f'{row.false_matches.count:,}',
        _with_limits(row.misses),
        'default' if row == default else '',
      ]
      for row in table.rows
    ],
    notes,
  )


def _with_limits(rate: Rate) -> str:
  value, low, high = map(short_percent, rate[:3])
  return f'{value} [{low}, {high}]'


def transfer_table(pairs: Sequence[tuple[Row, Row]]) -> Table:
  """Rates that one set states beside those measured on another one."""
  return Table(
    ['threshold', 'stated %', 'false matches %', 'false non-matches %'],
    [
      [
        f'{stated.threshold:.4f}',
        _with_limits(stated.false_matches),
        _with_limits(found.false_matches),
        _with_limits(found.misses),
      ]
      for stated, found in pairs
    ],
    [intervals.MEANING],
  )


def groups_table(found: Sequence[GroupRates]) -> Table:
  """Both errors by group, a line for each precision and their difference."""
  lines = []
  for rates in found:
    name = f'{rates.group} ({rates.people:,})'
    for precision, row in rates.rows.items():
      misses = _with_limits(row.misses) if row.misses.pairs else _MISSING
      lines.append([name, precision, _with_limits(row.false_matches), misses])
    if rates.false_matches is not None:
      changes = map(_change, (rates.false_matches, rates.misses))
      lines.append([name, 'difference', *changes])
  return Table(
    ['group (people)', 'precision', 'false matches %', 'false non-matches %'],
    lines,
    [
      'At the default threshold of each precision, which is that of all images '
      'of the set. False matches are of all pairs of two people of a group. '
      f'{intervals.MEANING}'
    ],
  )


def _change(difference: Difference | None) -> str:
  """A difference of shares, in points."""
  if difference is None:
    return _MISSING
  value, low, high = (f'{100 * x:+.3g}' for x in difference)
  return f'{value} [{low}, {high}]'


def short_percent(share: float) -> str:
  """In per cent, with two digits and no power of ten."""
  return np.format_float_positional(
    100 * share, precision=2, fractional=False, trim='-'
  )


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
