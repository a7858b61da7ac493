"""The false-match rates of an evaluation: measured, compared, and by group."""

import pathlib
from collections.abc import Mapping

import numpy as np

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import group_rates, match_rates, rate_table
from faceqat.evaluators.rate_table import MatchTable
from faceqat.evaluators.verification import PairEmbeddings
from faceqat.report.results_tables import (
  groups_table,
  rates_table,
  short_percent,
  transfer_table,
)


def measure(
  pair_set: PairSet,
  embedded: Mapping[str, PairEmbeddings],
  digests: Mapping[str, Mapping[str, str]],
  folder: pathlib.Path,
  full: bool = False,
) -> dict[str, MatchTable]:
  """Writes the tables from score to false-match rate.

  Args:
    pair_set: the pairs.
    embedded: their images, by precision.
    digests: of the networks to measure, by precision the `network` and
      `program` of a `MatchTable`.
    folder: of the results.
    full: print all rows of the last table, in place of the default one.

  Returns:
    By precision; {} where the pairs are too few for any rate.
  """
  tables = {}
  for precision, digest in digests.items():
    if precision not in embedded:
      continue
    try:
      table = rate_table.measure(
        pair_set,
        embedded[precision],
        faces=pair_set.name,
        provenance='the pairs of an evaluation',
        default_rate=rate_table.MEASURED_RATE,
        **digest,
      )
      tables[precision] = rate_table.with_norm(
        rate_table.known(table), pair_set, embedded[precision]
      )
    except ValueError as error:
      print(f'without false-match rates: {error}')
      break
  rate_table.save_measured(tables, folder)
  if tables:
    precision, table = list(tables.items())[-1]
    path = folder / rate_table.FILE_NAME
    if full:
      print(f'false-match rates of {precision}, {path}:')
      print(rates_table(table))
    else:
      row = rate_table.default_row(table)
      share = short_percent(row.false_matches.value)
      print(
        f'{precision}: {share} % of the pairs of different people reach '
        f'{row.threshold:.4f}, the default threshold; other rates: {path}'
      )
  return tables


def compare(
  stated: Mapping[str, MatchTable],
  pair_set: PairSet,
  embedded: Mapping[str, PairEmbeddings],
):
  """Prints what the rates that one set states are on another one.

  Args:
    stated: by precision, of the first set; the last one is compared.
    pair_set: other pairs, which say who they show.
    embedded: their images, by precision.
  """
  precision, table = list(stated.items())[-1]
  images, rows = embedded[precision].images, embedded[precision].rows
  people = np.zeros(len(images), np.int64)
  people[rows] = pair_set.people.T
  genuine = rows[:, pair_set.same]
  thresholds = [row.threshold for row in table.rows]
  try:
    found = match_rates.at_thresholds(images, people, genuine, thresholds)
  except ValueError as error:
    print(f'the rates of {table.faces} are not compared: {error}')
    return
  pairs = list(zip(table.rows, found))
  print(f'false-match rates of {table.faces} on {pair_set.name}, {precision}:')
  print(transfer_table(pairs))
  broken = [
    one
    for one, other in pairs
    if other.false_matches.low > one.false_matches.high
  ]
  if broken:
    print(
      f'WARNING: {len(broken)} of {len(pairs)} thresholds let more through on '
      f'{pair_set.name} than {table.faces} states: choose thresholds on faces '
      'of the camera that will be used'
    )


def measure_groups(
  pair_set: PairSet,
  embedded: Mapping[str, PairEmbeddings],
  tables: Mapping[str, MatchTable],
  groups: Mapping[str, str] | None,
  folder: pathlib.Path,
):
  """Writes and prints the errors by group, where there are groups.

  Args:
    pair_set: the pairs.
    embedded: their images, by precision.
    tables: what `measure` gave for them.
    groups: of each person; None or {} where nobody asks.
    folder: of the results.

  Raises:
    ValueError: the pairs do not say who they show, or are too few.
  """
  found = []
  if groups:
    if not tables:
      raise ValueError(
        f'--groups: {pair_set.name} is too small for a threshold, and so for '
        'errors by group; give a larger set'
      )
    found = group_rates.measure(pair_set, embedded, tables, groups)
    print('errors by group:')
    print(groups_table(found))
  group_rates.save(found, folder)
