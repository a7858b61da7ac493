"""Finds the data sets that the paths of a config name.

`~` is the home folder, and a folder around a single pack is that pack.
"""

import os
from collections.abc import Sequence

import ml_collections

from faceqat.data.sources import PACKS, tfds
from faceqat.files import decoding, folders

_WANTED = (
  f'wanted is a folder person/image.jpg, a pack {" or ".join(PACKS)}, or a '
  'data set tfds:NAME'
)
# By suffix of a file of another kind: the remedy.
_REMEDIES = {
  ('.zip', '.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz', '.7z', '.rar'): (
    'is an archive: unpack it and set {field} to the folder of people in it, '
    'or cut the faces out of its photographs with python -m faceqat.prepare'
  ),
  ('.gz', '.bz2', '.xz', '.zst'): (
    'is compressed: unpack it, and set {field} to what comes out'
  ),
  ('.lst', '.list', '.txt', '.csv', '.tsv'): (
    'is a list: set {field} to the folder of the images that it names'
  ),
  ('.mat',): 'is a list: set eval.pairs to it, and {field} to its images',
  ('.idx',): 'is the index of a pack: set {field} to the .rec beside it',
  ('.bin',): (
    'is a set of pairs, to evaluate on: set eval.path to it, and {field} to '
    'people to train on'
  ),
  ('.tfrecord', '.tfrecords'): (
    'has records of TensorFlow, which are read as a data set of TFDS: build '
    'one of it, and set {field} to tfds:NAME'
  ),
  decoding.SUFFIXES: (
    'is one image: set {field} to the folder that holds a folder of images for '
    'each person'
  ),
}


def is_pack(path: str) -> bool:
  """Whether it has the suffix of a pack of people, in any case."""
  return path.lower().endswith(tuple(PACKS)) and not os.path.isdir(path)


def is_bin(path: str) -> bool:
  """Whether it has the suffix of InsightFace's sets of pairs, in any case."""
  return path.lower().endswith('.bin') and not os.path.isdir(path)


def list_sets(path: str | Sequence[str], field: str) -> list[str]:
  """The folders and packs that a config names, to be trained on together.

  Args:
    path: of one set; of several with commas between them, split by
      `folders.split_paths`; of a text file `.txt` with a path a line, relative
      to its own folder; or a sequence of paths. Names `tfds:NAME` stay as they
      are, and '' alone does.
    field: of the config, for messages.

  Raises:
    ValueError: a path is empty, leads to nothing, or is there twice; or as
      `people_folder`.
  """
  if not isinstance(path, str):
    origin, sets = field, list(path)
  elif _is_text_file(path):
    origin = os.path.expanduser(path)
    sets = _read_sets(origin)
  else:
    origin, sets = f'{field}={path}', folders.split_paths(path)
    # A fault of one path is found where it is opened.
    if len(sets) < 2:
      return [_resolved(path, field)]
  if not sets or '' in sets:
    raise ValueError(
      f'{origin} names {"a set without a path" if sets else "no set"}: give '
      'the path of each'
    )
  for one in sets:
    if not _is_name(one) and not os.path.exists(os.path.expanduser(one)):
      raise ValueError(
        f'{origin} names {len(sets)} sets, and there is no {one}: a set is a '
        'folder person/image.jpg, a pack, or tfds:NAME'
      )
  sets = [_resolved(one, field) for one in sets]
  places = [one if _is_name(one) else os.path.realpath(one) for one in sets]
  for number, place in enumerate(places):
    if place in places[:number]:
      raise ValueError(f'{origin} names {sets[number]} twice: name it once')
  return sets


def shown(path: str | Sequence[str]) -> str:
  """The training sets that a config names, for messages and reports."""
  named = path if isinstance(path, str) else ', '.join(path)
  return named or 'faces that faceqat draws'


def _resolved(path: str, field: str) -> str:
  return path if not path or _is_name(path) else people_folder(path, field)


def _is_name(path: str) -> bool:
  """Whether it is a name of TFDS, and no path."""
  return path.startswith(tfds.PREFIX)


def _is_text_file(path: str) -> bool:
  path = os.path.expanduser(path)
  return path.lower().endswith('.txt') and os.path.isfile(path)


