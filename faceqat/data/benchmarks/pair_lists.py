"""Lists of pairs over a folder of face crops, as the benchmarks come with them.

`read_list` tells these forms apart:

* LFW: `pairs.txt`, folds of `name i j` and `name i other j`.
* CALFW and CPLFW: two lines a pair, `image label`; label 0: two people.
* One line a pair, `image other label` or `label image other`; label 1 or true:
  one person, 0, -1 or false: two. So are most lists that were made of AgeDB-30,
  CFP and others, and tables with a line of column names.
* CFP-FF and CFP-FP: the folder `Protocol/Split/FF` or `FP`.
* AgeDB-30: `04_FINAL_protocol_30_years.mat`.

Fields are separated by tabs, commas or spaces (pair_lines.py). The images are
crops of one size under the names of the list, with any suffix of images.
"""

import collections
import itertools
import os
import re

import numpy as np

from faceqat.data.benchmarks import pair_lines, protocols
from faceqat.data.benchmarks.pair_lines import Line, ListedPair
from faceqat.data.benchmarks.pairs import (
  FOLDS,
  PairSet,
  consecutive_folds,
  number_people,
)
from faceqat.faces.image_files import FileIndex, images_of_files
from faceqat.files.image_size import ImageSize

_NUMBER = re.compile('[0-9]{1,9}')


def read_list(
  root: str | os.PathLike,
  list_path: str | os.PathLike,
  image_size: ImageSize,
  stored_size: ImageSize = 0,
) -> PairSet:
  """Reads a list of pairs of any of the forms above.

  Where it does not say which fold a pair is in, the folds are ten consecutive
  parts. Where it does not name the people, these are the folders of the images,
  unless that contradicts the labels.

  Args:
    root: the folder of the images.
    list_path: the list, or the folder of the lists.
    image_size: height and width of the images given, in pixels.
    stored_size: height and width that every image must have, resized where
      that is another size; 0: image_size.

  Raises:
    ValueError: no such list or folder, a line that is of another form than the
      first or names an image that does not exist, or too few pairs.
  """
  list_path = os.fspath(list_path)
  name, listed = _parse(list_path)
  files = FileIndex(root)
  ends, people = [], []
  for pair in listed:
    ends.append([files.find(names, pair.where) for names in pair.files])
    folders = [os.path.dirname(files.paths[index]) for index in ends[-1]]
    people.append(pair.people or folders)
  fold = [pair.fold for pair in listed]
  if None in fold:
    if len(listed) < FOLDS:
      raise ValueError(f'{list_path} has {len(listed)} pairs: {_TOO_FEW}')
    fold = consecutive_folds(len(listed))
  first, second = np.array(ends).T
  same = np.array([pair.same for pair in listed])
  return PairSet(
    name=name,
    images=images_of_files(files.paths, image_size, stored_size),
    first=first,
    second=second,
    same=same,
    fold=np.array(fold),
    people=number_people(people, same),
    # In the order of their numbers.
    person_names=list(dict.fromkeys(itertools.chain(*people))),
  )


_TOO_FEW = (
  'ten folds need at least ten; add pairs, or leave eval.pairs empty to have '
  'some drawn'
)


def _parse(list_path: str) -> tuple[str, list[ListedPair]]:
  """The name of a benchmark and its pairs."""
  if os.path.isdir(list_path):
    return protocols.list_cfp(list_path)
  if list_path.endswith('.mat'):
    return protocols.list_agedb(list_path)
  lines = pair_lines.read_pair_lines(list_path)
  # `CALFW` of `pairs_CALFW.txt`.
  stem = os.path.splitext(os.path.basename(list_path))[0]
  name = re.sub(r'^pairs?_|_pairs?$', '', stem)
  # The first may name columns.
  counts = [pair_lines.num_images(line) for line in lines[:2]]
  if counts[0] == 1 and len(lines[0].fields) == 2:
    return name, _two_lines_a_pair(lines, list_path)
  if counts[0] == 2 or (
    counts == [0, 2] and pair_lines.names_columns(lines[:2])
  ):
    return name, pair_lines.image_pairs(lines)
  folder = os.path.basename(os.path.dirname(os.path.abspath(list_path)))
  return folder, _pairs_of_lfw(lines, list_path)


