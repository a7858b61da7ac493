"""Measures the false-match rates that a packaged network ships with.

  python -m benchmarks.match_rates --name=sface_int8 --images=LFW/images \
    --pairs=LFW/pairs.txt --faces=LFW --provenance='aligned by YuNet'

Embeds each image that a pair shows, as identify does, and compares all images
of different people; false non-matches are of the pairs of one person in the
list, and so is the length below which an embedding is not usable. Replaces the
file in faceqat/calibration and prints it as a Markdown table, rates in per cent
with 95 % intervals over people. Embeddings are kept in --cache.
"""

from absl import flags

from benchmarks import face_folders, page_tables
from faceqat import command
from faceqat.calibration import packaged_files
from faceqat.calibration.lower import lower
from faceqat.calibration.packaged_network import load_packaged
from faceqat.data.benchmarks import pair_lists
from faceqat.evaluators import rate_table
from faceqat.evaluators.rate_table import MatchTable
from faceqat.identification import embedders
from faceqat.integer import program as integer_program
from faceqat.report import results_tables


def define_flags():
  flags.DEFINE_enum('name', None, packaged_files.NAMES, 'Of the network.')
  flags.DEFINE_string('images', None, 'Folder of aligned faces.')
  flags.DEFINE_string('pairs', None, 'List of pairs of them, with people.')
  flags.DEFINE_string('faces', None, 'What the data set is called.')
  flags.DEFINE_string('provenance', None, 'How its faces were made.')
  flags.DEFINE_string('cache', 'cache', 'Folder for embeddings.')
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
  digest = embedder.digest(face_folders.BATCH_SIZE)
  embedded = face_folders.embed_pairs(pair_set, embedder, digest, args.cache)
  table = rate_table.measure(
    pair_set,
    embedded,
    network=digest,
    program=integer_program.digest(lower(load_packaged(args.name))),
    faces=args.faces,
    provenance=args.provenance,
  )
  table = rate_table.with_norm(table, pair_set, embedded)
  path = packaged_files.rates_path_of(args.name)
  rate_table.save(table, path)
  show(table)
  print(f'least length of an embedding: {table.least_norm:.4g}')
  print(f'{path}: {path.stat().st_size:,} bytes')


if __name__ == '__main__':
  define_flags()
  command.run(main)
