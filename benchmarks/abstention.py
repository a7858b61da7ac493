"""What it buys to refuse faces that show too little of a person.

  python -m benchmarks.abstention --model=sface_int8 --faces=FACES --cache=CACHE

Of a folder person/image.jpg of aligned faces, --images of each of --people are
drawn; each is found again as if it were a photograph, and measured
(faces/quality.py). All pairs of them are compared at the threshold for a
false-match rate of --rate on these faces. The first table is the error against
the share refused (Grother and Tabassi 2007, "Performance of biometric quality
measures"): the false non-match rate of what is left when the worst share by one
measure is refused. A measure that means nothing leaves it as it is. `norm` is
the length of the embedding with that of its mirror image.

The second table is what the default bars of `identify` refuse, and the errors
of those refused and of those that are not. --blur, --shrink and --dark spoil
the faces first, by a Gaussian of so many pixels, to so many pixels of width,
and to a share of their brightness.
"""

import pathlib
from collections.abc import Callable

import cv2
import numpy as np
from absl import flags

from benchmarks import face_folders, page_tables, transfer
from faceqat import command
from faceqat.faces import detection, images, quality
from faceqat.faces.quality import Bars, Quality
from faceqat.identification import embedders

_SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)


def define_flags():
  flags.DEFINE_string('model', None, 'Run, program, exported file or name.')
  flags.DEFINE_string('faces', None, 'Folder of people, aligned.')
  flags.DEFINE_string('cache', None, 'Folder for embeddings and measures.')
  flags.DEFINE_integer('people', 2000, 'At most.')
  flags.DEFINE_integer('images', 2, 'Of each person, at most.')
  flags.DEFINE_float('rate', 1e-3, 'False-match rate of the threshold.')
  flags.DEFINE_float('threshold', None, 'In place of that rate.')
  flags.DEFINE_float('blur', 0.0, 'Pixels.')
  flags.DEFINE_integer('shrink', 0, 'Pixels; 0: as they are.')
  flags.DEFINE_float('dark', 1.0, 'Share of the brightness that is left.')
  flags.mark_flags_as_required(['model', 'faces', 'cache'])


def worth(measured: np.ndarray) -> dict[str, np.ndarray]:
  """By measure, how good each face is; NaN where none was found.

  Args:
    measured: [N, 6], `Quality` of each.
  """
  fields = dict(zip(Quality._fields, np.asarray(measured).T))
  return {
    'size': fields['size'],
    'turn': -np.maximum(np.abs(fields['yaw']), np.abs(fields['pitch'])),
    'yaw': -np.abs(fields['yaw']),
    'pitch': -np.abs(fields['pitch']),
    'sharpness': fields['sharpness'],
    'exposed': fields['exposed'],
  }


def misses(
  scores: np.ndarray, people: np.ndarray, threshold: float, kept: np.ndarray
) -> tuple[int, int]:
  """How many pairs of one person are missed, and how many there are.

  Args:
    scores: [N, N].
    people: int [N].
    threshold: of the scores.
    kept: bool [N], faces that are not refused.
  """
  same = np.triu(people[:, np.newaxis] == people, 1)
  same &= kept[:, np.newaxis] & kept
  return int(np.sum(same & (scores < threshold))), int(np.sum(same))


def refusing(good: np.ndarray, share: float) -> np.ndarray:
  """bool [N], all but the worst share; faces that were not found go first."""
  order = np.argsort(np.where(np.isnan(good), -np.inf, good), kind='stable')
  kept = np.ones(len(good), bool)
  kept[order[: round(share * len(good))]] = False
  return kept


def show_curves(
  scores: np.ndarray,
  people: np.ndarray,
  threshold: float,
  measures: dict[str, np.ndarray],
):
  """Prints the false non-match rate by measure and share refused."""
  page_tables.print_titles(
    ('measure', *(f'{100 * share:g} % refused' for share in _SHARES))
  )
  for name, good in measures.items():
    cells = []
    for share in _SHARES:
      missed, pairs = misses(scores, people, threshold, refusing(good, share))
      cells.append(f'{100 * missed / pairs:.2f}')
    page_tables.print_row((name, *cells))


