"""Data sets of tensorflow-datasets (TFDS) that TFDS has prepared.

Nothing is downloaded or prepared here, and no code of a data set runs: `tfds
build` does that, and needs TensorFlow. Reading does not; TFDS itself is
imported when a source is made.
"""

import array
import contextlib
import os
import pathlib
import re
import struct
from collections.abc import Iterable
from typing import IO, Any

import numpy as np

from faceqat.data.sources.crc32c import masked_crc32c
from faceqat.data.sources.labelled import EncodedSource
from faceqat.data.sources.name_list import Names
from faceqat.files import strict_json
from faceqat.files.image_size import ImageSize

PREFIX = 'tfds:'

_PATH = re.compile(
  r'tfds:(?P<name>\w+(/[\w.+-]+)?)'
  r'(:(?P<version>[0-9]+\.[0-9]+\.[0-9]+))?(:(?P<split>.+))?'
)
# Before each record of a .tfrecord file: its length and a checksum of that.
# After it: its own.
_LENGTH, _CHECKSUM = struct.Struct('<Q'), struct.Struct('<I')


class TFDSSource(EncodedSource):
  """Labelled images of a data set of TFDS, in the order of its files.

  The images stay in their files, `.array_record` or `.tfrecord`, whatever their
  number; their labels are read once, for which all files are gone through. The
  class names are those that the split has images of, in the order of the data
  set's classes, or else sorted.

  Attributes:
    folder: where TFDS keeps the data set.
  """

  def __init__(
    self,
    path: str,
    image_size: ImageSize,
    stored_size: ImageSize = 0,
    data_dir: str | os.PathLike = '',
  ):
    """Opens the data set and reads the labels.

    Args:
      path: `tfds:NAME`, or `tfds:NAME/CONFIG:VERSION:SPLIT`, where all but the
        name may be left out. SPLIT is as TFDS takes it, such as `train+test`;
        without it, `train` or the only one.
      image_size: as of `EncodedSource`.
      stored_size: as of `EncodedSource`.
      data_dir: the folder that TFDS keeps its data sets in; '': its own.

    Raises:
      ValueError: TFDS is not installed; no such data set, version or split is
        prepared; it has not one image and one label an example; an image
        without a label; no images.
    """
    super().__init__(path, image_size, stored_size)
    self.folder = find_folder(path, data_dir)
    _check_classes(self.folder / 'features.json')
    tfds = _import_tfds()
    builder = tfds.builder_from_directory(self.folder)
    self._image, self._label = _keys(path, builder.info.features, tfds)
    # Whatever else an example has is not decoded.
    self._features = tfds.features.FeaturesDict(
      {key: builder.info.features[key] for key in (self._image, self._label)}
    )
    self._decoders = {self._image: tfds.decode.SkipDecoding()}
    self._records = _open_records(path, builder, tfds)
    self._read_people(tfds)

  def name(self, index: int) -> str:
    return f'{self.path}: example {index}'

  def _stored(self) -> list[pathlib.Path]:
    return sorted(self.folder.iterdir())

  def _bytes(self, index: int) -> bytes:
    return self._example(index)[self._image]

  def _example(self, index: int) -> dict[str, Any]:
    # Libraries for files and records have errors of their own.
    try:
      return self._features.deserialize_example_np(
        self._records[int(index)], decoders=self._decoders
      )
    except Exception as error:
      raise ValueError(
        f'{self.name(index)} cannot be read ({type(error).__name__}: {error}): '
        f'a file in {self.folder} is damaged; prepare the data set again'
      ) from error

  def _read_people(self, tfds):
    count, feature = len(self._records), self._features[self._label]
    values = (self._example(index)[self._label] for index in range(count))
    if isinstance(feature, tfds.features.Text):
      texts = (value.decode('utf-8', 'replace') for value in values)
      self._set_people(*_numbered(texts, count))
      return
    numbers = np.fromiter(values, np.int64, count)
    kept, labels = np.unique(numbers, return_inverse=True)
    names = map(str, kept)
    if isinstance(feature, tfds.features.ClassLabel):
      # So TFDS marks what has no label, as in the test split of a contest.
      if np.any(kept < 0):
        raise ValueError(
          f'{self.name(int(np.argmin(numbers)))} has no label: give another '
          'split'
        )
      names = (feature.int2str(int(number)) for number in kept)
    self._set_people(labels, Names(names))


