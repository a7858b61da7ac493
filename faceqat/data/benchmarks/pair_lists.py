"""Lists of pairs over a folder of face crops, as the benchmarks come with them.

`read_list` tells them apart by what they look like:

* LFW: `pairs.txt`, folds of `name i j` and `name i other j`.
* CALFW and CPLFW: two lines a pair, `image label`; label 0: two people.
* One line a pair, `image other label` or `label image other`; label 1 or true:
  one person, 0, -1 or false: two. Most lists in circulation that were made of
  AgeDB-30, CFP and others are such, and so are tables with a line of names.
* CFP-FF and CFP-FP: the folder `Protocol/Split/FF` or `FP`, in protocols.py.
* AgeDB-30: `04_FINAL_protocol_30_years.mat`, in protocols.py.

Between fields are tabs, commas or spaces (pair_lines.py). The images are crops
of one size, however they were aligned, under the names that the list has; the
suffixes of images stand for each other, in any case.
"""

import os
import re
from collections.abc import Callable, Sequence

import numpy as np

from faceqat.data.benchmarks import pair_lines, protocols
from faceqat.data.benchmarks.pair_lines import Line
from faceqat.data.benchmarks.pairs import (
  PairSet,
  consecutive_folds,
  pairs_of_files,
)
from faceqat.faces.image_files import FileIndex, ImageFiles
from faceqat.files.image_size import ImageSize


def read_list(
  root: str | os.PathLike,
  list_path: str | os.PathLike,
  image_size: ImageSize,
  stored_size: ImageSize = 0,
) -> PairSet:
  """Reads a list of pairs of any of the forms above.

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
  if os.path.isdir(list_path):
    read = protocols.read_cfp
  elif list_path.endswith('.mat'):
    read = protocols.read_agedb
  else:
    read = _reader(pair_lines.read(list_path))
  return read(root, list_path, image_size, stored_size)


def read_pairs_txt(
  root: str | os.PathLike,
  pairs_path: str | os.PathLike,
  image_size: ImageSize,
  stored_size: ImageSize = 0,
) -> PairSet:
  """Reads the list of pairs of LFW.

  The first line is `folds n` (LFW's View 2: 10 300) or `n` (View 1: one fold,
  for which there is no accuracy): every fold has n same pairs, `name i j`, and
  n different ones, `name i other j`.
  A table whose first line names its columns, as Kaggle's, has ten folds.
  Image i of a person is root/name/name_000i.jpg (or with another suffix).
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
  pairs_path = os.fspath(pairs_path)
  header, *lines = pair_lines.read(pairs_path)
  if pair_lines.names_columns([header, *lines]):
    fold, per_half = _ten_folds(pairs_path, len(lines)), None
  else:
    fold, per_half = _folds_of_header(header, pairs_path, len(lines))
  files = FileIndex(root)
  ends, same, people = [], [], []
  for line in lines:
    *both, is_same = _parse_pair(line)
    ends.append(
      [
        files.find([f'{name}/{name}_{image:04d}.jpg'], line.where)
        for name, image in both
      ]
    )
    same.append(is_same)
    people.append([name for name, _ in both])
  if per_half is not None:
    num_same = np.bincount(fold, same).astype(int)
    for index in np.flatnonzero(num_same != per_half):
      raise ValueError(
        f'Fold {index + 1} of {pairs_path} has {num_same[index]} same pairs, '
        f'its header "{header.text}" announces {per_half}: restore the list.'
      )
  return pairs_of_files(
    os.path.basename(os.path.dirname(os.path.abspath(pairs_path))),
    ImageFiles(files.paths, image_size, stored_size),
    ends,
    same,
    fold,
    people,
  )


