"""Measures the false-match rates that a packaged network ships with.

  python -m benchmarks.match_rates --name=sface_int8 --images=LFW/images \
    --pairs=LFW/pairs.txt --faces=LFW --provenance='aligned by YuNet'

Embeds each image that a pair shows, as identify does, and compares all images
of different people; false non-matches are of the pairs of one person in the
list. Replaces the file in faceqat/calibration and prints it as a Markdown
table, rates in per cent with 95 % intervals over people.
"""

import hashlib

import numpy as np
from absl import flags

from benchmarks import page_tables
from faceqat import command
from faceqat.calibration import packaged_files
from faceqat.calibration.lower import lower
from faceqat.data.benchmarks import pair_lists
from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import match_rates, verification
from faceqat.evaluators.match_rates import Rate
from faceqat.evaluators.verification import PairEmbeddings
from faceqat.identification import embedders, match_table
from faceqat.identification.match_table import MatchTable
from faceqat.integer import program as integer_program

_BATCH_SIZE = 64


def define_flags():
  flags.DEFINE_enum('name', None, packaged_files.NAMES, 'Of the network.')
  flags.DEFINE_string('images', None, 'Folder of aligned faces.')
  flags.DEFINE_string('pairs', None, 'List of pairs of them, with people.')
  flags.DEFINE_string('faces', None, 'What the data set is called.')
  flags.DEFINE_string('provenance', None, 'How its faces were made.')
  flags.mark_flags_as_required(
    ['name', 'images', 'pairs', 'faces', 'provenance']
  )


def make_table(
  pair_set: PairSet,
  embedded: PairEmbeddings,
  **origin: str,
) -> MatchTable:
  """Measures the rates of `match_table.RATES` that there are pairs for.

  Args:
    pair_set: a list with people.
    embedded: its images.
    **origin: the texts of a `MatchTable`.

  Raises:
    ValueError: nothing says who is shown, or too few people are.
  """
  if pair_set.people is None:
    raise ValueError(
      f'the list {pair_set.name} does not say who is shown; give one that does'
    )
  people = np.zeros(len(embedded.images), np.int64)
  people[embedded.rows] = pair_set.people.T
  rows = match_rates.measure(
    embedded.images, people, embedded.rows[:, pair_set.same], match_table.RATES
  )
  return MatchTable(
    images=len(people),
    people=len(np.unique(people)),
    rows=tuple(rows),
    **origin,
  )


def show(table: MatchTable):
  """Prints a Markdown table."""
  page_tables.print_titles(
    ('threshold', 'false matches %', 'pairs', 'false non-matches %')
  )
  for row in table.rows:
    page_tables.print_row(
      (
        f'{row.threshold:.4f}',
        _with_limits(row.false_matches),
        f'{row.false_matches.count:,}',
        _with_limits(row.misses),
      )
    )


def _with_limits(rate: Rate) -> str:
  low, value, high = map(match_table.percent, (rate.low, rate.value, rate.high))
  return f'{value} [{low}, {high}]'


def main():
  args = flags.FLAGS
  embedder = embedders.load(args.name)
  pair_set = pair_lists.read_list(args.images, args.pairs, embedder.image_size)
  embedded = verification.embed_pairs(embedder.predict, pair_set, _BATCH_SIZE)
  program = integer_program.to_bytes(lower(embedder.network))
  table = make_table(
    pair_set,
    embedded,
    network=embedder.digest(_BATCH_SIZE),
    program=hashlib.sha256(program).hexdigest(),
    faces=args.faces,
    provenance=args.provenance,
  )
  path = packaged_files.rates_path_of(args.name)
  match_table.save(table, path)
  show(table)
  print(f'{path}: {path.stat().st_size:,} bytes')


if __name__ == '__main__':
  define_flags()
  command.run(main)
