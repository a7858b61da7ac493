"""Does a stated false-match rate hold on faces it was not measured on?

  python -m benchmarks.transfer --model=sface_int8 --cache=CACHE \
    --sets=LFW=LFW/images,faces_train=FACES --grey=FACES

Each set is a folder person/image.jpg of aligned faces, of which --images of
each of --people are drawn; --grey makes another set of a folder, in the form of
the ORL (AT&T) faces: the middle 92 columns, grey, found and aligned anew.
Embeddings are kept in --cache.

One set at a time is left out. Of the others the highest threshold is taken that
any of them states for a rate, and the rate that it has on the set left out is
measured, with a 95 % interval over people. The modes:

  stated    the threshold as it is
  moved     moved and scaled as the scores of --strangers drawn people of the
            set are, who are left out then (mean over --draws)
  own       the threshold of those strangers alone, where their pairs support
            the rate

--answers=NAME=answers/predictions.csv takes in place of sets what `identify`
answered to probes in folders of people: how often the thresholds of the model's
own table are reached by other people of the gallery (mode `answers`). Rates at
which the --k of `identify` was too small are left out.

`holds` counts the cells whose interval is not above the stated rate: nobody is
harmed by fewer false matches than promised. `exact` counts those whose interval
holds it.
"""

import csv
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks import face_folders, page_tables
from benchmarks.face_folders import Faces
from faceqat import command
from faceqat.evaluators import intervals, verification
from faceqat.evaluators.match_rates import Rate
from faceqat.evaluators.rate_table import MatchTable
from faceqat.identification import embedders
from faceqat.report.results_tables import short_percent


class Cell(NamedTuple):
  """A rate that was stated and what was measured of it."""

  mode: str
  left_out: str
  stated: float
  threshold: float
  measured: Rate


def define_flags():
  flags.DEFINE_string('model', None, 'Run, program, exported file or name.')
  flags.DEFINE_list('sets', [], 'NAME=FOLDER of people, aligned.')
  flags.DEFINE_list('answers', [], 'NAME=FILE that identify wrote.')
  flags.DEFINE_string('grey', None, 'Folder to make grey faces of.')
  flags.DEFINE_string('cache', 'cache', 'Folder for embeddings.')
  flags.DEFINE_integer('people', 1500, 'Of each set, at most.')
  flags.DEFINE_integer('images', 2, 'Of each person, at most.')
  flags.DEFINE_integer('strangers', 40, 'People to recalibrate on.')
  flags.DEFINE_integer('draws', 10, 'How often they are drawn.')
  flags.DEFINE_list(
    'rates',
    ['0.1', '0.05', '0.02', '0.01', '0.005', '0.002', '0.001'],
    'That are stated.',
  )
  flags.mark_flags_as_required(['model'])


def unit(templates: np.ndarray) -> np.ndarray:
  """Templates [N, D] as unit vectors."""
  templates = np.asarray(templates, np.float64)
  return templates / np.linalg.norm(templates, axis=1, keepdims=True)


def impostors(scores: np.ndarray, people: np.ndarray) -> np.ndarray:
  """Of scores [N, N], those of different people, each once."""
  return scores[np.triu(people[:, np.newaxis] != people)]


def threshold_for(scores: np.ndarray, rate: float) -> float | None:
  """The least score that no more than a share of impostors reaches.

  None where that is fewer than `verification.MIN_FALSE_ACCEPTS` of them.
  """
  allowed = verification.allowed_accepts(rate, len(scores))
  if allowed < verification.MIN_FALSE_ACCEPTS:
    return None
  ordered = np.sort(scores)
  return float(np.nextafter(ordered[-1 - allowed], np.inf))


def measured(scores: np.ndarray, people: np.ndarray, threshold: float) -> Rate:
  """The share of pairs of two people that reach a threshold.

  Args:
    scores: [N, N].
    people: int [N].
    threshold: of the scores.
  """
  order = np.argsort(people, kind='stable')
  first = np.flatnonzero(np.diff(people[order], prepend=-1))
  hits = np.int32(scores[np.ix_(order, order)] >= threshold)
  for axis in (0, 1):
    hits = np.add.reduceat(hits, first, axis=axis)
  # Scores of a normalised side may differ by the order of a pair.
  hits = (hits + hits.T) / 2
  sizes = np.diff(first, append=len(order))
  pairs = np.outer(sizes, sizes)
  for each in (hits, pairs):
    np.fill_diagonal(each, 0)
  return rate_of(hits, pairs)


def rate_of(hits: np.ndarray, pairs: np.ndarray) -> Rate:
  """A share of pairs, with its interval over people.

  Args:
    hits: [K, K], symmetric, how many pairs of each two people match.
    pairs: [K, K], of how many.
  """
  total = pairs.sum() / 2
  value = hits.sum() / 2 / total
  influence = (hits - value * pairs) / total
  spread = intervals.variance_of_people(
    influence.sum(axis=1), np.sum(influence**2) / 2
  )
  limits = intervals.of_rate(value, total, *spread)
  return Rate(value, *limits, int(hits.sum() / 2), int(total))


