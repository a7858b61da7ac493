"""The table from score to false-match rate that goes with a network.

An evaluation measures it and writes it beside its results, `faceqat.convert`
into the files of the network, and a packaged network ships with one. It belongs
to the network whose digest it carries. Scores are cosines between single
images, each with its mirror image, as verification and galleries have them.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import intervals, match_rates, normalised_scores
from faceqat.evaluators.match_rates import Rate, Row
from faceqat.evaluators.verification import PairEmbeddings, cosine
from faceqat.files import atomic, strict_json
from faceqat.integer import program as integer_program
from faceqat.integer import template_score
from faceqat.integer.program import IntegerProgram

# Those measured, as far as pairs of different people make them. In LFW some two
# dozen of 30 million such pairs show one person under two names: at 5e-6 they
# would be a sixth.
RATES = (
  *(1e-1, 5e-2, 2e-2, 1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4),
  *(5e-5, 2e-5, 1e-5),
)
# That of the threshold which is taken where none is given. For one that ships:
# a gallery of a hundred images then names one in a hundred strangers like those
# measured. At 1e-5 SFace would miss twice as many pairs of one person in LFW.
DEFAULT_RATE = 1e-4
# And for one that an evaluation measures, of fewer pairs.
MEASURED_RATE = 1e-3
# Of the images of an evaluation, those with the shortest embeddings.
_SHORTEST = 0.005
# In the folder of an evaluation.
FILE_NAME = 'rates.json'
# Images that are compared, as the time grows with their square. They make some
# hundred million pairs, of which a thousand are at the lowest rate.
_MOST_IMAGES = 2**14


class MatchTable(NamedTuple):
  """What was measured of one network.

  Attributes:
    network: what `embedders.Embedder.digest` gives; '' where it was not made.
    program: `integer.program.digest`; '' of a network in float.
    faces: the name of the data set.
    provenance: a sentence on its faces.
    images: how many were compared.
    people: how many they show; 0: not known.
    rows: by rising threshold.
    default_rate: that of the threshold taken where none is given.
    mean, deviation: of the cosines of pairs of two people; 0: not known.
    least_norm: length of the sum of an embedding and its mirror image's, below
      which a face is not usable; 0: lengths mean nothing, or nobody looked.
  """

  network: str
  program: str
  faces: str
  provenance: str
  images: int
  people: int
  rows: tuple[Row, ...]
  default_rate: float = DEFAULT_RATE
  mean: float = 0.0
  deviation: float = 0.0
  least_norm: float = 0.0


def default_row(table: MatchTable) -> Row:
  """The least threshold that does not exceed the table's default rate.

  Where the data support no rate as low, the highest threshold.
  """
  fitting = [
    row for row in table.rows if row.false_matches.value <= table.default_rate
  ]
  return (fitting or table.rows[-1:])[0]


def measure(
  pair_set: PairSet, embedded: PairEmbeddings, **origin
) -> MatchTable:
  """Measures the rates of `RATES` that the pairs of an evaluation make.

  Where the pairs say who they show, all images of different people are
  compared, or `_MOST_IMAGES` at random of more; else the list's own pairs, as
  if they were independent.

  Args:
    pair_set: the pairs.
    embedded: its images.
    **origin: further fields of a `MatchTable`.

  Raises:
    ValueError: the pairs are too few, or show too few people, for any rate.
  """
  genuine = embedded.rows[:, pair_set.same]
  compared = np.arange(len(embedded.images))
  if pair_set.people is None:
    impostors = embedded.rows[:, ~np.asarray(pair_set.same, bool)]
    rows = match_rates.measure_pairs(embedded.images, impostors, genuine, RATES)
    count, moments = 0, (0.0, 0.0)
  else:
    people = np.zeros(len(embedded.images), np.int64)
    people[embedded.rows] = pair_set.people.T
    if len(compared) > _MOST_IMAGES:
      rng = np.random.default_rng(0)
      compared = np.sort(rng.choice(compared, _MOST_IMAGES, replace=False))
    rows = match_rates.measure(
      embedded.images, people, genuine, RATES, compared
    )
    images, people = embedded.images[compared], people[compared]
    count = len(np.unique(people))
    moments = match_rates.moments(images, people)
    rows = _with_normalised(rows, images, people)
  table = MatchTable(
    images=len(compared),
    people=count,
    rows=tuple(rows),
    mean=moments[0],
    deviation=moments[1],
    **origin,
  )
  return _not_empty(table)


def _with_normalised(
  rows: Sequence[Row], images: np.ndarray, people: np.ndarray
) -> list[Row]:
  shares = [row.false_matches.value for row in rows]
  found = normalised_scores.thresholds(images, people, shares)
  return [row._replace(normalised=each) for row, each in zip(rows, found)]


def known(table: MatchTable) -> MatchTable:
  """The table without rates that so few people do not support.

  Raises:
    ValueError: none is left.
  """
  return _not_empty(
    table._replace(rows=tuple(filter(match_rates.is_known, table.rows)))
  )


def least_norm(
  images: np.ndarray, genuine: np.ndarray, threshold: float
) -> float:
  """The length of an embedding that too few images of a person are missed by.

  A face in which a network sees little has a short embedding (Meng et al. 2021,
  "MagFace", trains for it), unless the network ends with a norm. The shortest
  of a set are such if their pairs are missed more than twice as often.

  Args:
    images: [N, D], not normalised.
    genuine: int [2, P], rows of the pairs of one person.
    threshold: a cosine.

  Returns:
    That of the shortest `_SHORTEST` of the images; 0 where it means nothing.
  """
  norms = np.linalg.norm(np.asarray(images, float), axis=1)
  bar = float(np.quantile(norms, _SHORTEST))
  short = np.any(norms[genuine] < bar, axis=0)
  missed = cosine(*(images[rows] for rows in genuine)) < threshold
  count = int(np.sum(short))
  if not count:
    return 0.0
  low, _ = intervals.of_rate(np.mean(missed[short]), count, 0.0, np.inf)
  return bar if low > 2 * np.mean(missed) else 0.0


def with_norm(
  table: MatchTable, pair_set: PairSet, embedded: PairEmbeddings
) -> MatchTable:
  """The table with the `least_norm` of the images it was measured on."""
  bar = least_norm(
    embedded.images,
    embedded.rows[:, pair_set.same],
    default_row(table).threshold,
  )
  return table._replace(least_norm=bar)


def _not_empty(table: MatchTable) -> MatchTable:
  if not table.rows:
    raise ValueError(
      f'{table.faces} has too few pairs of different people for a rate of '
      f'{RATES[0]:g}; give more images and people'
    )
  return table


def to_text(table: MatchTable, indent: int | None = None) -> str:
  """JSON of a table; `of_text` reads it."""
  rows = [
    {
      'threshold': row.threshold,
      'false_matches': row.false_matches._asdict(),
      'misses': row.misses._asdict(),
      # As a device compares in integers.
      **({'threshold_q29': _in_integers(row)} if table.program else {}),
      **({} if row.normalised is None else {'normalised': row.normalised}),
    }
    for row in table.rows
  ]
  return json.dumps({**table._asdict(), 'rows': rows}, indent=indent)


def row_of(fields: Mapping[str, Any]) -> Row:
  """A row of the fields of its JSON; raises KeyError, TypeError, ValueError."""
  return Row(
    float(fields['threshold']),
    Rate(**fields['false_matches']),
    Rate(**fields['misses']),
    None if (score := fields.get('normalised')) is None else float(score),
  )


def of_text(text: str | bytes) -> MatchTable:
  """Reads a table.

  Raises:
    ValueError: it is damaged.
  """
  try:
    fields = strict_json.parse(text, dict)
    rows = tuple(map(row_of, fields.pop('rows')))
    table = MatchTable(**fields, rows=rows)
    numbers = [
      (r.threshold, *r.false_matches, *r.misses, r.normalised or 0)
      for r in rows
    ]
    if not np.isfinite(np.array(numbers, float)).all():
      raise ValueError('a number is not finite')
    if not rows or np.any(np.diff([row.threshold for row in rows]) <= 0):
      raise ValueError('its thresholds do not rise')
    if not isinstance(table.network, str) or not 0 < table.default_rate < 1:
      raise ValueError('it names no network, or no default rate')
    return table
  except (KeyError, TypeError) as error:
    raise ValueError(str(error)) from error


def save(table: MatchTable, path: str | os.PathLike):
  """Writes what `load` reads."""
  atomic.write(path, f'{to_text(table, indent=1)}\n'.encode())


def load(path: str | os.PathLike) -> MatchTable:
  """Reads a table that is packaged.

  Raises:
    ValueError: the file is missing or damaged.
  """
  try:
    return of_text(pathlib.Path(path).read_bytes())
  except (OSError, ValueError) as error:
    raise ValueError(
      f'{os.fspath(path)} is no table of false-match rates ({error}): install '
      'faceqat again'
    ) from error


def save_measured(tables: Mapping[str, MatchTable], folder: pathlib.Path):
  """Writes the tables of an evaluation by precision, or takes old ones away."""
  path = folder / FILE_NAME
  if not tables:
    path.unlink(missing_ok=True)
    return
  fields = {name: json.loads(to_text(table)) for name, table in tables.items()}
  atomic.write(path, f'{json.dumps(fields, indent=1)}\n'.encode())


def load_measured(folder: str | os.PathLike) -> dict[str, MatchTable]:
  """The tables of an evaluation by precision; {} where there are none.

  Raises:
    ValueError: the file is damaged.
  """
  path = pathlib.Path(folder) / FILE_NAME
  if not path.is_file():
    return {}
  try:
    fields = strict_json.parse(path.read_bytes(), dict)
    return {name: of_text(json.dumps(table)) for name, table in fields.items()}
  except ValueError as error:
    raise ValueError(
      f'{path} is damaged ({error}); take it away, or evaluate that run again'
    ) from error


def of_metadata(metadata: Mapping[str, str]) -> MatchTable | None:
  """The table in the metadata of a program or of a file exported from it.

  Raises:
    ValueError: it is damaged.
  """
  text = metadata.get(integer_program.MATCH_RATES)
  if text is None:
    return None
  try:
    return of_text(text)
  except ValueError as error:
    raise ValueError(
      f'its table of false-match rates is damaged ({error}); convert the '
      'network again'
    ) from error


def with_table(program: IntegerProgram, table: MatchTable) -> IntegerProgram:
  """The program with a table in its metadata; its digest stays."""
  return integer_program.with_metadata(
    program, {integer_program.MATCH_RATES: to_text(table)}
  )


def _in_integers(row: Row) -> int:
  return int(np.ceil(row.threshold * template_score.ONE))
