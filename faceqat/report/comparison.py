"""Compares evaluated runs on the same pairs, with confidence intervals.

Nothing is run again: the scores are read. The intervals say how far a figure
would move with other people (evaluators/intervals.py).
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from faceqat.evaluators import influence, intervals, verification
from faceqat.evaluators import scores as scores_file
from faceqat.evaluators.influence import Share
from faceqat.evaluators.scores import Scores
from faceqat.files import json_fields
from faceqat.report.results_tables import write_cell
from faceqat.report.table import Table

_FARS = (1e-2, 1e-3)


class Evaluation(NamedTuple):
  """One precision of one run.

  Attributes:
    run: its folder.
    precision: of `evaluators.PRECISIONS`.
    scores: of all precisions, and their pairs.
    results: of this precision, as in results.json; empty without that file.
  """

  run: pathlib.Path
  precision: str
  scores: Scores
  results: Mapping[str, float]

  @property
  def cosines(self) -> np.ndarray:
    """float64 [P]."""
    return self.scores.cosines[self.precision]


def read_evaluation(run: str, precision: str) -> Evaluation:
  """Reads the scores and results of a run.

  Raises:
    ValueError: the folder has no scores, none of this precision, or a file is
      damaged.
  """
  scores = scores_file.load(run)
  if precision not in scores.cosines:
    raise ValueError(
      f'{run} has no scores of the precision {precision!r}; there are '
      f'{", ".join(sorted(scores.cosines))}'
    )
  path = pathlib.Path(run) / 'results.json'
  results = scores_file.read_json(path, json_fields.results) or {}
  return Evaluation(
    pathlib.Path(run), precision, scores, results.get(precision, {})
  )


def compare_evaluations(
  reference: Evaluation, others: Sequence[Evaluation]
) -> Table:
  """Compares each with the reference, in points; notes say how to read it.

  Raises:
    ValueError: a run was evaluated on other pairs.
  """
  for other in others:
    _check_same_pairs(reference, other)
  figures = _figures(reference.scores)
  titles = ['run', 'precision']
  for title in figures:
    titles += [title, 'difference']
  titles += ['rank-1 %', 'cosine', '1st pct', 'bytes']
  evaluations = [reference, *others]
  columns = [
    _figure_cells([measure(e.cosines) for e in evaluations])
    for measure in figures.values()
  ]
  lines = [
    [
      str(evaluation.run),
      evaluation.precision,
      *(cell for column in columns for cell in column[index]),
      write_cell(evaluation.results, 'rank1', '{:.2f}', 100),
      write_cell(evaluation.results, 'cosine_mean', '{:.4f}'),
      write_cell(evaluation.results, 'cosine_p1', '{:.4f}'),
      write_cell(evaluation.results, 'bytes', '{:,.0f}'),
    ]
    for index, evaluation in enumerate(evaluations)
  ]
  return Table(titles, lines, _legend(reference.scores))


def _figures(scores: Scores) -> dict[str, Callable[[np.ndarray], Share]]:
  """By title, the measures of cosines [P]."""
  same, people = scores.same, scores.people
  figures = {}
  if verification.has_folds(scores.fold):
    figures['accuracy %'] = lambda cosines: influence.accuracy(
      cosines, same, scores.fold, people
    )
  for far in _FARS:
    mark = _mark(scores, far)
    figures[f'TAR % @ FAR {far:g}{mark}'] = (
      lambda cosines, far=far, known=None if mark else people: (
        influence.true_accept_rate(cosines, same, far, known)
      )
    )
  return figures


def _figure_cells(figures: Sequence[Share]) -> list[tuple[str, str]]:
  """Of every run: the figure, and its difference to the first run's."""
  first = figures[0]
  cells = []
  for figure in figures:
    known = figure.people is not None
    limits = intervals.of_share(figure) if known else ()
    share = _percent(figure.value, limits)
    limits = intervals.of_difference(first, figure) if known else ()
    cells.append((share, _percent(figure.value - first.value, limits, '+.2f')))
  return [(cells[0][0], '-'), *cells[1:]]


def _percent(
  value: float, limits: Sequence[float] = (), pattern: str = '.2f'
) -> str:
  """A fraction in per cent, and its interval where it has one."""
  # Zero is added for its sign: -0.00 would look like a loss.
  value, *limits = (
    format(round(100 * x, 2) + 0.0, pattern) for x in (value, *limits)
  )
  return f'{value} [{", ".join(limits)}]' if limits else value


def _mark(scores: Scores, far: float) -> str:
  few = not verification.is_supported(far, np.sum(~scores.same))
  return '*' if few else ''


def _legend(scores: Scores) -> list[str]:
  allowed = ', '.join(
    f'{verification.allowed_accepts(far, np.sum(~scores.same)):,} at {far:g}'
    f'{_mark(scores, far)}'
    for far in _FARS
  )
  lines = [
    f'{len(scores.same):,} pairs ({scores.pairs}); of the '
    f'{np.sum(~scores.same):,} different ones a FAR allows so many false '
    f'accepts: {allowed}.'
  ]
  if '*' in allowed:
    lines.append(
      f'* below {verification.MIN_FALSE_ACCEPTS}: mostly noise, and too few '
      'for an interval.'
    )
  if scores.people is None:
    lines.append(
      'No intervals: these pairs do not say who is shown, as in a .bin file; '
      'a pairs.txt does.'
    )
  else:
    lines.append(
      f'{intervals.MEANING} Where that of a difference holds 0, it may be '
      'chance.'
    )
  return lines


def _check_same_pairs(reference: Evaluation, other: Evaluation):
  one, two = reference.scores, other.scores
  for name in ('pairs', 'same', 'fold', 'images', 'people'):
    if not np.array_equal(getattr(one, name), getattr(two, name)):
      raise ValueError(
        f'{other.run} was evaluated on other pairs than {reference.run} '
        f'({two.pairs}, {len(two.same)} pairs, and {one.pairs}, '
        f'{len(one.same)} pairs; {name} differs): evaluate both with one '
        'config, --config=CONFIG'
      )
