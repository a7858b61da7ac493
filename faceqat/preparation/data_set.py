"""From crops of people to a folder set, a RecordIO pack or an ArrayRecord."""

import csv
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import numpy as np

from faceqat.data.benchmarks import pairs
from faceqat.files.image_size import ImageSize, height_width

FORMATS = ('folder', 'recordio', 'arrayrecord')
# To evaluate on: as many as LFW has.
_NUM_PAIRS = 6000
# By person, the files of the crops below the folder that holds them.
People = Mapping[str, Sequence[str]]


def write(
  people: People,
  crops: str | os.PathLike,
  folder: str | os.PathLike,
  split: str,
  data_format: str,
  image_size: ImageSize,
) -> pathlib.Path:
  """Writes one data set.

  Crops in a folder set are hard links where the file system has them, and so
  take no room twice.

  Args:
    people: sorted by name, which is the order of the labels.
    crops: the folder that holds them.
    folder: what to write into.
    split: the name of the pack, or of the folder below `folder`; empty: the
      folder itself, and packs are called `train`.
    data_format: one of `FORMATS`.
    image_size: height and width of the crops.

  Returns:
    What a config's `data.path` has to name.
  """
  crops, folder = pathlib.Path(crops), pathlib.Path(folder)
  if data_format == 'folder':
    return _write_folder(people, crops, folder / split)
  if data_format == 'recordio' and split in ('', 'train'):
    # What InsightFace's own programs want to know of what they train on.
    height, width = height_width(image_size)
    (folder / 'property').write_text(f'{len(people)},{height},{width}\n')
  # What reads and writes packs is not needed by workers.
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
  """Writes FOLDER_pairs.csv: pairs to evaluate on, for `eval.pairs`.

  Args:
    people: of a folder set, sorted by name.
    folder: that set.
    seed: of the draw.

  Returns:
    Whether there are people and images enough for two folds of pairs.
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
  """A labelled source of files' names in place of images."""

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