def read_two_lines_a_pair(
  root: str | os.PathLike,
  list_path: str | os.PathLike,
  image_size: ImageSize,
  stored_size: ImageSize = 0,
) -> PairSet:
  """Reads the list of pairs of CALFW or CPLFW.

  Each pair has two lines, `image label`, with one label: 0 for two people. The
  same pairs of CALFW have the numbers of their folds, 1 to 10, those of CPLFW
  have 1; no list says in which fold a different pair is. Where there are no
  numbers, the first tenth of the pairs of a kind is the first fold, and so on:
  where CALFW has numbers, this gives the same folds.
  Image `name_0001.jpg` is in the folder itself or in its folder `name`.
  Sources: `pairs_CALFW.txt` and `pairs_CPLFW.txt` of whdeng.cn (Zheng, Deng and
  Hu 2017, "Cross-Age LFW"; Zheng and Deng 2018, "Cross-Pose LFW").

  Args:
    root: the folder of the images.
    list_path: the list.
    image_size: as in `read_list`.
    stored_size: as in `read_list`.

  Raises:
    ValueError: as `read_list` does.
  """
  list_path = os.fspath(list_path)
  lines = pair_lines.read(list_path)
  if len(lines) % 2:
    raise ValueError(
      f'{list_path} has {len(lines)} lines, wanted two for each pair: restore '
      'the list.'
    )
  files = FileIndex(root)
  ends, labels, people = [], [], []
  for upper, lower in zip(lines[::2], lines[1::2]):
    where = f'{upper.where}, and the next one'
    images, label = _images_and_label(upper, lower, where)
    names = [re.sub(r'_[0-9]+\.[A-Za-z]+$', '', image) for image in images]
    ends.append(
      [
        files.find([image, f'{name}/{image}'], where)
        for image, name in zip(images, names)
      ]
    )
    labels.append(label)
    people.append(names)
  labels = np.array(labels)
  return pairs_of_files(
    _name(list_path),
    ImageFiles(files.paths, image_size, stored_size),
    ends,
    labels != 0,
    _folds_of_labels(labels, list_path),
    people,
  )


def read_one_line_a_pair(
  root: str | os.PathLike,
  list_path: str | os.PathLike,
  image_size: ImageSize,
  stored_size: ImageSize = 0,
) -> PairSet:
  """Reads a list of pairs with a line each: `image other label`.

  Label 1 is one person, 0 or -1 are two. The folds are ten consecutive parts,
  as for `.bin` files, or those of a column `fold`. Where the images lie in
  folders, and these agree with the labels, a folder is a person; otherwise the
  people are not known.
  Source: the lists of face.evoLVe, MobileFaceNet_Pytorch and others, such as
  `agedb_30_pair.txt` and `cfp_fp_pair.txt`.

  Args:
    root: the folder of the images.
    list_path: the list.
    image_size: as in `read_list`.
    stored_size: as in `read_list`.

  Raises:
    ValueError: as `read_list` does.
  """
  list_path = os.fspath(list_path)
  files = FileIndex(root)
  ends, same, fold, people = [], [], [], []
  for line, pair in pair_lines.image_pairs(pair_lines.read(list_path)):
    ends.append([files.find([name], line.where) for name in pair[:2]])
    same.append(pair.same)
    fold.append(pair.fold)
    people.append([os.path.dirname(files.paths[index]) for index in ends[-1]])
  return pairs_of_files(
    _name(list_path),
    ImageFiles(files.paths, image_size, stored_size),
    ends,
    same,
    _ten_folds(list_path, len(same)) if None in fold else fold,
    people,
  )


def _reader(lines: list[Line]) -> Callable[..., PairSet]:
  """Of the list with these lines; LFW's says what is wrong."""
  # The first may name columns.
  counts = [pair_lines.num_images(line) for line in lines[:2]]
  if counts[0] == 1 and len(lines[0].fields) == 2:
    return read_two_lines_a_pair
  if counts[0] == 2 or (
    counts == [0, 2] and pair_lines.names_columns(lines[:2])
  ):
    return read_one_line_a_pair
  return read_pairs_txt


def _ten_folds(list_path: str, count: int) -> np.ndarray:
  if count < 10:
    raise ValueError(
      f'{list_path} has {count} pairs: ten folds need at least ten; add pairs, '
      'or leave eval.pairs empty to have some drawn.'
    )
  return consecutive_folds(count)


