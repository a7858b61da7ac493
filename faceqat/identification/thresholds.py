"""The score that a match has to reach: given, measured before, or measured now.

A false-match rate is of a pair of images; a gallery of N images gives a
stranger N chances, so that at most N times as many strangers are given a name,
whatever depends on what. A stated share of strangers therefore asks for a
higher threshold of a larger gallery.
"""

from collections.abc import Sequence

import numpy as np

from faceqat.evaluators import (
  intervals,
  match_rates,
  normalised_scores,
  rate_table,
  verification,
)
from faceqat.evaluators.match_rates import Row
from faceqat.evaluators.rate_table import MatchTable
from faceqat.identification import cautions, match_table, retrieval
from faceqat.identification.enrolment import Faces
from faceqat.identification.face_files import Entry
from faceqat.identification.gallery import Gallery
from faceqat.identification.settings import Settings
from faceqat.integer import template_score

_NONE_KNOWN = (
  'warning: no false-match rates are known of this network, so that everybody '
  'is given the nearest name, strangers too; give --threshold=COSINE, or '
  '--false_positive_rate=RATE --calibration=STRANGERS'
)


def check(
  table: MatchTable | None,
  templates: int,
  settings: Settings,
  strangers: Sequence[Entry] | None = None,
):
  """Refuses a share of strangers that nothing was or can be measured for.

  Args:
    table: of the network, if it has one.
    templates: of the gallery, at most.
    settings: of the identification.
    strangers: images of --calibration.

  Raises:
    ValueError: says what to give.
  """
  rate = settings.false_positive_rate
  if strangers is not None:
    enough = verification.is_supported(rate, len(strangers))
    if not enough and not settings.prototypes:
      people = len({entry.person for entry in strangers})
      _row_to_move(table, templates, people, rate)
    return
  if rate is None:
    return
  flag = f'--false_positive_rate={rate:g}'
  if table is None or settings.prototypes:
    why = 'no false-match rates' if table is None else 'none of means of images'
    raise ValueError(
      f'{flag}: the network has {why}, so that --false_positive_rate and '
      '--calibration go together: the rate, and a folder of people who are '
      'not in the gallery, to measure it on'
    )
  if not 0 < rate < 1:
    raise ValueError(f'{flag}: it must be above 0 and below 1')
  if _row_for(table, templates, rate) is None:
    least = table.rows[-1].false_matches.high
    raise ValueError(
      f'{flag}: a gallery of {templates:,} images needs a false-match rate of '
      f'{rate / max(templates, 1):.2g}, and {table.faces} supports none below '
      f'{least:.2g}; give {least * templates:.2g} or more, or --calibration'
    )


def of_table(
  table: MatchTable | None, gallery: Gallery, settings: Settings
) -> float | None:
  """The cosine to reach, if any; prints what is known of it."""
  if table is None:
    if settings.threshold is None:
      print(_NONE_KNOWN)
    return settings.threshold
  if settings.threshold is not None:
    print(match_table.about_given(table, settings.threshold))
    return settings.threshold
  count, rate = len(gallery.images), settings.false_positive_rate
  if rate is not None:
    row = _row_for(table, count, rate)
    print(match_table.about_gallery(table, row, count, rate))
    return row.threshold
  print(match_table.about_default(table, count, settings.prototypes))
  return rate_table.default_row(table).threshold


def of_strangers(
  gallery: Gallery,
  strangers: Faces,
  best: np.ndarray,
  table: MatchTable | None,
  settings: Settings,
) -> float | int | np.ndarray:
  """The score that a stated share of strangers reaches.

  An array [N] has one for each image of the gallery.

  Args:
    gallery: of the people known.
    strangers: who are not in it.
    best: [M], the highest score of each.
    table: of the network, if it has one; what it states is compared.
    settings: with the share.

  Raises:
    ValueError: they are too few.
  """
  rate = settings.false_positive_rate
  if not verification.is_supported(rate, len(best)) and not settings.prototypes:
    return _of_few(gallery, strangers, table, rate)
  threshold = retrieval.choose_threshold(best, rate)
  shown = f'{float(retrieval.as_cosine(threshold)):.6f}'
  if gallery.integer:
    shown += f' ({threshold} of {template_score.ONE})'
  print(
    f'threshold {shown}: reached by {np.sum(best >= threshold):,} of '
    f'{len(best):,} images of {len(set(strangers.people)):,} strangers'
  )
  if table is not None and not settings.prototypes:
    _compare(table, retrieval.as_cosine(best), len(gallery.images))
  return threshold


def _of_few(
  gallery: Gallery, strangers: Faces, table: MatchTable | None, rate: float
) -> float | int | np.ndarray:
  """The score by strangers who are fewer than the rate needs images of."""
  people = len(set(strangers.people))
  row = _row_to_move(table, len(gallery.images), people, rate)
  if row is None:
    return _of_pairs(gallery, strangers, rate)
  if row.normalised is not None:
    return _normalised(gallery, strangers, table, row, rate)
  return _moved(gallery, strangers, table, row, rate)


