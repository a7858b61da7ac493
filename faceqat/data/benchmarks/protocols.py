"""The verification protocols of CFP and AgeDB, as their authors wrote them."""

import os
import re

import numpy as np

from faceqat.data.benchmarks.mat_file import read_mat
from faceqat.data.benchmarks.pair_lines import ListedPair
from faceqat.faces.image_files import read_lines

_NUMBER = re.compile('[0-9]{1,9}')


def list_cfp(split_path: str) -> tuple[str, list[ListedPair]]:
  """The name and the pairs of CFP-FF or CFP-FP.

  `Protocol/Split/FP/01` to `10` are the folds. In each, `same.txt` and
  `diff.txt` have a pair a line, `i,j`: the numbers of two images, counted from
  1 in `Protocol/Pair_list_F.txt` (frontal), the second one of FP in
  `Protocol/Pair_list_P.txt` (profile). A line of these is `i
  ../Data/Images/001/frontal/01.jpg`, and the image is 001/frontal/01.jpg.

  Source: the Readme.txt of the data set (Sengupta et al. 2016, "Frontal to
  Profile Face Verification in the Wild").

  Args:
    split_path: the folder `Protocol/Split/FF` or `Protocol/Split/FP`.

  Raises:
    ValueError: it is no such folder, a list is missing, or a line is of another
      form.
  """
  split_path = os.path.abspath(split_path)
  protocol, kind = os.path.dirname(os.path.dirname(split_path)), split_path[-2:]
  folds = sorted(filter(_NUMBER.fullmatch, os.listdir(split_path)))
  if os.path.basename(split_path) not in ('FF', 'FP') or len(folds) < 2:
    raise ValueError(
      f'{split_path} is no protocol of CFP: give Protocol/Split/FF or '
      'Protocol/Split/FP, with the folders of its folds in it'
    )
  lists = [
    _image_list(os.path.join(protocol, f'Pair_list_{letter}.txt'))
    for letter in ('F', kind[-1])
  ]
  pairs = []
  for fold, folder in enumerate(folds):
    for name in ('same.txt', 'diff.txt'):
      path = os.path.join(split_path, folder, name)
      for row, line in enumerate(read_lines(path), start=1):
        where = f'{path}, line {row}'
        images = _parse_numbers(line, lists, where)
        files, people = zip(*[([x], x.split('/')[0]) for x in images])
        pairs.append(ListedPair(where, files, name == 'same.txt', fold, people))
  return f'CFP-{kind}', pairs


def list_agedb(list_path: str) -> tuple[str, list[ListedPair]]:
  """The name and the pairs of AgeDB, such as AgeDB-30 (pairs 30 years apart).

  The .mat file has `splits`, ten cells; each holds 2 x 600 cells, a pair a
  column, of structures whose first field is the image's name without .jpg. The
  part of the name before its first `_` is the person.

  Sources: Moschoglou et al. 2017, "AgeDB"; for the layout InsightFace's
  converter, src/data/agedb2pack2.py.

  Args:
    list_path: such as `04_FINAL_protocol_30_years.mat`.

  Raises:
    ValueError: no such file, or one of another form.
  """
  try:
    folds = [_inner(split) for split in np.ravel(read_mat(list_path, 'splits'))]
    names = [
      [[_text(item) for item in pair] for pair in split.T] for split in folds
    ]
  except FileNotFoundError:
    raise ValueError(
      f'There is no list of pairs {list_path}: set eval.pairs to one'
    ) from None
  # The errors that a damaged file leads to have no type in common.
  except Exception as error:
    raise ValueError(
      f'{list_path} is no protocol of AgeDB ({type(error).__name__}: {error}): '
      'restore the file'
    ) from error
  pairs = []
  for fold, split in enumerate(names):
    for column, pair in enumerate(split, start=1):
      where = f'{list_path}, split {fold + 1}, column {column}'
      files = [[f'{name}.jpg'] for name in pair]
      one, other = people = [name.split('_')[0] for name in pair]
      pairs.append(ListedPair(where, files, one == other, fold, people))
  if not pairs:
    raise ValueError(f'{list_path} has no pairs: restore the file')
  years = re.search('([0-9]+)_years', os.path.basename(list_path))
  return f'AgeDB-{years[1]}' if years else 'AgeDB', pairs


def _image_list(path: str) -> dict[int, str]:
  """person/frontal/image.jpg by number."""
  images = {}
  for row, line in enumerate(read_lines(path), start=1):
    number, _, image = line.strip().partition(' ')
    parts = image.strip().split('/')
    if not _NUMBER.fullmatch(number) or len(parts) < 3:
      raise ValueError(
        f'{path}, line {row} is "{line[:80]}", wanted '
        '"1 ../Data/Images/001/frontal/01.jpg"'
      )
    images[int(number)] = '/'.join(parts[-3:])
  return images


def _parse_numbers(
  line: str, lists: list[dict[int, str]], where: str
) -> list[str]:
  """The two images of a line `i,j`."""
  fields = [field.strip() for field in line.split(',')]
  if len(fields) != 2 or not all(map(_NUMBER.fullmatch, fields)):
    raise ValueError(f'{where} is "{line[:80]}", wanted "1,2"')
  for field, images in zip(fields, lists):
    if int(field) not in images:
      raise ValueError(
        f'{where} names image {field}, which its Pair_list does not have'
      )
  return [images[int(field)] for field, images in zip(fields, lists)]


def _inner(split: np.ndarray) -> np.ndarray:
  """The cells [2, N] of a fold, which lie in arrays and structures of one."""
  while split.shape[0] != 2 or split.ndim != 2:
    if split.size != 1:
      raise ValueError(f'a split is of shape {split.shape}')
    split = split.reshape(-1)[0]
    split = split[0] if isinstance(split, tuple) else split
  return split


def _text(item: np.ndarray) -> str:
  """The first field of a structure that lies in arrays of one."""
  while not isinstance(item, str):
    item = item.reshape(-1)[0] if isinstance(item, np.ndarray) else item[0]
  return str(item)
