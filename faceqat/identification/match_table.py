"""The false-match rates that ship with a packaged network.

`benchmarks/match_rates.py` measures them between single images, each with its
mirror image as a gallery has them, and writes them as JSON beside the network's
ranges. They belong to the network whose digest they carry, under any name: a
file exported from it gives the same integers, and so the same scores.
"""

import json
import os
from typing import NamedTuple

import numpy as np

from faceqat.calibration import packaged_files
from faceqat.evaluators.match_rates import Rate, Row
from faceqat.files import atomic, strict_json

# Those measured, as far as pairs of different people make them. In LFW some two
# dozen of 30 million such pairs show one person under two names: at 5e-6 they
# would be a sixth.
RATES = (
  *(1e-1, 5e-2, 2e-2, 1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4),
  *(5e-5, 2e-5, 1e-5),
)
# That of the threshold which is taken where none is given: a gallery of a
# hundred images then names one in a hundred strangers like those measured. At
# 1e-5 SFace would miss twice as many pairs of one person in LFW.
DEFAULT_RATE = 1e-4
_ADVICE = (
  'faces of another camera may reach it many times as often: measure one on '
  'yours with --false_positive_rate=RATE --calibration=STRANGERS'
)


class MatchTable(NamedTuple):
  """What was measured of one network.

  Attributes:
    network: what `embedders.Embedder.digest` gives.
    program: SHA-256 of the integer program's file.
    faces: the name of the data set.
    provenance: a sentence on its faces.
    images: how many were compared.
    people: how many they show.
    rows: by rising threshold.
  """

  network: str
  program: str
  faces: str
  provenance: str
  images: int
  people: int
  rows: tuple[Row, ...]


def save(table: MatchTable, path: str | os.PathLike):
  """Writes what `load` reads."""
  rows = [
    {
      'threshold': row.threshold,
      'false_matches': row.false_matches._asdict(),
      'misses': row.misses._asdict(),
    }
    for row in table.rows
  ]
  content = json.dumps({**table._asdict(), 'rows': rows}, indent=1)
  atomic.write(path, f'{content}\n'.encode())


def load(path: str | os.PathLike) -> MatchTable:
  """Reads a table.

  Raises:
    ValueError: the file is missing or damaged.
  """
  try:
    with open(path, 'rb') as file:
      fields = strict_json.parse(file.read(), dict)
    rows = tuple(
      Row(
        float(row['threshold']),
        Rate(**row['false_matches']),
        Rate(**row['misses']),
      )
      for row in fields.pop('rows')
    )
    table = MatchTable(**fields, rows=rows)
    numbers = [(r.threshold, *r.false_matches, *r.misses) for r in rows]
    if not np.isfinite(np.array(numbers, float)).all():
      raise ValueError('a number is not finite')
    if not rows or np.any(np.diff([row.threshold for row in rows]) <= 0):
      raise ValueError('its thresholds do not rise')
    if not isinstance(table.network, str):
      raise ValueError('it names no network')
    return table
  except (OSError, KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f'{os.fspath(path)} is no table of false-match rates ({error}): install '
      'faceqat again'
    ) from error


def find(digest: str) -> MatchTable | None:
  """The table that was measured of the network of this digest."""
  for name in packaged_files.NAMES:
    table = load(packaged_files.rates_path_of(name))
    if table.network == digest:
      return table
  return None


def default_row(table: MatchTable) -> Row:
  """The row of `DEFAULT_RATE`: the least threshold that does not exceed it."""
  fitting = [r for r in table.rows if r.false_matches.value <= DEFAULT_RATE]
  return (fitting or table.rows[-1:])[0]


def about_default(table: MatchTable, templates: int, means: bool) -> str:
  """A sentence on the threshold that is taken where none is given.

  The share of strangers who are given a name is at most the false-match rate
  times the number of templates, whatever depends on what: for a name, one
  template has to match.

  Args:
    table: of the network.
    templates: those of the gallery that each probe is compared with.
    means: they are means of several images, which none was measured with.
  """
  row = default_row(table)
  rate = row.false_matches
  named = [min(1.0, templates * x) for x in (rate.value, rate.low, rate.high)]
  follows = (
    'Means of images, as --prototypes takes, are reached more often'
    if means
    else f'A gallery of {templates:,} gives at most {_with_limits(*named)} of '
    'strangers like those a name'
  )
  return (
    f'threshold {row.threshold:.4f}: {_with_limits(*rate[:3])} of the pairs of '
    f'different people in {_measured_on(table)} reach it. {follows}; {_ADVICE}'
  )


def about_given(table: MatchTable, threshold: float) -> str:
  """A sentence on a threshold of the user's."""
  below = [row for row in table.rows if row.threshold <= threshold]
  above = [row for row in table.rows if row.threshold >= threshold]
  most = below[-1].false_matches if below else None
  least = above[0].false_matches if above else None
  if most is None:
    share = f'more than {_shown(least.value)}'
  elif least is None:
    share = f'fewer than {_shown(most.value)}'
  elif least is most:
    share = _with_limits(*most[:3])
  else:
    share = f'between {_shown(least.value)} and {_shown(most.value)}'
  return (
    f'--threshold={threshold:g}: {share} of the pairs of different people in '
    f'{_measured_on(table)} reach it; {_ADVICE}'
  )


def about_missing(name: str, digest: str) -> str:
  """A sentence where a packaged network runs otherwise than was measured."""
  table = load(packaged_files.rates_path_of(name))
  return (
    f'the false-match rates that ship with {name} are not used, as they are of '
    f'another network ({table.network[:12]} there, {digest[:12]} here), so '
    'that everybody is given a name without --threshold or '
    '--false_positive_rate=RATE --calibration=STRANGERS; leave --precision and '
    '--contract out, or install faceqat again, to have a threshold'
  )


def _measured_on(table: MatchTable) -> str:
  return f'{table.faces} ({table.images:,} images of {table.people:,})'


def _with_limits(value: float, low: float, high: float) -> str:
  return f'{_shown(value)} [{percent(low)}, {percent(high)}]'


def _shown(share: float) -> str:
  return f'{percent(share)} %'


def percent(share: float) -> str:
  """In per cent, with two digits and no power of ten."""
  return np.format_float_positional(
    100 * share, precision=2, fractional=False, trim='-'
  )
