"""Both errors by group of people, in float and in integers.

Every group is measured at one threshold for each precision, that of a stated
false-match rate of all people, so that what differs is the groups and not the
thresholds. False matches are between people of one group, who resemble each
other most. Quantization may raise differences between groups (Neto et al. 2023,
"Compressed models decompress race biases").
"""

import csv
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import influence, intervals, match_rates, rate_table
from faceqat.evaluators.match_rates import Row
from faceqat.evaluators.rate_table import MatchTable
from faceqat.evaluators.verification import PairEmbeddings, cosine
from faceqat.files import atomic, strict_json

# In the folder of an evaluation.
FILE_NAME = 'groups.json'
# Fewer people make no interval.
_LEAST_PEOPLE = 3
_ALL = 'all'

# A value and its interval.
Difference = tuple[float, float, float]


class GroupRates(NamedTuple):
  """The errors of one group.

  Attributes:
    group: its name.
    people: how many there are.
    images: how many they have.
    rows: by precision, at its threshold.
    false_matches: what the last precision adds to the first one's; None where
      there is one.
    misses: the same; None also where fewer than two people have pairs.
  """

  group: str
  people: int
  images: int
  rows: Mapping[str, Row]
  false_matches: Difference | None
  misses: Difference | None


def read_groups(path: str | os.PathLike) -> dict[str, str]:
  """Reads a CSV file with the columns `person,group`.

  Returns:
    The group of each person.

  Raises:
    ValueError: names the file and line; it is missing, has other columns, or
      puts a person into two groups.
  """
  name = f'--groups={os.fspath(path)}'
  try:
    with open(path, newline='', encoding='utf-8') as file:
      lines = list(csv.DictReader(file))
  except (OSError, UnicodeError, csv.Error) as error:
    raise ValueError(
      f'{name} cannot be read ({error}); give a CSV file of person,group'
    ) from error
  groups: dict[str, str] = {}
  for number, line in enumerate(lines, 2):
    person, group = line.get('person'), line.get('group')
    if not person or not group:
      raise ValueError(
        f'{name}, line {number}: wanted a person and a group, under a first '
        'line of person,group'
      )
    if groups.setdefault(person, group) != group:
      raise ValueError(
        f'{name}, line {number}: {person} is in {groups[person]!r} and in '
        f'{group!r}; leave one of them'
      )
  if not groups:
    raise ValueError(f'{name} names nobody; give lines of person,group')
  return groups


def measure(
  pair_set: PairSet,
  embedded: Mapping[str, PairEmbeddings],
  tables: Mapping[str, MatchTable],
  groups: Mapping[str, str],
) -> list[GroupRates]:
  """Measures all people who have a group, and each group.

  Args:
    pair_set: pairs that name their people.
    embedded: by precision.
    tables: by precision, whose default threshold is taken.
    groups: of each person.

  Raises:
    ValueError: the pairs name nobody, or no group has enough people.
  """
  if pair_set.people is None or pair_set.person_names is None:
    raise ValueError(
      f'--groups: {pair_set.name} does not say who is shown; give a list of '
      'pairs that does'
    )
  first = next(iter(embedded.values()))
  people = np.zeros(len(first.images), np.int64)
  people[first.rows] = pair_set.people.T
  own = [groups.get(name, '') for name in pair_set.person_names]
  own = np.array(own, object)[people]
  names = sorted(set(own) - {''})
  genuine = first.rows[:, pair_set.same]
  found = []
  for name in [_ALL, *names] if len(names) > 1 else names:
    chosen = own != '' if name == _ALL else own == name
    if len(np.unique(people[chosen])) >= _LEAST_PEOPLE:
      found.append(_measure(name, chosen, people, genuine, embedded, tables))
  if not found:
    raise ValueError(
      f'--groups: no group has {_LEAST_PEOPLE} people of {pair_set.name}; '
      f'people are called as there, such as {pair_set.person_names[0]!r}'
    )
  return found


def save(found: Sequence[GroupRates], folder: pathlib.Path):
  """Writes `groups.json`, or takes that of an earlier evaluation away."""
  path = folder / FILE_NAME
  if not found:
    path.unlink(missing_ok=True)
    return
  content = json.dumps(
    [
      {
        **rates._asdict(),
        'rows': {
          name: {
            'threshold': row.threshold,
            'false_matches': row.false_matches._asdict(),
            'misses': row.misses._asdict(),
          }
          for name, row in rates.rows.items()
        },
      }
      for rates in found
    ],
    indent=1,
  )
  atomic.write(path, f'{content}\n'.encode())


def load(folder: pathlib.Path) -> list[GroupRates]:
  """Reads what `save` wrote; [] where there is nothing.

  Raises:
    ValueError: the file is damaged.
  """
  path = folder / FILE_NAME
  if not path.is_file():
    return []
  try:
    return [
      GroupRates(
        **{
          **fields,
          'rows': {
            name: rate_table.row_of(row) for name, row in fields['rows'].items()
          },
        }
      )
      for fields in strict_json.parse(path.read_bytes(), list)
    ]
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise ValueError(
      f'{path} is damaged ({error}); take it away, or evaluate that run again'
    ) from error


def _measure(name, chosen, people, genuine, embedded, tables) -> GroupRates:
  """One group: `chosen` are its images, bool [N]."""
  place = np.cumsum(chosen) - 1
  genuine = place[genuine[:, chosen[genuine[0]]]]
  own = people[chosen]
  images = {key: value.images[chosen] for key, value in embedded.items()}
  thresholds = {
    key: rate_table.default_row(table).threshold
    for key, table in tables.items()
  }
  rows = {
    key: match_rates.at_thresholds(
      images[key], own, genuine, [thresholds[key]]
    )[0]
    for key in tables
  }
  false_matches = misses = None
  if len(tables) > 1:
    one, *_, other = tables
    both = thresholds[one], thresholds[other]
    false_matches = match_rates.difference(
      images[one], images[other], own, both
    )
    owners = np.stack([own[genuine[0]]] * 2, axis=1)
    if len(np.unique(owners)) > 1:
      shares = [
        _missed(images[key], genuine, owners, thresholds[key])
        for key in (one, other)
      ]
      limits = intervals.of_difference(*shares)
      misses = (shares[1].value - shares[0].value, *limits)
  return GroupRates(
    name, len(np.unique(own)), len(own), rows, false_matches, misses
  )


def _missed(images, genuine, owners, threshold) -> influence.Share:
  missed = cosine(*(images[rows] for rows in genuine)) < threshold
  value = float(np.mean(missed))
  return influence.Share(
    value, (missed - value) / len(missed), owners, len(missed)
  )