def _name(list_path: str) -> str:
  """Of a benchmark: `CALFW` of `pairs_CALFW.txt`."""
  stem = os.path.splitext(os.path.basename(list_path))[0]
  return re.sub(r'^pairs?_|_pairs?$', '', stem)


def _folds_of_labels(labels: np.ndarray, list_path: str) -> np.ndarray:
  """The folds of the pairs of CALFW or CPLFW, int [P]."""
  same, fold = labels != 0, np.empty_like(labels)
  for kind in (True, False):
    count = np.sum(same == kind)
    if count < 10:
      raise ValueError(
        f'{list_path} has {np.sum(same)} same and {np.sum(~same)} different '
        'pairs: ten folds need at least ten of either kind; add pairs, or '
        'leave eval.pairs empty to have some drawn.'
      )
    fold[same == kind] = consecutive_folds(count)
  if np.max(labels) > 1:
    fold[same] = np.unique(labels[same], return_inverse=True)[1]
  return fold


def _images_and_label(
  upper: Line, lower: Line, where: str
) -> tuple[list[str], int]:
  """The images of a pair of CALFW, and its label, of two lines."""
  images, (label, again) = zip(*map(_image_and_label, (upper, lower)))
  if label != again:
    raise ValueError(
      f'{where} are one pair but have the labels {label} and {again}: '
      'restore the list.'
    )
  return images, int(label)


def _image_and_label(line: Line) -> Sequence[str]:
  """The fields of one line of CALFW's list, checked."""
  if len(line.fields) != 2 or not re.fullmatch('[0-9]{1,9}', line.fields[1]):
    raise ValueError(
      f'{line.where}: "{line.text[:80].strip()}", wanted "image label".'
    )
  return line.fields


def _folds_of_header(
  header: Line, path: str, count: int
) -> tuple[np.ndarray, int]:
  """The folds of LFW's pairs, int [P], and the same pairs in each of them."""
  num_folds, per_half = _parse_header(header, path)
  expected = num_folds * 2 * per_half
  if count != expected:
    raise ValueError(
      f'{path} has {count} pairs, its header "{header.text}" announces '
      f'{expected}: restore the list.'
    )
  return np.repeat(np.arange(num_folds), 2 * per_half), per_half


def _parse_header(line: Line, path: str) -> tuple[int, int]:
  """(folds, same pairs in each fold, and as many different ones)."""
  fields = line.fields
  numbers = [
    int(field) for field in fields if re.fullmatch('[0-9]{1,9}', field)
  ]
  if len(numbers) != len(fields) or len(fields) not in (1, 2) or 0 in numbers:
    raise ValueError(
      f'{path}, line 1 is "{line.text[:60]}", {pair_lines.FORMS}.'
    )
  return (1, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def _parse_pair(line: Line):
  """((name, image), (name, image), same) of one line of LFW's list."""
  # Tables leave the last field of a same pair empty.
  fields = line.fields[:-1] if line.fields[-1:] == [''] else [*line.fields]
  is_same = len(fields) == 3
  if is_same:
    fields.insert(2, fields[0])
  numbers = fields[1::2]
  if len(fields) != 4 or not all(
    re.fullmatch('[0-9]{1,9}', number) for number in numbers
  ):
    raise ValueError(
      f'{line.where} is "{line.text[:80]}", wanted "name i j" or "name i other '
      'j".'
    )
  if not is_same and fields[0] == fields[2]:
    raise ValueError(
      f'{line.where} is a different pair of one person, {fields[0]}: write '
      'same pairs as "name i j".'
    )
  for name in fields[::2]:
    # A list from elsewhere must not read outside the folder.
    if name in ('', '.', '..') or any(sign in name for sign in '/\\\0'):
      raise ValueError(
        f'{line.where} names the person "{name}", which is no folder name.'
      )
  return (fields[0], int(numbers[0])), (fields[2], int(numbers[1])), is_same