def run_cells(
  sets: Sequence[Faces],
  rates: Sequence[float],
  strangers: int,
  draws: int,
) -> list[Cell]:
  """Every mode for each rate and each set that is left out."""
  cells = []
  rng = np.random.default_rng(0)
  for left_out in sets:
    others = [each for each in sets if each is not left_out]
    own = unit(left_out.templates)
    scores = own @ own.T
    known = [
      impostors(unit(x.templates) @ unit(x.templates).T, x.people)
      for x in others
    ]
    for rate in rates:
      thresholds = [threshold_for(x, rate) for x in known]
      thresholds = [x for x in thresholds if x is not None]
      if thresholds:
        threshold = max(thresholds)
        there = measured(scores, left_out.people, threshold)
        cells.append(Cell('stated', left_out.name, rate, threshold, there))
      cells += _recalibrated(
        left_out, scores, known, rate, strangers, draws, rng
      )
  return cells


def _recalibrated(left_out, scores, known, rate, strangers, draws, rng):
  """The modes that look at some people of the set that is left out."""
  found = {'moved': [], 'own': []}
  for _ in range(draws):
    chosen = rng.permutation(np.unique(left_out.people))[:strangers]
    inside = np.isin(left_out.people, chosen)
    # One image of each, as a user would gather them.
    rows = np.flatnonzero(inside)
    _, first = np.unique(left_out.people[rows], return_index=True)
    rows = rows[first]
    sample = impostors(scores[np.ix_(rows, rows)], left_out.people[rows])
    thresholds = [
      sample.mean()
      + (threshold_for(x, rate) - x.mean()) * sample.std() / x.std()
      for x in known
      if threshold_for(x, rate) is not None
    ]
    rest = np.flatnonzero(~inside)
    for mode, threshold in (
      ('moved', max(thresholds, default=None)),
      ('own', threshold_for(sample, rate)),
    ):
      if threshold is not None:
        there = measured(
          scores[np.ix_(rest, rest)], left_out.people[rest], threshold
        )
        found[mode].append((threshold, there))
  for mode, cells in found.items():
    if cells:
      thresholds, rates = zip(*cells)
      means = np.mean(np.array(rates), axis=0)
      there = Rate(*means[:3].tolist(), int(means[3]), int(means[4]))
      yield Cell(mode, left_out.name, rate, float(np.mean(thresholds)), there)


def answered(name: str, path: str, table: MatchTable) -> Iterator[Cell]:
  """The rates of a table among the answers of an identification."""
  with open(path, newline='') as file:
    rows = list(csv.DictReader(file))
  probes = [row['probe'].split('/')[0] for row in rows]
  people = [row['person'] for row in rows]
  scores = np.array([float(row['score']) for row in rows])
  ranks = np.array([int(row['rank']) for row in rows])
  names, numbers = np.unique(probes + people, return_inverse=True)
  probe, person = np.split(numbers, 2)
  wrong = probe != person
  pairs = np.zeros([len(names), len(names)])
  gallery = np.unique(person)
  for one in probe[ranks == 1]:
    pairs[one, gallery[gallery != one]] += 1
  # Whoever is behind the last answer may reach what that one reaches.
  cut = scores[ranks == ranks.max()].max()
  for row in table.rows:
    if row.threshold <= cut and ranks.max() < len(gallery):
      continue
    hits = np.zeros_like(pairs)
    chosen = wrong & (scores >= row.threshold)
    np.add.at(hits, (probe[chosen], person[chosen]), 1)
    yield Cell(
      'answers',
      name,
      row.false_matches.value,
      row.threshold,
      rate_of(hits + hits.T, pairs + pairs.T),
    )


def show(cells: Sequence[Cell]):
  """Prints a Markdown table of the cells, and one of how many hold."""
  page_tables.print_titles(
    ('mode', 'left out', 'stated %', 'threshold', 'measured %')
  )
  for cell in cells:
    value, low, high = map(short_percent, cell.measured[:3])
    page_tables.print_row(
      (
        cell.mode,
        cell.left_out,
        short_percent(cell.stated),
        f'{cell.threshold:.4f}',
        f'{value} [{low}, {high}]',
      )
    )
  print()
  page_tables.print_titles(('mode', 'stated %', 'cells', 'holds', 'exact'))
  for mode in dict.fromkeys(cell.mode for cell in cells):
    for rate in dict.fromkeys(cell.stated for cell in cells):
      some = [c for c in cells if (c.mode, c.stated) == (mode, rate)]
      if some:
        holds = sum(c.measured.low <= rate for c in some)
        exact = sum(c.measured.low <= rate <= c.measured.high for c in some)
        page_tables.print_row(
          (mode, short_percent(rate), len(some), holds, exact)
        )


def main():
  args = flags.FLAGS
  embedder = embedders.load(args.model)
  sets = []
  digest = (
    embedder.digest(face_folders.BATCH_SIZE) if args.sets or args.grey else ''
  )
  for each in args.sets:
    name, folder = each.split('=', 1)
    chosen = face_folders.choose_files(folder, args.people, args.images)
    sets.append(
      face_folders.read_faces(name, chosen, embedder, digest, args.cache)
    )
  if args.grey:
    chosen = face_folders.choose_files(
      args.grey, args.people, args.images, args.images + 1
    )
    change = face_folders.make_grey()
    sets.append(
      face_folders.read_faces(
        'grey', chosen, embedder, digest, args.cache, change
      )
    )
  cells = []
  for each in args.answers:
    if embedder.table is None:
      raise ValueError(
        f'--answers: {args.model} has no false-match rates to compare with; '
        'evaluate it first'
      )
    cells += answered(*each.split('=', 1), embedder.table)
  cells += run_cells(
    sets, list(map(float, args.rates)), args.strangers, args.draws
  )
  show(cells)


if __name__ == '__main__':
  define_flags()
  command.run(main)