def _numbered(texts: Iterable[str], count: int) -> tuple[np.ndarray, Names]:
  """The labels of `count` names, and the different names, sorted."""
  number_of: dict[str, int] = {}
  numbers = np.fromiter(
    (number_of.setdefault(text, len(number_of)) for text in texts),
    np.int32,
    count,
  )
  names = sorted(number_of)
  label_of = np.empty(len(names), np.int32)
  for label, name in enumerate(names):
    label_of[number_of[name]] = label
  return label_of[numbers], Names(names)


def find_folder(path: str, data_dir: str | os.PathLike = '') -> pathlib.Path:
  """The folder that TFDS has prepared a data set in.

  Args:
    path: `tfds:NAME/CONFIG:VERSION:SPLIT`, as above; without a version, the
      highest there is.
    data_dir: the folder that TFDS keeps its data sets in; '': its own.

  Raises:
    ValueError: there is none; it says what there is, and how to make it.
  """
  match = _PATH.fullmatch(path)
  if match is None:
    raise ValueError(
      f'{path} names no data set of TFDS; wanted tfds:NAME, or '
      'tfds:NAME/CONFIG:VERSION:SPLIT, such as tfds:lfw:train'
    )
  name, version = match['name'], match['version']
  own = os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  root = pathlib.Path(data_dir or own).expanduser()
  versions = _prepared(root / name)
  if not versions:
    configs = [
      folder.name for folder in _folders(root / name) if _prepared(folder)
    ]
    if configs:
      raise ValueError(
        f'{path}: {root / name} has configs; give one of them, as in '
        f'tfds:{name}/{configs[0]}: {", ".join(configs)}'
      )
    there = ', '.join(folder.name for folder in _folders(root)) or 'none'
    raise ValueError(
      f'{path}: TFDS has prepared no {name} in {root} (there: {there}); make '
      f'it with `tfds build {name} --data_dir={root}`, which needs TensorFlow; '
      'or name another folder in data.tfds_dir'
    )
  if version is None:
    return max(versions, key=lambda folder: _numbers(folder.name))
  if root / name / version not in versions:
    raise ValueError(
      f'{path}: {root / name} has no version {version}; there are '
      f'{", ".join(folder.name for folder in versions)}'
    )
  return root / name / version


def _prepared(folder: pathlib.Path) -> list[pathlib.Path]:
  """The versions of a data set, rising."""
  versions = [
    path
    for path in _folders(folder)
    if re.fullmatch(r'[0-9]+\.[0-9]+\.[0-9]+', path.name)
    and (path / 'features.json').is_file()
  ]
  return sorted(versions, key=lambda path: _numbers(path.name))


def _numbers(version: str) -> list[int]:
  return [int(number) for number in version.split('.')]


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
  if not folder.is_dir():
    return []
  return sorted(path for path in folder.iterdir() if path.is_dir())


def _import_tfds():
  try:
    import tensorflow_datasets
  except ImportError as error:
    raise ValueError(
      f'tfds: paths need tensorflow-datasets, which is not there ({error}); '
      "install it with `pip install 'faceqat[tfds]'`, or in a checkout with "
      '`pip install -r requirements-tfds.txt`'
    ) from error
  return tensorflow_datasets


def _check_classes(path: pathlib.Path):
  """TFDS imports the modules that this file names: none but its own may be."""
  try:
    nodes = [strict_json.parse(path.read_bytes())]
    while nodes:
      node = nodes.pop()
      if isinstance(node, str):
        # Some features are described by JSON in a string.
        with contextlib.suppress(strict_json.NoJSONError):
          nodes.append(strict_json.parse(node))
      elif isinstance(node, list):
        nodes += node
      elif isinstance(node, dict):
        nodes += node.values()
        for key in ('pythonClassName', 'python_class_name', 'type'):
          name = node.get(key)
          own = str(name).startswith('tensorflow_datasets.')
          if '.' in str(name) and not own:
            raise ValueError(f'it asks for {name}, which is not one')
  except ValueError as error:
    raise ValueError(
      f'{path} does not describe a data set by features of TFDS: {error}'
    ) from error


