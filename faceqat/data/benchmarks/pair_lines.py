"""Lines of lists of pairs, however their fields are separated and ordered.

Tabs, commas or spaces stand between fields, names may have spaces, the label
comes first or last, and a first line may name the columns.
"""

import csv
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from faceqat.faces.image_files import read_lines
from faceqat.files import decoding

FORMS = (
  'wanted "image other 1" for one person and "image other 0" for two (or "1 '
  'image other", or -1, true, false), "name i j" and "name i other j" below a '
  'line "folds n" as LFW has it, or a pair in two lines "image label" as CALFW '
  'has it; between fields are tabs, commas or spaces, and images have their '
  'suffix'
)
_LABELS = {'1': True, '0': False, '-1': False, 'true': True, 'false': False}
# Columns of tables, as pandas writes them.
_LABEL_COLUMN = re.compile(r'(is_?)?(same|match)|label|target|y', re.IGNORECASE)
_SUFFIX = '|'.join(map(re.escape, decoding.SUFFIXES))
_ENDS = re.compile(_SUFFIX, re.IGNORECASE)
# Of a line: suffixes, which may stand inside of names too, and words.
_MOST_IMAGES, _MOST_WORDS = 10, 50
# Names may have spaces: an image ends where a suffix does.
_IMAGE = rf'(\S.*?(?:{_SUFFIX}))'
_SPACED = [
  re.compile(rf'\s*{form}\s*', re.IGNORECASE)
  for form in (
    rf'{_IMAGE}\s+{_IMAGE}\s+(-?[01]|true|false)',
    rf'(-?[01]|true|false)\s+{_IMAGE}\s+{_IMAGE}',
    rf'{_IMAGE}\s+([0-9]+)',
  )
]
_NAMES = [
  re.compile(form)
  for form in (
    r'(\S+) ([0-9]+) (\S+) ([0-9]+)',
    r'(.+) ([0-9]+) ([0-9]+)',
    r'(.+?) ([0-9]+) (.+?) ([0-9]+)',
  )
]


class Line(NamedTuple):
  """A line of a list.

  Attributes:
    where: file and number, for messages.
    text: the whole line.
    fields: its fields, without separators.
  """

  where: str
  text: str
  fields: list[str]


class ListedPair(NamedTuple):
  """A pair of images as a list has it.

  Attributes:
    where: its place in the list, for messages.
    files: of either image the paths that it may have, `folder/image.jpg`.
    same: whether both show one person.
    fold: its part of the cross-validation; None: the list does not say.
    people: who is shown on either; None: the list does not say.
  """

  where: str
  files: Sequence[Sequence[str]]
  same: bool
  fold: int | None = None
  people: Sequence[str] | None = None


def read_pair_lines(path: str | os.PathLike) -> list[Line]:
  """Reads the lines of a list.

  Raises:
    ValueError: there is no such file, or it is no text.
  """
  return [
    Line(f'{os.fspath(path)}, line {number}', line, _fields(line))
    for number, line in enumerate(read_lines(path), start=1)
  ]


def num_images(line: Line) -> int:
  """How many fields name image files."""
  return sum(map(decoding.is_image, line.fields))


def names_columns(lines: list[Line]) -> bool:
  """Whether the first line says what the columns are."""
  fields = [field for field in lines[0].fields if field]
  return (
    len(lines) > 1
    and len(fields) > 2
    and not num_images(lines[0])
    and not any(re.fullmatch('-?[0-9.]+', field) for field in fields)
  )


def image_pairs(lines: list[Line]) -> list[ListedPair]:
  """The pairs of a list that has one in each line.

  Source: the lists of face.evoLVe, MobileFaceNet_Pytorch and others, such as
  `agedb_30_pair.txt` and `cfp_fp_pair.txt`.

  Raises:
    ValueError: a line is of another form, which is shown beside those that
      are read.
  """
  header, pairs = [], []
  if names_columns(lines):
    header, lines = lines[0].fields, lines[1:]
  named = [i for i, name in enumerate(header) if _LABEL_COLUMN.fullmatch(name)]
  folds = [i for i, name in enumerate(header) if name.lower() == 'fold']
  for line in lines:
    fields = line.fields
    images = [i for i, field in enumerate(fields) if decoding.is_image(field)]
    labels = named or [
      i for i, field in enumerate(fields) if not decoding.is_image(field)
    ]
    if (
      len(images) != 2
      or len(labels) != 1
      or len(fields) != (len(header) or 3)
      # pandas writes 1.0 where a column has gaps.
      or (label := fields[labels[0]].lower().removesuffix('.0')) not in _LABELS
      or not all(re.fullmatch('[0-9]{1,6}', fields[i]) for i in folds)
    ):
      raise ValueError(f'{line.where}: "{line.text[:80].strip()}", {FORMS}')
    files = [[fields[i]] for i in images]
    fold = int(fields[folds[0]]) if folds else None
    pairs.append(ListedPair(line.where, files, _LABELS[label], fold))
  return pairs


def _fields(line: str) -> list[str]:
  # Lines of more are of no pair, and would keep the patterns busy.
  count = len(_ENDS.findall(line))
  for form in _SPACED if count <= _MOST_IMAGES else ():
    if match := form.fullmatch(line):
      return list(match.groups())
  if '\t' in line:
    fields = line.split('\t')
  elif ',' in line:
    try:
      fields = next(csv.reader([line]))
    except csv.Error:
      return [line]
  else:
    fields = line.split()
    for form in _NAMES if len(fields) <= _MOST_WORDS else ():
      if match := form.fullmatch(' '.join(fields)):
        return list(match.groups())
  return [field.strip() for field in fields]