def _pairs_of_lfw(lines: list[Line], path: str) -> list[ListedPair]:
  """The pairs of LFW.

  The first line is `folds n` (LFW's View 2: 10 300) or `n` (View 1: one fold,
  for which there is no accuracy): every fold has n same pairs and n different
  ones. A table whose first line names its columns, as Kaggle's, has ten folds.
  Source: http://vis-www.cs.umass.edu/lfw/README.txt, section IV.
  """
  header, *rest = lines
  if pair_lines.names_columns(lines):
    return [_pair_of_lfw(line, None) for line in rest]
  numbers = header.fields
  if len(numbers) not in (1, 2) or not all(
    _NUMBER.fullmatch(number) and int(number) for number in numbers
  ):
    raise ValueError(
      f'{path}, line 1 is "{header.text[:60]}", {pair_lines.FORMS}'
    )
  num_folds, per_half = map(int, ['1', *numbers][-2:])
  expected = num_folds * 2 * per_half
  if len(rest) != expected:
    raise ValueError(
      f'{path} has {len(rest)} pairs, its header "{header.text}" announces '
      f'{expected}: restore the list'
    )
  folds = np.repeat(np.arange(num_folds), 2 * per_half).tolist()
  pairs = [_pair_of_lfw(line, fold) for line, fold in zip(rest, folds)]
  num_same = collections.Counter(pair.fold for pair in pairs if pair.same)
  for fold in range(num_folds):
    if num_same[fold] != per_half:
      raise ValueError(
        f'Fold {fold + 1} of {path} has {num_same[fold]} same pairs, its '
        f'header "{header.text}" announces {per_half}: restore the list'
      )
  return pairs


def _pair_of_lfw(line: Line, fold: int | None) -> ListedPair:
  """Image i of a person is name/name_000i.jpg."""
  # Tables leave the last field of a same pair empty.
  fields = line.fields[:-1] if line.fields[-1:] == [''] else [*line.fields]
  same = len(fields) == 3
  if same:
    fields.insert(2, fields[0])
  people, numbers = fields[::2], fields[1::2]
  if len(fields) != 4 or not all(map(_NUMBER.fullmatch, numbers)):
    raise ValueError(
      f'{line.where} is "{line.text[:80]}", wanted "name i j" or "name i other '
      'j"'
    )
  if not same and people[0] == people[1]:
    raise ValueError(
      f'{line.where} is a different pair of one person, {people[0]}: write '
      'same pairs as "name i j"'
    )
  for name in people:
    # A list from elsewhere must not read outside the folder.
    if name in ('', '.', '..') or any(sign in name for sign in '/\\\0'):
      raise ValueError(
        f'{line.where} names the person "{name}", which is no folder name'
      )
  files = [
    [f'{name}/{name}_{int(number):04d}.jpg']
    for name, number in zip(people, numbers)
  ]
  return ListedPair(line.where, files, same, fold, people)


def _two_lines_a_pair(lines: list[Line], path: str) -> list[ListedPair]:
  """The pairs of CALFW or CPLFW.

  Both lines of a pair have one label, 0 for two people. The same pairs of CALFW
  have the numbers of their folds, 1 to 10, those of CPLFW have 1; no list says
  in which fold a different pair is. Without numbers, the first tenth of either
  kind is the first fold, and so on; CALFW's numbers give the same folds.
  Image `name_0001.jpg` is in the folder itself or in its folder `name`.
  Sources: `pairs_CALFW.txt` and `pairs_CPLFW.txt` of whdeng.cn (Zheng, Deng and
  Hu 2017, "Cross-Age LFW"; Zheng and Deng 2018, "Cross-Pose LFW").
  """
  if len(lines) % 2:
    raise ValueError(
      f'{path} has {len(lines)} lines, wanted two for each pair: restore the '
      'list'
    )
  pairs, labels = [], []
  for upper, lower in zip(lines[::2], lines[1::2]):
    where = f'{upper.where}, and the next one'
    images, (label, again) = zip(*map(_image_and_label, (upper, lower)))
    if label != again:
      raise ValueError(
        f'{where} are one pair but have the labels {label} and {again}: '
        'restore the list'
      )
    people = [re.sub(r'_[0-9]+\.[A-Za-z]+$', '', image) for image in images]
    files = [[i, f'{person}/{i}'] for i, person in zip(images, people)]
    labels.append(int(label))
    pairs.append(ListedPair(where, files, labels[-1] != 0, None, people))
  folds = _folds_of_labels(np.array(labels), path)
  return [pair._replace(fold=fold) for pair, fold in zip(pairs, folds)]


def _image_and_label(line: Line) -> list[str]:
  if len(line.fields) != 2 or not _NUMBER.fullmatch(line.fields[1]):
    raise ValueError(
      f'{line.where}: "{line.text[:80].strip()}", wanted "image label"'
    )
  return line.fields


def _folds_of_labels(labels: np.ndarray, path: str) -> np.ndarray:
  """The folds of the pairs of CALFW or CPLFW, int [P]."""
  same, fold = labels != 0, np.empty_like(labels)
  for kind in (same, ~same):
    if np.sum(kind) < FOLDS:
      raise ValueError(
        f'{path} has {np.sum(same)} same and {np.sum(~same)} different pairs: '
        f'of either kind {_TOO_FEW}'
      )
    fold[kind] = consecutive_folds(np.sum(kind))
  if np.max(labels) > 1:
    fold[same] = np.unique(labels[same], return_inverse=True)[1]
  return fold
