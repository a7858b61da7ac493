"""Verification pairs: of InsightFace's `.bin` files, or drawn from a source.

Lists of pairs over folders of images are read in pair_lists.py.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Sequence

import numpy as np

from faceqat.data.benchmarks.verification_bin import read_bin_entries
from faceqat.faces.lazy_images import encoded_images, selected
from faceqat.files.image_size import ImageSize

# Of a cross-validation, unless a list has others.
FOLDS = 10


@dataclasses.dataclass(frozen=True)
class PairSet:
  """Images and the pairs of them to compare.

  Attributes:
    name: of the benchmark, for metric names.
    images: `len(images)` and `images[i]` -> uint8 [H, W, 3], each image once.
    first: int64 [P], index of the first image of every pair.
    second: int64 [P], index of the second one.
    image_name: gives the name of an image in its source; None: no names.
    same: bool [P], whether both show the same person.
    fold: int64 [P], the part of a cross-validation that the pair is in.
    people: int64 [P, 2], a number for each person shown, the same in all pairs;
      None: unknown.
    person_names: by those numbers; None: no names.
  """

  name: str
  images: Sequence[np.ndarray]
  first: np.ndarray
  second: np.ndarray
  same: np.ndarray
  fold: np.ndarray
  people: np.ndarray | None = None
  image_name: Callable[[int], str] | None = None
  person_names: Sequence[str] | None = None

  def __post_init__(self):
    columns = (self.first, self.second, self.same, self.fold)
    lengths = {len(column) for column in columns}
    assert len(lengths) == 1, lengths
    assert 0 not in lengths, self.name
    if self.people is not None:
      shows_one = self.people[:, 0] == self.people[:, 1]
      assert np.array_equal(shows_one, self.same), self.name

  def __len__(self) -> int:
    return len(self.first)


def read_bin(
  path: str | os.PathLike, image_size: ImageSize, stored_size: ImageSize = 0
) -> PairSet:
  """Reads an InsightFace verification file, in ten consecutive folds.

  Args:
    path: a pickle of (encoded images, same), two images for each pair. Nothing
      in it is executed; see verification_bin.py.
    image_size: height and width of the images given, in pixels.
    stored_size: height and width that every image must have, resized where
      that is another size; 0: image_size.

  Raises:
    ValueError: no such file, damaged, not of this form, or below ten pairs.
  """
  path = os.fspath(path)
  entries, same = read_bin_entries(path)
  num_pairs = len(same)
  if num_pairs < 10:
    raise ValueError(
      f'{path} has {num_pairs} pairs: ten folds need at least ten'
    )

  def file(index: int) -> tuple[bytes, str]:
    return entries[index], f'{path}: image {index}'

  return PairSet(
    name=os.path.splitext(os.path.basename(path))[0],
    images=encoded_images(len(entries), file, image_size, stored_size),
    first=np.arange(0, 2 * num_pairs, 2),
    second=np.arange(1, 2 * num_pairs, 2),
    same=same,
    fold=consecutive_folds(num_pairs),
  )


def check_kinds(same: np.ndarray, path: str):
  """Refuses pairs that are all of one kind: they test no threshold.

  Args:
    same: bool [P].
    path: of the set, for the message.

  Raises:
    ValueError: all are of one kind.
  """
  num_same = int(np.sum(same))
  if num_same in (0, len(same)):
    raise ValueError(
      f'{path} has {num_same:,} pairs of the same and {len(same) - num_same:,} '
      'of different people: an evaluation needs both; add the others, or give '
      'another set'
    )


def consecutive_folds(count: int, folds: int = FOLDS) -> np.ndarray:
  """Cuts a list of pairs into parts that differ by one pair at most.

  Returns:
    int64 [count], rising.
  """
  sizes = [len(part) for part in np.array_split(np.arange(count), folds)]
  return np.repeat(np.arange(folds), sizes)


def number_people(
  names: Sequence[Sequence[str]], same: np.ndarray
) -> np.ndarray | None:
  """Numbers the names of P pairs in the order of their appearance.

  Returns:
    int64 [P, 2], or None where the names contradict `same`, bool [P], and so
    are not those of people.
  """
  numbers: dict[str, int] = {}
  people = np.array(
    [
      [numbers.setdefault(name, len(numbers)) for name in ends]
      for ends in names
    ]
  )
  shows_one = people[:, 0] == people[:, 1]
  return people if np.array_equal(shows_one, same) else None


def synthetic_pairs(
  source, num_pairs: int, seed: int, folds: int = FOLDS
) -> PairSet:
  """Draws pairs from a labelled source, in folds that share no person.

  Half of the pairs of every fold are same, half are different, and no pair
  comes twice. Same pairs go around the people of the fold in turn, so that
  people with many images do not outweigh the others.

  Args:
    source: a labelled source (synthetic or real).
    num_pairs: pairs in all, a multiple of 2 * folds.
    seed: of the draw.
    folds: parts for cross-validation; each gets its own people.

  Raises:
    ValueError: the number does not divide, or a fold has too few people or
      images for its pairs.
  """
  if folds < 1 or num_pairs < 1 or num_pairs % (2 * folds):
    raise ValueError(
      f'num_pairs is {num_pairs}, wanted a positive multiple of {2 * folds} '
      f'({folds} folds, half same and half different)'
    )
  num_people = len(source.class_names)
  if num_people < 2 * folds:
    raise ValueError(
      f'The source has {num_people} people: {folds} person-disjoint folds '
      f'need at least {2 * folds}. Use more people or fewer folds'
    )
  rng = np.random.default_rng(seed)
  per_half = num_pairs // folds // 2
  pairs = []
  for fold, members in enumerate(_folds_of_people(source, rng, folds)):
    where = f'fold {fold + 1} of {folds}, which has {len(members)} people'
    pairs += _same_pairs(members, per_half, rng, where)
    pairs += _different_pairs(members, per_half, rng, where)
  labels = np.asarray(source.labels)
  used, flat = np.unique(np.array(pairs), return_inverse=True)
  flat = flat.reshape(-1, 2)
  return PairSet(
    name='drawn',
    images=selected(source, used),
    first=flat[:, 0],
    second=flat[:, 1],
    same=np.tile(np.repeat([True, False], per_half), folds),
    fold=np.repeat(np.arange(folds), 2 * per_half),
    people=labels[used][flat].astype(np.int64),
    image_name=lambda index: source.name(int(used[index])),
    person_names=source.class_names,
  )


def draw_pairs(source, most: int, seed: int) -> PairSet:
  """Draws as many pairs as `synthetic_pairs` can from these people.

  Args:
    source: a labelled source.
    most: upper limit of the pairs.
    seed: of the draw.

  Raises:
    ValueError: there are not two folds, each with two people, one of whom has
      two images.
  """
  best = 0, 0
  for folds in range(2, min(10, len(source.class_names) // 2) + 1):
    parts = _folds_of_people(source, np.random.default_rng(seed), folds)
    per_half = min(most // (2 * folds), *map(_most_of_either, parts))
    # More folds where they have as many pairs.
    best = max(best, (2 * folds * per_half, folds))
  if not best[0]:
    sizes = np.bincount(source.labels, minlength=len(source.class_names))
    raise ValueError(
      f'there are {len(sizes)} people, {np.sum(sizes > 1)} of whom have two '
      'images or more. At least two folds are needed, of two people each, one '
      'of whom has two images: add people and images, or set eval.pairs to a '
      'list'
    )
  return synthetic_pairs(source, best[0], seed, best[1])


def _folds_of_people(source, rng, folds: int) -> list[list[np.ndarray]]:
  """For each fold the images of each of its people; folds share nobody."""
  num_people = len(source.class_names)
  ends = np.cumsum(np.bincount(source.labels, minlength=num_people))
  images = np.split(np.argsort(source.labels, kind='stable'), ends[:-1])
  return [
    [images[person] for person in people]
    for people in np.array_split(rng.permutation(num_people), folds)
  ]


def _most_of_either(members: Sequence[np.ndarray]) -> int:
  """How many same pairs there are, and as many different ones."""
  sizes = np.array([len(images) for images in members])
  same = np.sum(sizes * (sizes - 1) // 2)
  return int(min(same, (sizes.sum() ** 2 - np.sum(sizes**2)) // 2))


def _same_pairs(members, count, rng, where) -> list[tuple[int, int]]:
  """Distinct pairs of one person each, the people in turn."""
  queues = []
  for images in members:
    upper = np.triu_indices(len(images), k=1)
    take = rng.permutation(len(upper[0]))[:count]
    queues.append(list(zip(images[upper[0][take]], images[upper[1][take]])))
  # Round r has the r-th pair of everybody with that many.
  rounds = itertools.zip_longest(*queues)
  pairs = [pair for turn in rounds for pair in turn if pair is not None]
  if len(pairs) < count:
    raise ValueError(
      f'{count} same pairs are wanted in {where} with only {len(pairs)} '
      'different ones among their images: use fewer pairs or folds, or people '
      'with more images (2 at least)'
    )
  return pairs[:count]


def _different_pairs(members, count, rng, where) -> list[tuple[int, int]]:
  """Distinct pairs of two people each, the people drawn evenly."""
  sizes = np.array([len(images) for images in members])
  available = (sizes.sum() ** 2 - (sizes**2).sum()) // 2
  if available < count:
    raise ValueError(
      f'{count} different pairs are wanted in {where} with only {available} '
      'among their images: use fewer pairs or folds, or more images'
    )
  # Insertion order, unlike a set's, is the same in every run.
  pairs: dict[tuple[int, int], None] = {}
  while len(pairs) < count:
    one, other = np.sort(rng.choice(len(members), size=2, replace=False))
    image_a = members[one][rng.integers(sizes[one])]
    image_b = members[other][rng.integers(sizes[other])]
    pairs[int(image_a), int(image_b)] = None
  return list(pairs)
