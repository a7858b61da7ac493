"""What it buys to refuse faces that show too little of a person.

  python -m benchmarks.abstention --model=sface_int8 --cache=CACHE \
    --faces=LFW/images --pairs=LFW/pairs.txt

Of a folder person/image.jpg of aligned faces, --images of each of --people are
drawn, or those of a list of --pairs are taken. Each is found again as if it
were a photograph, and measured (faces/quality.py); --photographs are not
aligned yet. The threshold is the network's own, or that of a false-match --rate
on these faces.

The first table is how the faces are distributed by each measure, the worst
ones first, and how many are below the bar of `identify`. `norm` is the length
of the embedding with that of its mirror image.

The second one is the error against the share refused (Grother and Tabassi 2007,
"Performance of biometric quality measures"): the false non-match rate of what
is left when the worst share by one measure is refused. A measure that means
nothing leaves it as it is. The third one is what the default bars refuse, and
the errors of those refused and of those that are not. The fourth one counts
turned faces among missed pairs and others. Pairs of one person are those of the
list, or all; brackets are 95 % intervals over people.

--blur, --shrink and --dark spoil the faces first, by a Gaussian of so many
pixels, to so many pixels of width, and to a share of their brightness.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from absl import flags

from benchmarks import face_folders, page_tables
from faceqat import command
from faceqat.data.benchmarks import pair_lists
from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import match_rates, rate_table, verification
from faceqat.evaluators.match_rates import Rate
from faceqat.evaluators.rate_table import MatchTable
from faceqat.faces import detection, images, photographs, quality
from faceqat.faces.lazy_images import LazyImages
from faceqat.faces.quality import Bars, Quality
from faceqat.files.image_size import ImageSize
from faceqat.identification import embedders, face_finder
from faceqat.report.results_tables import short_percent

_SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
_QUANTILES = (0.0, 0.01, 0.05, 0.5)


class Measured(NamedTuple):
  """Faces, what was measured of them, and which of them are compared.

  Attributes:
    templates: [N, D], not normalised.
    people: int [N].
    genuine: int [2, P], rows of the pairs of one person.
    quality: float64 [N, 6], `Quality` of each; NaN where no face is found.
  """

  templates: np.ndarray
  people: np.ndarray
  genuine: np.ndarray
  quality: np.ndarray

  def missed(self, threshold: float, kept: np.ndarray) -> Rate:
    """Of the pairs of one person that are not refused, those missed.

    Args:
      threshold: a cosine.
      kept: bool [N], or [P] of the pairs.
    """
    if len(kept) == len(self.people):
      kept = np.all(kept[self.genuine], axis=0)
    rows = self.genuine[:, kept]
    owners = np.stack([self.people[rows[0]]] * 2, axis=1)
    return match_rates.misses(self.cosines(rows), owners, threshold)

  def cosines(self, rows: np.ndarray) -> np.ndarray:
    """Of pairs, int [2, P]."""
    return verification.cosine(*(self.templates[ends] for ends in rows))


def define_flags():
  flags.DEFINE_string('model', None, 'Run, program, exported file or name.')
  flags.DEFINE_string('faces', None, 'Folder of people, aligned.')
  flags.DEFINE_string('pairs', None, 'List of pairs of them, with people.')
  flags.DEFINE_bool('photographs', False, 'The images are photographs.')
  flags.DEFINE_string('cache', None, 'Folder for embeddings and measures.')
  flags.DEFINE_integer('people', 2000, 'At most, without a list.')
  flags.DEFINE_integer('images', 2, 'Of each person, at most.')
  flags.DEFINE_float('rate', None, 'False-match rate of the threshold.')
  flags.DEFINE_float('threshold', None, 'In place of that rate.')
  flags.DEFINE_float('blur', 0.0, 'Pixels.')
  flags.DEFINE_integer('shrink', 0, 'Pixels; 0: as they are.')
  flags.DEFINE_float('dark', 1.0, 'Share of the brightness that is left.')
  flags.mark_flags_as_required(['model', 'faces', 'cache'])


def worth(faces: Measured) -> dict[str, np.ndarray]:
  """By measure, how good each face is; NaN where none was found."""
  fields = dict(zip(Quality._fields, faces.quality.T))
  return {
    'size': fields['size'],
    'turn': -np.maximum(np.abs(fields['yaw']), np.abs(fields['pitch'])),
    'yaw': -np.abs(fields['yaw']),
    'pitch': -np.abs(fields['pitch']),
    'sharpness': fields['sharpness'],
    'exposed': fields['exposed'],
    'norm': np.linalg.norm(faces.templates.astype(float), axis=1),
  }


def reasons_of(faces: Measured, least_norm: float) -> list[str]:
  """Why `identify` would not use each face; '' where it would."""
  norms = worth(faces)['norm']
  reasons = []
  for row, norm in zip(faces.quality, norms):
    reason = 'not found'
    if not np.isnan(row[0]):
      reason = quality.why_not(Quality(*row), Bars())
    if not reason and norm < least_norm:
      reason = 'short embedding'
    reasons.append(reason)
  return reasons


def refusing(good: np.ndarray, share: float) -> np.ndarray:
  """bool [N], all but the worst share; faces that were not found go first."""
  order = np.argsort(np.where(np.isnan(good), -np.inf, good), kind='stable')
  kept = np.ones(len(good), bool)
  kept[order[: round(share * len(good))]] = False
  return kept


def show_measures(faces: Measured, least_norm: float):
  """Prints how the faces are distributed, and how many are below each bar."""
  page_tables.print_titles(
    ('measure', 'worst', '1 %', '5 %', 'half', 'bar', 'below it %')
  )
  bars = {**dataclasses.asdict(Bars()), 'norm': least_norm}
  for name, good in worth(faces).items():
    found = good[~np.isnan(good)]
    bar = bars.get(name, 0)
    cells = [f'{abs(x):.3g}' for x in np.quantile(found, _QUANTILES)]
    below = ('', '')
    if bar:
      limit = -bar if name == 'turn' else bar
      below = f'{bar:.4g}', f'{100 * np.mean(found < limit):.2f}'
    page_tables.print_row((name, *cells, *below))
  print(f'no face is found in {np.isnan(faces.quality[:, 0]).sum():,} images')


def show_curves(faces: Measured, threshold: float):
  """Prints the false non-match rate by measure and share refused."""
  page_tables.print_titles(
    ('measure', *(f'{100 * share:g} % refused' for share in _SHARES))
  )
  for name, good in worth(faces).items():
    cells = [faces.missed(threshold, refusing(good, x)) for x in _SHARES]
    page_tables.print_row((name, *map(_shown, cells)))


def show_bars(faces: Measured, threshold: float, reasons: Sequence[str]):
  """Prints the errors of what the bars refuse, and of what they leave."""
  usable = np.array([reason == '' for reason in reasons])
  page_tables.print_titles(
    ('faces', 'images', 'false non-matches %', 'pairs', 'false matches %')
  )
  for name, kept in (('all', np.ones_like(usable)), ('usable', usable)):
    page_tables.print_row(
      (
        name,
        f'{np.sum(kept):,}',
        *_with_pairs(faces.missed(threshold, kept)),
        _false_matches(faces, threshold, kept),
      )
    )
  refused = ~np.all(usable[faces.genuine], axis=0)
  page_tables.print_row(
    (
      'pairs with one refused',
      f'{np.sum(~usable):,}',
      *_with_pairs(faces.missed(threshold, refused)),
      '',
    )
  )
  # Of 'turned by 61 degrees' the first word.
  words = [reason.split()[0] for reason in reasons if reason]
  print({word: words.count(word) for word in sorted(set(words))})


def show_turned(faces: Measured, threshold: float):
  """Prints how many missed pairs, and how many others, have a turned face."""
  turned = -worth(faces)['turn'] > Bars().turn
  turned = np.any(turned[faces.genuine], axis=0)
  missed = faces.cosines(faces.genuine) < threshold
  page_tables.print_titles(
    ('pairs of one person', 'pairs', f'with a turn above {Bars().turn:g}')
  )
  for name, chosen in (('missed', missed), ('found', ~missed)):
    page_tables.print_row(
      (name, f'{np.sum(chosen):,}', f'{np.sum(turned & chosen):,}')
    )


def _shown(rate: Rate) -> str:
  if not rate.pairs:
    return ''
  low, high = map(short_percent, (rate.low, rate.high))
  return f'{100 * rate.value:.2f} [{low}, {high}]'


def _with_pairs(rate: Rate) -> Iterator[str]:
  yield _shown(rate)
  yield f'{rate.count:,} of {rate.pairs:,}'


def _false_matches(faces: Measured, threshold: float, kept) -> str:
  people = faces.people[kept]
  if len(np.unique(people)) < 3:
    return ''
  none = np.zeros([2, 0], int)
  (row,) = match_rates.at_thresholds(
    faces.templates[kept], people, none, [threshold]
  )
  value, low, high = map(short_percent, row.false_matches[:3])
  return f'{value} [{low}, {high}]'


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


def measure_faces(crops: Sequence[np.ndarray], path: pathlib.Path):
  """`Quality` [N, 6] of the largest face of each image, NaN without one."""
  if not path.is_file():
    detect = detection.make_detector()
    rows = []
    for image in crops:
      row = [np.nan] * len(Quality._fields)
      if faces := detect(image):
        row = quality.measure(image, face_folders.largest(faces))
      rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(rows))
  return np.load(path)


def pairs_of_folder(args, size: ImageSize) -> PairSet:
  """All pairs of one person among the drawn images of a folder."""
  chosen = face_folders.choose_files(args.faces, args.people, args.images)
  people = np.array([number for number, _ in chosen])
  paths = [path for _, path in chosen]
  first, second = np.nonzero(np.triu(people[:, np.newaxis] == people, 1))

  def read(index: int) -> np.ndarray:
    if args.photographs:
      return photographs.read_photograph(paths[index])
    return images.read_image(paths[index], size)

  name = pathlib.Path(args.faces).name
  return PairSet(
    name=f'{name}_{face_folders.key_of(name, chosen)}',
    images=LazyImages(len(paths), read),
    first=first,
    second=second,
    same=np.ones(len(first), bool),
    fold=np.zeros(len(first), int),
    people=people[np.stack([first, second], axis=1)],
  )


def read_faces(args, embedder: embedders.Embedder) -> Measured:
  """Embeds and measures the faces that the flags name, or reads both."""
  size = embedder.image_size
  if args.pairs:
    pair_set = pair_lists.read_list(args.faces, args.pairs, size)
  else:
    pair_set = pairs_of_folder(args, size)
  spoil = spoiler(args)
  shown = LazyImages(
    len(pair_set.images), lambda index: spoil(pair_set.images[index])
  )
  name = pair_set.name
  if args.blur or args.shrink or args.dark != 1:
    name += f'_{args.blur:g}_{args.shrink}_{args.dark:g}'
  faces = shown
  if args.photographs:
    cut = face_cutter(embedder)
    faces = LazyImages(len(shown), lambda index: cut(shown[index]))
  embedded = face_folders.embed_pairs(
    dataclasses.replace(pair_set, name=name, images=faces),
    embedder,
    embedder.digest(face_folders.BATCH_SIZE),
    args.cache,
  )
  used = np.unique(np.stack([pair_set.first, pair_set.second]))
  found = measure_faces(
    LazyImages(len(used), lambda row: shown[int(used[row])]),
    pathlib.Path(args.cache) / f'{name}_{len(used)}_quality.npy',
  )
  people = np.zeros(len(used), int)
  people[embedded.rows] = pair_set.people.T
  genuine = embedded.rows[:, pair_set.same]
  return Measured(embedded.images, people, genuine, found)


def face_cutter(embedder) -> Callable[[np.ndarray], np.ndarray]:
  """From a photograph to the crop of its largest face; black without one."""
  finder = face_finder.FaceFinder(
    embedder.template, embedder.image_size, embedder.stored_size
  )

  def cut(photograph):
    if faces := finder.detect(photograph):
      return finder.cut(photograph, [face_folders.largest(faces)])[0]
    return np.zeros([*embedder.image_size, 3], np.uint8)

  return cut


def choose_threshold(args, faces: Measured, table: MatchTable | None) -> float:
  """That of the flags, or else the network's own."""
  if args.rate:
    rows = match_rates.measure(
      faces.templates, faces.people, faces.genuine, [args.rate]
    )
    if not rows:
      raise ValueError(f'--rate={args.rate:g}: {args.faces} has too few pairs')
    return rows[0].threshold
  if args.threshold is not None:
    return args.threshold
  if table is None:
    raise ValueError(
      f'--model={args.model} has no threshold of its own; give --rate or '
      '--threshold'
    )
  return rate_table.default_row(table).threshold


def main():
  args = flags.FLAGS
  embedder = embedders.load(args.model)
  faces = read_faces(args, embedder)
  threshold = choose_threshold(args, faces, embedder.table)
  least_norm = embedder.table.least_norm if embedder.table else 0.0
  print(f'threshold {threshold:.4f}\n')
  show_measures(faces, least_norm)
  print()
  show_curves(faces, threshold)
  print()
  show_bars(faces, threshold, reasons_of(faces, least_norm))
  print()
  show_turned(faces, threshold)


if __name__ == '__main__':
  define_flags()
  command.run(main)
