"""Shows what a packaged network's false-match rate becomes in a gallery.

  python -m benchmarks.match_bounds --name=sface_int8 --images=LFW/images \
    --pairs=LFW/pairs.txt

At the default threshold: the share of strangers whom galleries of N people,
drawn at random, give a name, and what N times the rate allows; and the share of
pairs that match where a template is in int8, or the mean of a person's images.
"""

import numpy as np
from absl import flags

from benchmarks import face_folders, page_tables
from faceqat import command
from faceqat.calibration import packaged_files
from faceqat.data.benchmarks import pair_lists
from faceqat.evaluators import rate_table
from faceqat.evaluators.match_rates import unit_vectors
from faceqat.identification import embedders, gallery
from faceqat.identification.gallery import Gallery
from faceqat.report.results_tables import short_percent

# Templates at a time.
_BLOCK = 512
# Drawings, by how many people a gallery has.
_DRAWINGS = {10: 200, 100: 200, 1000: 40}


def define_flags():
  flags.DEFINE_enum('name', None, packaged_files.NAMES, 'Of the network.')
  flags.DEFINE_string('images', None, 'Folder of aligned faces.')
  flags.DEFINE_string('pairs', None, 'List of pairs of them, with people.')
  flags.DEFINE_string('cache', 'cache', 'Folder for embeddings.')
  flags.mark_flags_as_required(['name', 'images', 'pairs'])


def share_named(
  templates: np.ndarray,
  people: np.ndarray,
  threshold: float,
  size: int,
  drawings: int,
) -> float:
  """The mean share of images of strangers that reach somebody of a gallery.

  Args:
    templates: [N, D], one an image.
    people: int [N].
    threshold: a cosine.
    size: people of a gallery, with one image each.
    drawings: how many galleries are drawn; all other people are strangers.
  """
  unit = unit_vectors(templates)
  names = np.unique(people)
  random = np.random.default_rng(0)
  shares = []
  for _ in range(drawings):
    chosen = random.choice(names, size, replace=False)
    rows = [random.choice(np.flatnonzero(people == name)) for name in chosen]
    strangers = unit[~np.isin(people, chosen)]
    nearest = (strangers @ unit[rows].T).max(axis=1)
    shares.append(np.mean(nearest >= threshold))
  return float(np.mean(shares))


def share_matching(
  templates: np.ndarray,
  owners: np.ndarray,
  images: np.ndarray,
  people: np.ndarray,
  threshold: float,
) -> float:
  """Of templates [M, D] with images [N, D] of other people, those that match.

  Args:
    templates: of the people `owners`, int [M].
    owners: who they stand for.
    images: templates of single images.
    people: int [N], who they show.
    threshold: a cosine.
  """
  matches = pairs = 0
  unit, probes = unit_vectors(templates), unit_vectors(images)
  for start in range(0, len(unit), _BLOCK):
    rows = slice(start, start + _BLOCK)
    others = owners[rows, np.newaxis] != people
    matches += int(np.sum(others & (unit[rows] @ probes.T >= threshold)))
    pairs += int(np.sum(others))
  return matches / pairs


def as_gallery(templates: np.ndarray, people: np.ndarray) -> Gallery:
  """The gallery of templates [N, D] of images that are all different."""
  count = len(templates)
  digests = np.zeros([count, gallery.DIGEST_BYTES], np.uint8)
  digests[:, :8] = np.arange(count)[:, np.newaxis].view(np.uint8)
  of_integers = np.issubdtype(templates.dtype, np.integer)
  empty = gallery.empty(
    templates.shape[1],
    of_integers,
    int8=False,
    maker=gallery.Maker('integer' if of_integers else 'float', '', None),
  )
  names = [f'{person:06d}' for person in people]
  return empty.grown(templates, names, list(map(str, range(count))), digests)[0]


def show(templates: np.ndarray, people: np.ndarray, threshold: float):
  """Prints both tables of templates [N, D], one an image of `people`."""
  rate = share_matching(templates, people, templates, people, threshold)
  page_tables.print_titles(('gallery', 'drawings', 'named %', 'at most %'))
  for size, drawings in _DRAWINGS.items():
    if size < len(np.unique(people)):
      named = share_named(templates, people, threshold, size, drawings)
      shares = (named, min(1.0, size * rate))
      page_tables.print_row(
        (f'{size:,}', drawings, *map(short_percent, shares))
      )
  print()
  page_tables.print_titles(('templates', 'how many', 'matches %', 'times'))
  names, counts = np.unique(people, return_counts=True)
  several = np.isin(people, names[counts > 1])
  # Prototypes are in the order of the names.
  means = as_gallery(templates[several], people[several]).prototypes()
  # As a gallery in int8 has it, probes are in int8 too.
  small = gallery.to_int8(templates)
  for title, *compared in (
    ('images', templates, people, templates),
    ('images, int8', small, people, small),
    ('means of several images', means, names[counts > 1], templates),
  ):
    share = share_matching(*compared, people, threshold)
    times = f'{share / rate:.3f}' if rate else ''
    page_tables.print_row(
      (title, f'{len(compared[0]):,}', short_percent(share), times)
    )


def main():
  args = flags.FLAGS
  embedder = embedders.load(args.name)
  pair_set = pair_lists.read_list(args.images, args.pairs, embedder.image_size)
  digest = embedder.digest(face_folders.BATCH_SIZE)
  embedded = face_folders.embed_pairs(pair_set, embedder, digest, args.cache)
  people = np.zeros(len(embedded.images), np.int64)
  people[embedded.rows] = pair_set.people.T
  table = rate_table.load(packaged_files.rates_path_of(args.name))
  threshold = rate_table.default_row(table).threshold
  print(f'threshold {threshold:.4f}\n')
  show(embedded.images, people, threshold)


if __name__ == '__main__':
  define_flags()
  command.run(main)