def _row_to_move(
  table: MatchTable | None, templates: int, people: int, rate: float
) -> Row | None:
  """The row that few strangers move; None where their pairs are enough.

  Raises:
    ValueError: they are too few for either.
  """
  row = None
  if table is not None and (
    table.deviation or table.rows[0].normalised is not None
  ):
    row = _row_for(table, templates, rate)
  if row is not None and people >= retrieval.ENOUGH_STRANGERS:
    return row
  needed = retrieval.people_needed(rate, templates)
  if people >= needed:
    return None
  raise ValueError(
    f'--false_positive_rate={rate:g}: {people:,} strangers are enough only '
    'where the network has false-match rates that go as low for a gallery of '
    f'{templates:,} images; evaluate it, or give images of {needed:,} people'
  )


def _normalised(
  gallery: Gallery, strangers: Faces, table: MatchTable, row: Row, rate: float
) -> np.ndarray:
  """A threshold for each image of the gallery, by how it resembles strangers.

  One that resembles many is reached more often, and asks for a higher score.
  """
  _, first = np.unique(strangers.people, return_index=True)
  mean, deviation = normalised_scores.statistics(
    gallery.templates, strangers.templates[first]
  )
  cosines = np.minimum(mean + row.normalised * deviation, 1.0)
  least, middle, most = np.quantile(cosines, (0, 0.5, 1))
  print(
    f'threshold {middle:.4f}, {least:.4f} to {most:.4f} by image of the '
    f'gallery: one of {len(gallery.images):,} gives some {100 * rate:.2g} % of '
    f'strangers a name at most, by the rates of {table.faces}, where '
    f'{100 * row.false_matches.value:.2g} % of the scores of different people '
    f'are {row.normalised:.2f} deviations above those with {len(first):,} '
    'strangers'
  )
  if gallery.integer:
    return np.ceil(cosines * template_score.ONE).astype(np.int64)
  return cosines


def _moved(
  gallery: Gallery, strangers: Faces, table: MatchTable, row: Row, rate: float
) -> float | int:
  """A threshold of a table, moved to the scores of another camera.

  What differs between cameras is mostly how alike all faces are, and how much
  that varies: the threshold keeps its place in terms of both.
  """
  _, first = np.unique(strangers.people, return_index=True)
  mean, deviation = match_rates.moments(
    strangers.templates[first], np.arange(len(first))
  )
  scale = deviation / table.deviation
  cosine = mean + (row.threshold - table.mean) * scale
  print(
    f'threshold {cosine:.4f}: a gallery of {len(gallery.images):,} gives some '
    f'{100 * rate:.2g} % of strangers a name at most, by the rates of '
    f'{table.faces}, whose threshold {row.threshold:.4f} is moved to the pairs '
    f'of {len(first):,} strangers (cosines {mean:.3f} ± {deviation:.3f}, there '
    f'{table.mean:.3f} ± {table.deviation:.3f})'
  )
  return retrieval.as_score(min(cosine, 1.0), gallery.integer)


def _of_pairs(gallery: Gallery, strangers: Faces, rate: float) -> float | int:
  """The score by the pairs of strangers, who are fewer than the rate needs.

  Raises:
    ValueError: their pairs are too few as well.
  """
  people = np.unique(strangers.people, return_inverse=True)[1]
  none = np.zeros([2, 0], np.int64)
  rows = match_rates.measure(
    strangers.templates, people, none, rate_table.RATES
  )
  table = MatchTable(
    network='',
    program='',
    faces='--calibration',
    provenance='',
    images=len(people),
    people=int(people.max()) + 1,
    rows=tuple(filter(match_rates.is_known, rows)),
  )
  row = _row_for(table, len(gallery.images), rate)
  if row is None:
    wanted = 2 * retrieval.people_needed(rate, len(gallery.images))
    raise ValueError(
      f'--false_positive_rate={rate:g}: the pairs of {table.people:,} '
      'strangers do not support it, as some of them resemble many others; '
      f'give {wanted:,} people, or a higher rate'
    )
  print(match_table.about_gallery(table, row, len(gallery.images), rate))
  return retrieval.as_score(row.threshold, gallery.integer)


def check_strangers(gallery: Gallery, strangers: Faces, flag: str):
  """Refuses strangers who are in the gallery, or of whom there is no image.

  Raises:
    ValueError: names the first one.
  """
  same = cautions.shared_images(gallery, strangers)
  if same:
    raise ValueError(
      f'{flag}: {same[0]} is an image of the gallery; a threshold for '
      'strangers needs people who are not in it'
    )
  if not strangers.names:
    raise ValueError(
      f'{flag} has no image that can be used: '
      f'{cautions.first_reason(strangers.left_out, "there is none")}'
    )


def _row_for(table: MatchTable, templates: int, rate: float):
  """The least threshold whose rate, at its upper limit, is low enough."""
  fitting = (
    row for row in table.rows if templates * row.false_matches.high <= rate
  )
  return next(fitting, None)


def _compare(table: MatchTable, best: np.ndarray, templates: int):
  """Warns where strangers reach the default threshold too often."""
  row = rate_table.default_row(table)
  stated = min(1.0, templates * row.false_matches.high)
  count = int(np.sum(best >= row.threshold))
  low, _ = intervals.of_rate(count / len(best), len(best), 0.0, np.inf)
  if low > stated:
    print(
      'WARNING: the false-match rates of the network do not hold for these '
      f'faces: {count:,} of {len(best):,} images of strangers reach '
      f'{row.threshold:.4f}, where the rates promise at most '
      f'{100 * stated:.2g} % of them; keep to the threshold above'
    )
