"""Writes crops as a folder set, a RecordIO pack or an ArrayRecord."""

import csv
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import numpy as np

from faceqat.data.benchmarks import pairs
from faceqat.files.image_size import ImageSize, height_width

FORMATS = ('folder', 'recordio', 'arrayrecord')
# As many as LFW has.
_NUM_PAIRS = 6000
# By person, the files of the crops, person/name.jpg.
People = Mapping[str, Sequence[str]]


def write_set(
  people: People,
  crops: str | os.PathLike,
  folder: str | os.PathLike,
  split: str,
  data_format: str,
  image_size: ImageSize,
) -> pathlib.Path:
  """Writes one data set.

  The crops of a folder set are hard links where the file system has them.

  Args:
    people: sorted by name, which is the order of the labels.
    crops: the folder of the crops.
    folder: what to write into.
    split: name of the pack, or of the folder below `folder`; '': the folder
      itself, or packs called `train`.
    data_format: one of `FORMATS`.
    image_size: height and width of the crops.

  Returns:
    The path for a config's `data.path`.
  """
  crops, folder = pathlib.Path(crops), pathlib.Path(folder)
  if data_format == 'folder':
    return _write_folder(people, crops, folder / split)
  if data_format == 'recordio' and split in ('', 'train'):
    # InsightFace's own programs read it.
    height, width = height_width(image_size)
    (folder / 'property').write_text(f'{len(people)},{height},{width}\n')
  # The workers of `crops` need no packs.
  from faceqat.data.sources import arrayrecord, recordio_writer

  writer, suffix = {
    'recordio': (recordio_writer.RecordIOWriter, '.rec'),
    'arrayrecord': (arrayrecord.ArrayRecordWriter, '.array_record'),
  }[data_format]
  path = folder / f'{split or "train"}{suffix}'
  with writer(path) as pack:
    for label, (person, files) in enumerate(people.items()):
      for file in files:
        pack.write((crops / file).read_bytes(), label, person)
  return path


def write_pairs(people: People, folder: str | os.PathLike, seed: int) -> bool:
  """Writes FOLDER_pairs.csv, pairs to evaluate on, for `eval.pairs`.

  Args:
    people: of a folder set, sorted by name.
    folder: that set.
    seed: of the draw.

  Returns:
    Whether there are people and images enough for two folds.
  """
  try:
    drawn = pairs.draw_pairs(_Names(people), _NUM_PAIRS, seed)
  except ValueError:
    return False
  folder = pathlib.Path(folder)
  path = folder.with_name(f'{folder.name}_pairs.csv')
  with open(path, 'w', encoding='utf-8', newline='') as file:
    rows = csv.writer(file)
    rows.writerow(['image', 'other', 'same', 'fold'])
    for one, other, same, fold in zip(
      drawn.first, drawn.second, drawn.same, drawn.fold
    ):
      rows.writerow([drawn.images[one], drawn.images[other], int(same), fold])
  return True


class _Names:
  """A labelled source with file names in place of images."""

  def __init__(self, people: People):
    self._files = [file for files in people.values() for file in files]
    self.class_names = list(people)
    counts = [len(files) for files in people.values()]
    self.labels = np.repeat(np.arange(len(counts)), counts)

  def __getitem__(self, index: int) -> dict[str, str]:
    return {'image': self._files[index]}


def _write_folder(
  people: People, crops: pathlib.Path, folder: pathlib.Path
) -> pathlib.Path:
  for person, files in people.items():
    (folder / person).mkdir(parents=True)
    for file in files:
      try:
        os.link(crops / file, folder / file)
      except OSError:
        shutil.copyfile(crops / file, folder / file)
  return folder