def show_bars(
  scores: np.ndarray,
  people: np.ndarray,
  threshold: float,
  reasons: list[str],
):
  """Prints the errors of what the bars refuse, and of what they leave."""
  usable = np.array([reason == '' for reason in reasons])
  kinds = {'all': np.ones(len(people), bool), 'usable': usable}
  page_tables.print_titles(
    ('faces', 'images', 'false non-matches %', 'false matches %')
  )
  for name, kept in kinds.items():
    missed, pairs = misses(scores, people, threshold, kept)
    page_tables.print_row(
      (
        name,
        f'{np.sum(kept):,}',
        f'{100 * missed / max(pairs, 1):.2f} of {pairs:,}',
        _false_matches(scores, people, threshold, kept),
      )
    )
  missed, pairs = np.subtract(
    misses(scores, people, threshold, kinds['all']),
    misses(scores, people, threshold, usable),
  )
  page_tables.print_row(
    (
      'pairs with one refused',
      f'{np.sum(~usable):,}',
      f'{100 * missed / max(pairs, 1):.2f} of {pairs:,}',
      '',
    )
  )
  kinds = [reason.split(' (')[0] for reason in reasons if reason]
  # Of 'turned by 61 degrees' the first word.
  words = [kind.split()[0] for kind in kinds]
  print({word: words.count(word) for word in sorted(set(words))})


def _false_matches(scores, people, threshold, kept) -> str:
  rows = np.flatnonzero(kept)
  if len(np.unique(people[rows])) < 3:
    return ''
  found = transfer.measured(scores[np.ix_(rows, rows)], people[rows], threshold)
  return f'{100 * found.value:.3f}'


def spoiler(args) -> Callable[[np.ndarray], np.ndarray]:
  """What blurs, shrinks and darkens a face as the flags say."""

  def spoil(image):
    if args.shrink:
      height = round(args.shrink * image.shape[0] / image.shape[1])
      image = cv2.resize(
        image, (args.shrink, height), interpolation=cv2.INTER_AREA
      )
      image = cv2.resize(image, (112, 112), interpolation=cv2.INTER_LINEAR)
    if args.blur:
      image = cv2.GaussianBlur(image, (0, 0), args.blur)
    return np.uint8(image * args.dark)

  return spoil


def measure_faces(chosen, spoil, size, cache: pathlib.Path) -> np.ndarray:
  """`Quality` [N, 6] of each file, NaN where no face is found."""
  if not cache.is_file():
    detect = detection.make_detector()
    rows = []
    for _, file in chosen:
      image = spoil(images.read_image(file, size))
      faces = detect(image)
      row = [np.nan] * len(Quality._fields)
      if faces:
        face = max(faces, key=lambda found: np.prod(found.box[2:]))
        row = quality.measure(image, face)
      rows.append(row)
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.save(cache, np.array(rows))
  return np.load(cache)


def main():
  args = flags.FLAGS
  embedder = embedders.load(args.model)
  chosen = face_folders.choose_files(args.faces, args.people, args.images)
  spoil = spoiler(args)
  name = pathlib.Path(args.faces).name
  if args.blur or args.shrink or args.dark != 1:
    name += f'_{args.blur:g}_{args.shrink}_{args.dark:g}'
  digest = embedder.digest(face_folders.BATCH_SIZE)
  faces = face_folders.read_faces(
    name, chosen, embedder, digest, args.cache, spoil
  )
  cache = pathlib.Path(args.cache) / f'{name}_{len(chosen)}_quality.npy'
  found = measure_faces(chosen, spoil, embedder.image_size, cache)
  unit = transfer.unit(faces.templates)
  scores = unit @ unit.T
  threshold = args.threshold
  if threshold is None:
    threshold = transfer.threshold_for(
      transfer.impostors(scores, faces.people), args.rate
    )
  print(f'threshold {threshold:.4f}')
  measures = worth(found)
  measures['norm'] = np.linalg.norm(faces.templates.astype(float), axis=1)
  show_curves(scores, faces.people, threshold, measures)
  reasons = [
    'not found' if np.isnan(row[0]) else quality.why_not(Quality(*row), Bars())
    for row in found
  ]
  print()
  show_bars(scores, faces.people, threshold, reasons)


if __name__ == '__main__':
  define_flags()
  command.run(main)
