"""What a path of a config leads to, and what to give where it is another thing.

`~` is the home folder, and a folder around a single pack is that pack.
"""

import os

from faceqat import decoding, folders

PACKS = ('.rec', '.array_record')
_WANTED = (
  'wanted is a folder person/image.jpg, a pack .rec or .array_record, or a '
  'data set tfds:NAME'
)
# Files that are given in place of these, and what to do with each.
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
  """Whether it is called as packs of people are, in any case."""
  return path.lower().endswith(PACKS) and not os.path.isdir(path)


def is_bin(path: str) -> bool:
  """Whether it is called as InsightFace's sets of pairs are, in any case."""
  return path.lower().endswith('.bin') and not os.path.isdir(path)


def find_people(path: str, field: str) -> str:
  """The folder of people, or the pack, that a path means.

  Args:
    path: as the config has it.
    field: that of the config, for messages.

  Raises:
    ValueError: it is a file of another kind, or a folder that holds several
      packs, or packs and people; it says what to give.
  """
  path = os.path.expanduser(path)
  if os.path.isdir(path):
    if field == 'eval.path':
      _refuse_folder_of_pairs(path)
    return _pack_inside(path, field) or path
  if os.path.isfile(path) and not is_pack(path):
    raise ValueError(f'{field}={path} {_remedy(path, field)}; {_WANTED}.')
  return path


def refuse_file(path: str, field: str):
  """Where only a folder, or a `.bin`, may be.

  Raises:
    ValueError: it is a file; it says what to give.
  """
  if os.path.isfile(path):
    raise ValueError(
      f'{field}={path} {_remedy(path, field)}; wanted is a .bin file of pairs, '
      'or a folder of images.'
    )


def _refuse_folder_of_pairs(folder: str):
  """InsightFace's folders hold sets of pairs beside a pack of other people."""
  bins = [e.path for e in folders.visible(folder) if is_bin(e.path)]
  if bins:
    raise ValueError(
      f'eval.path={folder} is a folder of sets of pairs: set eval.path to one, '
      f'or to several with commas between them: {",".join(bins)}.'
    )


def _pack_inside(folder: str, field: str) -> str | None:
  """The pack that a folder holds, as InsightFace's do; None: there is none."""
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
      f'{paths}{", or move that away to train on the folders" * bool(people)}.'
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
