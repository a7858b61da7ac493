"""ArrayRecord files: the format that Grain reads by random access.

A record is a `tf.train.Example` with the features `image` (an encoded image),
`label` and, if it is known, `person`; files of TensorFlow Datasets with an
image and a label are read too.
"""

import os
import pathlib

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter as _Writer

from faceqat.data.sources import people_file, tf_example
from faceqat.data.sources.labelled import EncodedSource
from faceqat.files.image_size import ImageSize

# One record to a group is what random access reads; images do not compress.
_OPTIONS = 'group_size:1,uncompressed'
# How many records are looked at together for their labels.
_BATCH = 1024


class ArrayRecordSource(EncodedSource):
  """Labelled images of an ArrayRecord file, in its order.

  Attributes:
    labels: int32 [N], made contiguous: 0 .. K-1 in the order of the labels in
      the file.
    class_names: the K names of people.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    image_size: ImageSize,
    stored_size: ImageSize = 0,
  ):
    """Reads the labels: of `x.people.json`, or else of every record.

    Args:
      path: the `.array_record` file.
      image_size: height and width of the images given, in pixels.
      stored_size: height and width that every image must have, resized where
        that is another size; 0: image_size.

    Raises:
      ValueError: no such file, a damaged one or one of other records, people
        that are not those of its records, or fewer than two people.
    """
    self.path = os.fspath(path)
    self.image_size = image_size
    self.stored_size = stored_size
    if not os.path.isfile(self.path):
      raise ValueError(f'There is no ArrayRecord file {self.path}.')
    try:
      self._records = ArrayRecordDataSource(self.path)
      self._count = len(self._records)
    except (RuntimeError, ValueError) as error:
      raise ValueError(
        f'{self.path} is no ArrayRecord file, or is cut off '
        f'({str(error) or "its end is missing"}): copy it again.'
      ) from error
    people = people_file.read(self.path)
    if people is None:
      self.labels, self.class_names = self._read_labels()
    else:
      self.labels, self.class_names = self._expand(people)
    if len(self.class_names) < 2:
      raise ValueError(
        f'{self.path} has {self._count} images of {len(self.class_names)} '
        'people: training needs at least two people.'
      )

  def name(self, index: int) -> str:
    """The file and number of image `index`."""
    return f'{self.path}: record {index}'

  def _bytes(self, index: int) -> bytes:
    """An encoded image, which is of the person that the label says."""
    data, _, person = self._decode(index, self._read([index])[0])
    known = self.class_names[self.labels[index]]
    if person != known:
      raise ValueError(
        f'{self.name(index)} is of {person!r}, and '
        f'{people_file.path_of(self.path)} says {known!r}: that file is of '
        'another pack; remove it.'
      )
    return data

  def _expand(self, people: people_file.People) -> tuple[np.ndarray, list[str]]:
    counts = [count for _, count in people]
    if sum(counts) != self._count:
      raise ValueError(
        f'{people_file.path_of(self.path)} counts {sum(counts)} images, and '
        f'{self.path} has {self._count}: use the one that belongs to it, or '
        'remove it and the labels are read from the records.'
      )
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return labels, [name for name, _ in people]

  def _read_labels(self) -> tuple[np.ndarray, list[str]]:
    """From every record."""
    numbers, names = [], {}
    for start in range(0, self._count, _BATCH):
      places = range(start, min(start + _BATCH, self._count))
      for place, record in zip(places, self._read(places)):
        _, number, person = self._decode(place, record)
        numbers.append(number)
        if names.setdefault(number, person) != person:
          raise ValueError(
            f'{self.name(place)} gives label {number} to {person!r}, which '
            f'was {names[number]!r} before: write the file again.'
          )
    known, labels = np.unique(numbers, return_inverse=True)
    return labels.astype(np.int32), [names[int(number)] for number in known]

  def _read(self, places) -> list[bytes]:
    try:
      return self._records.__getitems__(list(places))
    except RuntimeError as error:
      where = self.name(places[0])
      if len(places) > 1:
        where += f' or one of the {len(places) - 1} after it'
      raise ValueError(
        f'{where} is damaged ({error}): copy the file again.'
      ) from error

  def _decode(self, place: int, record: bytes) -> tuple[bytes, int, str]:
    try:
      return tf_example.decode(record)
    except ValueError as error:
      raise ValueError(f'{self.name(place)} {error}.') from error


class ArrayRecordWriter:
  """Writes `x.array_record` and `x.people.json`; a context.

  They appear when the context is left, or not at all if that is by an error.
  """

  def __init__(self, path: str | os.PathLike):
    """Opens a file to write.

    Args:
      path: the `.array_record` file, in a folder that exists.

    Raises:
      ValueError: the name does not end in `.array_record`.
    """
    self._path = pathlib.Path(path)
    if self._path.suffix != '.array_record':
      raise ValueError(f'{path} has to end in .array_record.')
    self._temporary = self._path.with_name(f'.{self._path.name}.tmp')
    self._counter = people_file.Counter()

  def __enter__(self) -> 'ArrayRecordWriter':
    self._writer = _Writer(os.fspath(self._temporary), _OPTIONS)
    return self

  def write(self, image_bytes: bytes, label: int, person_name: str):
    """Appends an image.

    Args:
      image_bytes: encoded, such as a JPEG file.
      label: 0 .. K-1, not below that of the image before, and at most one
        above.
      person_name: of this label.

    Raises:
      ValueError: the label is out of order or has had another name.
    """
    self._counter.add(label, person_name)
    self._writer.write(tf_example.encode(image_bytes, label, person_name))

  def __exit__(self, error_type, *_):
    try:
      self._writer.close()
      if error_type is None:
        people_file.write(self._counter.people, self._path)
        self._temporary.replace(self._path)
    finally:
      self._temporary.unlink(missing_ok=True)