def _keys(path: str, features, tfds) -> tuple[str, str]:
  """The names of the image and of the label in an example."""
  kinds = tfds.features

  def is_image(feature) -> bool:
    return isinstance(feature, kinds.Image) and feature.np_dtype == np.uint8

  def is_label(feature) -> bool:
    if isinstance(feature, (kinds.ClassLabel, kinds.Text)):
      return True
    scalar = isinstance(feature, kinds.Tensor) and feature.shape == ()
    return scalar and np.issubdtype(feature.np_dtype, np.integer)

  def find(wanted, fits) -> str:
    names = [name for name, feature in features.items() if fits(feature)]
    if wanted in names:
      return wanted
    if len(names) != 1:
      raise ValueError(
        f'{path} has {len(names)} features that may be the {wanted}, and none '
        f'of that name; wanted one. Its features: {dict(features)}'
      )
    return names[0]

  return find('image', is_image), find('label', is_label)


def _open_records(path: str, builder, tfds):
  """A sequence of the encoded examples of a split."""
  splits = builder.info.splits
  split = _PATH.fullmatch(path)['split']
  if split is None:
    split = 'train' if 'train' in splits or len(splits) != 1 else min(splits)
  try:
    instructions = splits[split].file_instructions
  except (ValueError, KeyError) as error:
    raise ValueError(
      f'{path}: there is no split {split}; there are {", ".join(splits)}'
    ) from error
  file_format = builder.info.file_format.value
  if file_format == 'array_record':
    return builder.as_data_source(
      split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
  if file_format == 'tfrecord':
    return _TFRecords(instructions)
  raise ValueError(
    f'{path} is stored as {file_format}; convert it with `tfds convert_format '
    f'--dataset_version_dir={builder.data_path} '
    '--out_file_format=array_record --out_dir=...`'
  )


class _TFRecords:
  """The records of `.tfrecord` files, found once and read when asked for."""

  def __init__(self, instructions):
    self._files = [os.fspath(part.filename) for part in instructions]
    # Of each file, the number in it of the first record that counts.
    self._skipped = [part.skip for part in instructions]
    offsets = []
    for path, part in zip(self._files, instructions):
      found = _scan(path)
      if len(found) != part.examples_in_shard:
        raise ValueError(
          f'{path} has {len(found)} records, TFDS wrote '
          f'{part.examples_in_shard}: prepare the data set again'
        )
      taken = found[part.skip : part.skip + part.examples_in_shard]
      offsets.append(taken[: part.take] if part.take >= 0 else taken)
    self._starts = np.cumsum([0, *map(len, offsets)])
    self._offsets = np.concatenate([np.zeros(0, np.int64), *offsets])

  def __len__(self) -> int:
    return len(self._offsets)

  def __getitem__(self, index: int) -> bytes:
    file_number = int(np.searchsorted(self._starts, index, 'right')) - 1
    path = self._files[file_number]
    number = index - self._starts[file_number] + self._skipped[file_number]
    with open(path, 'rb') as file:
      file.seek(self._offsets[index])
      length = _read_length(file, path, number)
      record, checksum = file.read(length), file.read(_CHECKSUM.size)
    _compare(record, checksum, path, number)
    return record


def _scan(path: str) -> np.ndarray:
  """The offset of each whole record of a file, int64."""
  offsets, size, offset = array.array('q'), os.path.getsize(path), 0
  head = _LENGTH.size + _CHECKSUM.size
  with open(path, 'rb') as file:
    while size - offset >= head:
      file.seek(offset)
      end = offset + head + _read_length(file, path, len(offsets))
      if end + _CHECKSUM.size > size:
        break
      offsets.append(offset)
      offset = end + _CHECKSUM.size
  return np.array(offsets)


def _read_length(file: IO[bytes], path: str, number: int) -> int:
  length, checksum = file.read(_LENGTH.size), file.read(_CHECKSUM.size)
  _compare(length, checksum, path, number, ' length')
  return _LENGTH.unpack(length)[0]


def _compare(data: bytes, checksum: bytes, path: str, number: int, what=''):
  """Refuses bytes that do not have the checksum."""
  if checksum != _CHECKSUM.pack(masked_crc32c(data)):
    raise ValueError(
      f'{path}: the{what} checksum of record {number} is not that of its '
      'bytes: the file is damaged, copy it again or prepare the data set again'
    )