def _read_sets(path: str) -> list[str]:
  """The sets that the lines of a file name."""
  try:
    # Editors of Windows put a mark before the first line.
    with open(path, encoding='utf-8-sig') as file:
      lines = [line.strip() for line in file]
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is no list of sets: it is not UTF-8 text ({error})'
    ) from error
  sets = []
  for number, line in enumerate(lines, 1):
    if not line or _is_name(line):
      sets += [line] if line else []
      continue
    found = os.path.join(os.path.dirname(path), os.path.expanduser(line))
    if not os.path.exists(found):
      raise ValueError(
        f'{path}, line {number}: there is no {found}. A text file names sets '
        'to train on together, a folder of people or a pack a line; of a list '
        'of images, set data.path to their folder'
      )
    sets.append(found)
  return sets


def people_folder(path: str, field: str) -> str:
  """The folder of people, or the pack, that a path means.

  Args:
    path: as the config has it.
    field: of the config, for messages.

  Raises:
    ValueError: it is a file of another kind, or a folder that holds several
      packs, or packs and people; it gives the remedy.
  """
  path = os.path.expanduser(path)
  if os.path.isdir(path):
    if field == 'eval.path':
      _refuse_folder_of_pairs(path)
    return _pack_inside(path, field) or path
  if os.path.isfile(path) and not is_pack(path):
    raise ValueError(f'{field}={path} {_remedy(path, field)}; {_WANTED}')
  return path


def refuse_file(path: str, field: str):
  """Refuses a file where only a folder or a `.bin` may be.

  Raises:
    ValueError: it is a file; it gives the remedy.
  """
  if os.path.isfile(path):
    raise ValueError(
      f'{field}={path} {_remedy(path, field)}; wanted is a .bin file of pairs, '
      'or a folder of images'
    )


def _refuse_folder_of_pairs(folder: str):
  """InsightFace's folders have sets of pairs beside a pack of people."""
  bins = [e.path for e in folders.visible(folder) if is_bin(e.path)]
  if bins:
    raise ValueError(
      f'eval.path={folder} is a folder of sets of pairs: set eval.path to one, '
      f'or to several with commas between them: {",".join(bins)}'
    )


def _pack_inside(folder: str, field: str) -> str | None:
  """The pack in a folder, as in InsightFace's; None: there is none."""
  entries = folders.visible(folder)
  packs = [entry.name for entry in entries if is_pack(entry.path)]
  if not packs:
    return None
  people = [e.name for e in entries if e.is_dir() and _has_images(e.path)]
  named = [name for name in packs if os.path.splitext(name)[0] == 'train']
  chosen = named or packs
  if people or len(chosen) > 1:
    paths = ' or '.join(os.path.join(folder, name) for name in chosen[:4])
    also = f', and people such as {people[0]}' if people else ''
    raise ValueError(
      f'{field}={folder} holds {", ".join(packs[:4])}{also}: set {field} to '
      f'{paths}{", or move that away to train on the folders" * bool(people)}'
    )
  return os.path.join(folder, chosen[0])


def _has_images(folder: str) -> bool:
  with os.scandir(folder) as entries:
    return any(decoding.is_image(entry.name) for entry in entries)


def _remedy(path: str, field: str) -> str:
  for suffixes, remedy in _REMEDIES.items():
    if path.lower().endswith(suffixes):
      return remedy.format(field=field)
  return 'is a file of a kind that is not read'


def trained_on(
  evaluation: ml_collections.ConfigDict, training: ml_collections.ConfigDict
) -> list[str]:
  """Warns of evaluation sets whose people are those of the training.

  Args:
    evaluation: the block `eval`.
    training: the block `data`.

  Returns:
    A sentence for each path that is one of the training, in one, or around one.
  """
  trained = [*map(_real_path, folders.split_paths(training.path))]
  return [
    f'warning: eval.path {path} is of the training set, whose people the '
    'network knows: its figures say little of others. Evaluate on people of '
    'their own, which faceqat.prepare --split puts apart'
    for path in folders.split_paths(evaluation.path)
    if any(_share_files(_real_path(path), other) for other in trained)
  ]


def _real_path(path: str) -> str:
  return os.path.realpath(path) if os.path.exists(path) else ''


def _share_files(one: str, other: str) -> bool:
  """Whether one path is the other, or lies in it; '' shares nothing."""
  if not one or not other:
    return False
  return os.path.commonpath([one, other]) in (one, other)
