"""Measures the false-match rates that a packaged network ships with.

  python -m benchmarks.match_rates --name=sface_int8 --images=LFW/images \
    --pairs=LFW/pairs.txt --faces=LFW --provenance='aligned by YuNet'

Embeds each image that a pair shows, as identify does, and compares all images
of different people; false non-matches are of the pairs of one person in the
list. Replaces the file in faceqat/calibration and prints it as a Markdown
table, rates in per cent with 95 % intervals over people.
"""

from absl import flags

from benchmarks import page_tables
from faceqat import command
from faceqat.calibration import packaged_files
from faceqat.calibration.lower import lower
from faceqat.data.benchmarks import pair_lists
from faceqat.evaluators import rate_table, verification
from faceqat.evaluators.rate_table import MatchTable
from faceqat.identification import embedders
from faceqat.integer import program as integer_program
from faceqat.report import results_tables

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


def show(table: MatchTable):
  """Prints a Markdown table."""
  found = results_tables.rates_table(table)
  page_tables.print_titles(found.titles[:-1])
  for row in found.rows:
    page_tables.print_row(row[:-1])


def main():
  args = flags.FLAGS
  embedder = embedders.load(args.name)
  pair_set = pair_lists.read_list(args.images, args.pairs, embedder.image_size)
  if pair_set.people is None:
    raise ValueError(
      f'the list {pair_set.name} does not say who is shown; give one that does'
    )
  embedded = verification.embed_pairs(embedder.predict, pair_set, _BATCH_SIZE)
  table = rate_table.measure(
    pair_set,
    embedded,
    network=embedder.digest(_BATCH_SIZE),
    program=integer_program.digest(lower(embedder.network)),
    faces=args.faces,
    provenance=args.provenance,
  )
  path = packaged_files.rates_path_of(args.name)
  rate_table.save(table, path)
  show(table)
  print(f'{path}: {path.stat().st_size:,} bytes')


if __name__ == '__main__':
  define_flags()
  command.run(main)
