"""What is said of the false-match rates of a network.

Those of a packaged network are found by the digest of what it computes, under
any name: a file exported from it gives the same integers, and so the same
scores. Other networks have the table of their evaluation (`embedders.load`).
"""

from faceqat.calibration import packaged_files
from faceqat.evaluators.match_rates import Row
from faceqat.evaluators.rate_table import (
  MatchTable,
  default_row,
  load,
  load_measured,
)
from faceqat.report.results_tables import short_percent

_ADVICE = (
  'faces of another camera may reach it many times as often: measure one on '
  'yours with --false_positive_rate=RATE --calibration=STRANGERS'
)


def find(digest: str) -> MatchTable | None:
  """The table that ships with the network of this digest."""
  for name in packaged_files.NAMES:
    table = load(packaged_files.rates_path_of(name))
    if table.network == digest:
      return table
  return None


def find_program(digest: str) -> MatchTable | None:
  """The table that ships with a program of this `integer.program.digest`."""
  for name in packaged_files.NAMES:
    path = packaged_files.rates_path_of(name)
    if path.is_file() and (table := load(path)).program == digest:
      return table
  return None


def of_model(model: str) -> MatchTable | None:
  """That of a packaged network's integers, or of those of a run's folder.

  Raises:
    ValueError: the file in the folder is damaged.
  """
  if model in packaged_files.NAMES:
    return load(packaged_files.rates_path_of(model))
  return load_measured(model).get('integer')


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
  least = ''
  if rate.value > table.default_rate:
    least = (
      f' Of so few pairs ({rate.pairs:,}) no rate as low as '
      f'{_shown(table.default_rate)} is known.'
    )
  named = [min(1.0, templates * x) for x in (rate.value, rate.low, rate.high)]
  follows = (
    'Means of images, as --prototypes takes, are reached more often'
    if means
    else f'A gallery of {templates:,} gives at most {_with_limits(*named)} of '
    'strangers like those a name'
  )
  return (
    f'threshold {row.threshold:.4f}: {_with_limits(*rate[:3])} of the pairs of '
    f'different people in {_measured_on(table)} reach it.{least} {follows}; '
    f'{_ADVICE}'
  )


def about_gallery(
  table: MatchTable, row: Row, templates: int, rate: float
) -> str:
  """A sentence on the threshold of a share of strangers and a gallery."""
  advice = '' if table.faces == '--calibration' else f'; {_ADVICE}'
  return (
    f'threshold {row.threshold:.4f}: a gallery of {templates:,} gives at most '
    f'{_shown(rate)} of strangers like those in {_measured_on(table)} a name, '
    f'as {_with_limits(*row.false_matches[:3])} of the pairs of different '
    f'people reach it{advice}'
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
    f'another network ({table.network[:12]} there, {digest[:12]} here); leave '
    '--precision and --contract out, or install faceqat again, to have a '
    'threshold'
  )


def _measured_on(table: MatchTable) -> str:
  people = f'{table.people:,}' if table.people else 'unknown people'
  return f'{table.faces} ({table.images:,} images of {people})'


def _with_limits(value: float, low: float, high: float) -> str:
  return f'{_shown(value)} [{short_percent(low)}, {short_percent(high)}]'


def _shown(share: float) -> str:
  return f'{short_percent(share)} %'
