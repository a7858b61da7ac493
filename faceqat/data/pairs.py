"""Verification pairs: LFW-style lists, and pairs drawn from a labelled source.

InsightFace's `.bin` files are read in verification_bin.py.
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Sequence

import numpy as np

from faceqat.data import images as face_images
from faceqat.data.verification_bin import read_bin_entries

_PAIR_SUFFIXES = ('.jpg', '.jpeg', '.png')


@dataclasses.dataclass(frozen=True)
class PairSet:
  """Images and the pairs of them to compare.

  Attributes:
    name: of the benchmark, for metric names.
    images: `len(images)` and `images[i]` -> uint8 [H, W, 3]; each image that
      pairs name is here once.
    first: int64 [P], index of the first image of every pair.
    second: int64 [P], index of the second one.
    same: bool [P], whether both show the same person.
    fold: int64 [P], the part of a cross-validation that the pair belongs to.
    people: int64 [P, 2], a number for each person shown, the same in all pairs;
      None where the benchmark does not say who they are.
  """

  name: str
  images: Sequence[np.ndarray]
  first: np.ndarray
  second: np.ndarray
  same: np.ndarray
  fold: np.ndarray
  people: np.ndarray | None = None

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


class _EncodedImages:
  """Encoded images in memory, decoded when asked for."""

  def __init__(self, entries: list, name: str, sizes: tuple[int, int]):
    self._entries = entries
    self._name = name
    self._sizes = sizes

  def __len__(self) -> int:
    return len(self._entries)

  def __getitem__(self, index: int) -> np.ndarray:
    name = f'{self._name}: image {index}'
    data = bytes(self._entries[index])
    return face_images.decode_image(data, name, *self._sizes)


class _ImageFiles:
  """Image files, read when asked for."""

  def __init__(self, paths: list[str], sizes: tuple[int, int]):
    self._paths = paths
    self._sizes = sizes

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> np.ndarray:
    path = self._paths[index]
    with open(path, 'rb') as file:
      data = file.read()
    return face_images.decode_image(data, path, *self._sizes)


class SourceImages:
  """The images of a source at some indices, without their labels."""

  def __init__(self, source, indices: np.ndarray):
    self._source = source
    self._indices = indices

  def __len__(self) -> int:
    return len(self._indices)

  def __getitem__(self, index: int) -> np.ndarray:
    return self._source[int(self._indices[index])]['image']


def read_bin(
  path: str | os.PathLike, image_size: int, stored_size: int = 0
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
      f'{path} has {num_pairs} pairs: ten folds need at least ten.'
    )
  folds = np.array_split(np.arange(num_pairs), 10)
  return PairSet(
    name=_stem(path),
    images=_EncodedImages(entries, path, (image_size, stored_size)),
    first=np.arange(0, 2 * num_pairs, 2),
    second=np.arange(1, 2 * num_pairs, 2),
    same=same,
    fold=np.repeat(np.arange(10), [len(fold) for fold in folds]),
  )


def read_pairs_txt(
  root: str | os.PathLike,
  pairs_path: str | os.PathLike,
  image_size: int,
  stored_size: int = 0,
) -> PairSet:
  """Reads an LFW-style list of pairs.

  The first line is `folds n` (LFW's View 2: 10 300) or `n` (one fold): every
  fold has n same pairs, `name i j`, and n different ones, `name i other j`.
  Image i of a person is root/name/name_000i.jpg (or .jpeg, .png).
  Source: http://vis-www.cs.umass.edu/lfw/README.txt, section IV.

  Args:
    root: the folder of the images.
    pairs_path: the list.
    image_size: height and width of the images given, in pixels.
    stored_size: height and width that every image must have, resized where
      that is another size; 0: image_size.

  Raises:
    ValueError: no such file, a line that is not of this form or names an image
      that does not exist, or another number of pairs than the header says.
  """
  root, pairs_path = os.fspath(root), os.fspath(pairs_path)
  lines = _lines(pairs_path)
  num_folds, per_half = _parse_header(lines[0], pairs_path)
  expected = num_folds * 2 * per_half
  if len(lines) - 1 != expected:
    raise ValueError(
      f'{pairs_path} has {len(lines) - 1} pairs, its header "{lines[0]}" '
      f'announces {expected}: restore the list.'
    )
  files = _FileIndex(root)
  first, second, same, people = [], [], [], []
  numbers: dict[str, int] = {}
  for number, line in enumerate(lines[1:], start=2):
    where = f'{pairs_path}, line {number}'
    (name_a, image_a), (name_b, image_b), is_same = _parse_pair(line, where)
    first.append(files.find(name_a, image_a, where))
    second.append(files.find(name_b, image_b, where))
    same.append(is_same)
    people.append(
      [numbers.setdefault(name, len(numbers)) for name in (name_a, name_b)]
    )
  same = np.array(same)
  fold = np.repeat(np.arange(num_folds), 2 * per_half)
  for index in range(num_folds):
    num_same = int(same[fold == index].sum())
    if num_same != per_half:
      raise ValueError(
        f'Fold {index + 1} of {pairs_path} has {num_same} same pairs, its '
        f'header "{lines[0]}" announces {per_half}: restore the list.'
      )
  return PairSet(
    name=os.path.basename(os.path.dirname(os.path.abspath(pairs_path))),
    images=_ImageFiles(files.paths, (image_size, stored_size)),
    first=np.array(first),
    second=np.array(second),
    same=same,
    fold=fold,
    people=np.array(people),
  )


def synthetic_pairs(
  source, num_pairs: int, seed: int, folds: int = 10
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
      f'({folds} folds, half same and half different).'
    )
  num_people = len(source.class_names)
  if num_people < 2 * folds:
    raise ValueError(
      f'The source has {num_people} people: {folds} person-disjoint folds '
      f'need at least {2 * folds}. Use more people or fewer folds.'
    )
  rng = np.random.default_rng(seed)
  per_half = num_pairs // folds // 2
  labels = np.asarray(source.labels)
  pairs = []
  for fold, people in enumerate(
    np.array_split(rng.permutation(num_people), folds)
  ):
    members = [np.flatnonzero(labels == person) for person in people]
    where = f'fold {fold + 1} of {folds}, which has {len(people)} people'
    pairs += _same_pairs(members, per_half, rng, where)
    pairs += _different_pairs(members, per_half, rng, where)
  used, flat = np.unique(np.array(pairs), return_inverse=True)
  flat = flat.reshape(-1, 2)
  return PairSet(
    name='pairs',
    images=SourceImages(source, used),
    first=flat[:, 0],
    second=flat[:, 1],
    same=np.tile(np.repeat([True, False], per_half), folds),
    fold=np.repeat(np.arange(folds), 2 * per_half),
    people=labels[used][flat].astype(np.int64),
  )


def _same_pairs(members, count, rng, where) -> list[tuple[int, int]]:
  """Distinct pairs of one person each, the people in turn."""
  queues = []
  for images in members:
    upper = np.triu_indices(len(images), k=1)
    take = rng.permutation(len(upper[0]))[:count]
    queues.append(list(zip(images[upper[0][take]], images[upper[1][take]])))
  # Round r has the r-th pair of everybody who has so many.
  rounds = itertools.zip_longest(*queues)
  pairs = [pair for turn in rounds for pair in turn if pair is not None]
  if len(pairs) < count:
    raise ValueError(
      f'{count} same pairs are wanted in {where} with only {len(pairs)} '
      'different ones among their images: use fewer pairs or folds, or people '
      'with more images (2 at least).'
    )
  return pairs[:count]


def _different_pairs(members, count, rng, where) -> list[tuple[int, int]]:
  """Distinct pairs of two people each, the people drawn evenly."""
  sizes = np.array([len(images) for images in members])
  available = (sizes.sum() ** 2 - (sizes**2).sum()) // 2
  if available < count:
    raise ValueError(
      f'{count} different pairs are wanted in {where} with only {available} '
      'among their images: use fewer pairs or folds, or more images.'
    )
  # Insertion order, unlike a set's, is the same in every run.
  pairs: dict[tuple[int, int], None] = {}
  while len(pairs) < count:
    one, other = np.sort(rng.choice(len(members), size=2, replace=False))
    image_a = members[one][rng.integers(sizes[one])]
    image_b = members[other][rng.integers(sizes[other])]
    pairs[int(image_a), int(image_b)] = None
  return list(pairs)


def _stem(path: str) -> str:
  return os.path.splitext(os.path.basename(path))[0]


def _lines(path: str) -> list[str]:
  """The lines of a list of pairs without trailing blank ones."""
  try:
    with open(path, encoding='utf-8') as file:
      lines = file.read().rstrip().split('\n')
  except FileNotFoundError:
    raise ValueError(f'There is no list of pairs {path}.') from None
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is no list of pairs: it is not UTF-8 text ({error}).'
    ) from error
  return lines


def _parse_header(line: str, path: str) -> tuple[int, int]:
  """(folds, same pairs in each fold, and as many different ones)."""
  fields = line.split()
  numbers = [int(field) for field in fields if re.fullmatch('[0-9]+', field)]
  if len(numbers) != len(fields) or len(fields) not in (1, 2) or 0 in numbers:
    raise ValueError(
      f'{path}, line 1 is "{line[:60]}", wanted "folds n" (such as "10 300") '
      'or "n": the number of same pairs in each fold.'
    )
  return (1, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def _parse_pair(line: str, where: str):
  """((name, image), (name, image), same) of one line."""
  # Official lists have tabs, copies of them spaces.
  fields = line.split('\t') if '\t' in line else line.split()
  if len(fields) == 3:
    fields.insert(2, fields[0])
    is_same = True
  else:
    is_same = False
  numbers = [field.strip() for field in fields[1::2]]
  if len(fields) != 4 or not all(
    re.fullmatch('[0-9]{1,9}', number) for number in numbers
  ):
    raise ValueError(
      f'{where} is "{line[:80]}", wanted "name i j" or "name i other j".'
    )
  if not is_same and fields[0] == fields[2]:
    raise ValueError(
      f'{where} is a different pair of one person, {fields[0]}: write same '
      'pairs as "name i j".'
    )
  one = (fields[0], int(numbers[0]))
  other = (fields[2], int(numbers[1]))
  return one, other, is_same


class _FileIndex:
  """Finds root/name/name_%04d.* and gives each file one index."""

  def __init__(self, root: str):
    if not os.path.isdir(root):
      raise ValueError(
        f'There is no image folder {root}: give the folder that holds one '
        'folder of images for each person of the list.'
      )
    self._root = root
    self._indices: dict[tuple[str, int], int] = {}
    self.paths: list[str] = []

  def find(self, name: str, image: int, where: str) -> int:
    """The index of an image in `paths`."""
    if (name, image) in self._indices:
      return self._indices[name, image]
    # A list from elsewhere must not read outside the folder.
    if name in ('', '.', '..') or any(sign in name for sign in '/\\\0'):
      raise ValueError(
        f'{where} names the person "{name}", which is no folder name.'
      )
    stem = os.path.join(self._root, name, f'{name}_{image:04d}')
    for suffix in _PAIR_SUFFIXES:
      if os.path.isfile(stem + suffix):
        break
    else:
      raise ValueError(
        f'{where} names an image that does not exist: {stem}.jpg (nor '
        f'{" or ".join(_PAIR_SUFFIXES[1:])}).'
      )
    self._indices[name, image] = len(self.paths)
    self.paths.append(stem + suffix)
    return self._indices[name, image]
