"""Whether errors by group are what they are called, on real faces.

  python -m benchmarks.groups --model=runs/y1_ptq --cache=CACHE \
    --images=LFW/images --pairs=LFW/pairs.txt --by=random --draws=50
  python -m benchmarks.groups --model=runs/y1_ptq --cache=CACHE \
    --images=LFW/images --pairs=LFW/pairs.txt --by=brightness --csv=CSV

--by=random puts people into two halves at random, --draws times: of each error,
in float, in integers, and of what integers add, the difference of both halves
should lie within the root of the sum of their squared intervals in 95 % of the
draws. Each half is measured as `evaluate --groups` measures a group.

--by=brightness and --by=sharpness part people at the median of what their
images have in the mean, --by=images those with one image from others. --csv
writes `person,group` for `evaluate --groups`.
"""

import collections
import csv
from collections.abc import Iterator, Mapping

import cv2
import numpy as np
from absl import flags

from benchmarks import face_folders, page_tables
from faceqat import command
from faceqat.data.benchmarks import pair_lists
from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import group_rates, rate_table
from faceqat.evaluators.group_rates import GroupRates
from faceqat.evaluators.rate_table import MatchTable
from faceqat.evaluators.verification import PairEmbeddings
from faceqat.identification import embedders
from faceqat.report.results_tables import groups_table

_PRECISIONS = ('float', 'integer')


def define_flags():
  flags.DEFINE_string('model', None, 'Run, or name of a packaged network.')
  flags.DEFINE_string('images', None, 'Folder of aligned faces.')
  flags.DEFINE_string('pairs', None, 'List of pairs of them, with people.')
  flags.DEFINE_string('cache', 'cache', 'Folder for embeddings.')
  flags.DEFINE_enum(
    'by', 'random', ['random', *_MEASURES, 'images'], 'What parts people.'
  )
  flags.DEFINE_integer('draws', 50, 'Of random halves.')
  flags.DEFINE_float('rate', 1e-3, 'False-match rate of the thresholds.')
  flags.DEFINE_string('csv', None, 'File to write the groups to.')
  flags.mark_flags_as_required(['model', 'images', 'pairs'])


def _sharpness(image: np.ndarray) -> float:
  grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
  laplacian = cv2.Laplacian(grey.astype(np.float64), cv2.CV_64F)
  return float(np.var(laplacian) / max(np.var(grey), 1.0))


_MEASURES = {
  'brightness': lambda image: float(np.mean(image)),
  'sharpness': _sharpness,
}


def people_of(pair_set: PairSet, embedded: PairEmbeddings) -> np.ndarray:
  """int [M], the person of each embedded image."""
  people = np.zeros(len(embedded.images), int)
  people[embedded.rows] = pair_set.people.T
  return people


def by_images(pair_set: PairSet, people: np.ndarray) -> dict[str, str]:
  """The people with one image, and those with several."""
  counts = collections.Counter(people.tolist())
  return {
    name: 'one image' if counts[number] == 1 else 'several images'
    for number, name in enumerate(pair_set.person_names)
    if number in counts
  }


def by_measure(
  pair_set: PairSet, people: np.ndarray, by: str
) -> dict[str, str]:
  """People below and above the median of the mean of their images."""
  used = np.unique(np.stack([pair_set.first, pair_set.second]))
  measure = _MEASURES[by]
  values = [measure(pair_set.images[int(index)]) for index in used]
  means = np.bincount(people, values) / np.maximum(np.bincount(people), 1)
  median = np.median(means[np.unique(people)])
  return {
    pair_set.person_names[number]: f'low {by}'
    if means[number] < median
    else f'high {by}'
    for number in np.unique(people)
  }


def halves(
  pair_set: PairSet, people: np.ndarray, draws: int
) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
  """Both random halves of the people, as groups, again and again."""
  rng = np.random.default_rng(0)
  numbers = np.unique(people)
  for _ in range(draws):
    drawn = rng.permutation(numbers).tolist()
    middle = len(drawn) // 2
    one, other = (
      {pair_set.person_names[number]: 'half' for number in half}
      for half in (drawn[:middle], drawn[middle:])
    )
    yield one, other


def compared(one: GroupRates, other: GroupRates) -> dict[str, bool]:
  """By figure, whether two groups differ by less than their intervals."""
  found = {}
  for precision in one.rows:
    for figure in ('false_matches', 'misses'):
      found[f'{figure} {precision}'] = _alike(
        *(getattr(x.rows[precision], figure)[:3] for x in (one, other))
      )
  for figure in ('false_matches', 'misses'):
    limits = getattr(one, figure), getattr(other, figure)
    if all(limits):
      found[f'{figure} integer - float'] = _alike(*limits)
  return found


def _alike(one, other) -> bool:
  """Whether two values, each with its limits, differ by chance."""
  low, high = (one, other) if one[0] < other[0] else (other, one)
  # Towards each other.
  half = np.hypot(low[2] - low[0], high[0] - high[1])
  return bool(high[0] - low[0] <= half)


def show_halves(found: list[dict[str, bool]]):
  """Prints in how many draws both halves are alike."""
  page_tables.print_titles(('figure', 'draws', 'alike', 'alike %'))
  for figure in found[0]:
    alike = [each[figure] for each in found if figure in each]
    page_tables.print_row(
      (figure, len(alike), sum(alike), f'{100 * np.mean(alike):.0f}')
    )


def write_csv(groups: Mapping[str, str], path: str):
  """Writes `person,group`."""
  with open(path, 'w', newline='', encoding='utf-8') as file:
    csv.writer(file).writerows([('person', 'group'), *groups.items()])


def embed(
  args, pair_set: PairSet
) -> tuple[dict[str, PairEmbeddings], dict[str, MatchTable]]:
  """By precision the embeddings of all images, and their rates."""
  embedded, tables = {}, {}
  for precision in _PRECISIONS:
    network = embedders.load(args.model, precision)
    digest = network.digest(face_folders.BATCH_SIZE)
    embedded[precision] = face_folders.embed_pairs(
      pair_set, network, digest, args.cache
    )
    tables[precision] = rate_table.measure(
      pair_set,
      embedded[precision],
      network=digest,
      program='',
      faces=pair_set.name,
      provenance='',
      default_rate=args.rate,
    )
  return embedded, tables


def main():
  args = flags.FLAGS
  size = embedders.load(args.model, _PRECISIONS[0]).image_size
  pair_set = pair_lists.read_list(args.images, args.pairs, size)
  embedded, tables = embed(args, pair_set)
  people = people_of(pair_set, embedded[_PRECISIONS[0]])
  if args.by == 'random':
    found = []
    for both in halves(pair_set, people, args.draws):
      # One group at a time: all people are not measured again.
      one, other = (
        group_rates.measure(pair_set, embedded, tables, half)[0]
        for half in both
      )
      found.append(compared(one, other))
    show_halves(found)
    return
  groups = (
    by_images(pair_set, people)
    if args.by == 'images'
    else by_measure(pair_set, people, args.by)
  )
  if args.csv:
    write_csv(groups, args.csv)
  print(groups_table(group_rates.measure(pair_set, embedded, tables, groups)))


if __name__ == '__main__':
  define_flags()
  command.run(main)
