"""ArrayRecord files: the format that Grain reads by random access.

A record is a `tf.train.Example` with the features `image` (an encoded image),
`label` and, if it is known, `person`; files of TensorFlow Datasets with an
image and a label are read too.
"""

import array
import os
from collections.abc import Iterator

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter as _Writer

from faceqat.data.sources import people_file, tf_example
from faceqat.data.sources.labelled import EncodedSource
from faceqat.data.sources.name_list import Names
from faceqat.data.sources.pack_writer import PackWriter
from faceqat.files.image_size import ImageSize

# One record to a group is what random access reads; images do not compress.
_OPTIONS = 'group_size:1,uncompressed'
# How many records are looked at together for their labels.
_BATCH = 1024


class ArrayRecordSource(EncodedSource):
  """Labelled images of an ArrayRecord file, in its order.

  The labels are made contiguous, in the order of the labels in the file. They
  are those of `x.people.json`, or else every record is read for them.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    image_size: ImageSize,
    stored_size: ImageSize = 0,
  ):
    """Opens a `.array_record` file and reads the labels.

    Raises:
      ValueError: no such file, a damaged one or one of other records, people
        that are not those of its records, or no images.
    """
    super().__init__(path, image_size, stored_size)
    if not os.path.isfile(self.path):
      raise ValueError(f'There is no ArrayRecord file {self.path}')
    try:
      self._records = ArrayRecordDataSource(self.path)
      self._count = len(self._records)
    except (RuntimeError, ValueError) as error:
      raise ValueError(
        f'{self.path} is no ArrayRecord file, or is cut off '
        f'({str(error) or "its end is missing"}): copy it again'
      ) from error
    people = people_file.read_people(self.path)
    self._set_people(
      *(self._read_labels() if people is None else self._expand(*people))
    )

  def name(self, index: int) -> str:
    return f'{self.path}: record {index}'

  def _bytes(self, index: int) -> bytes:
    data, _, person = self._decode(index, self._read([index])[0])
    known = self.class_names[self.labels[index]]
    if person != known:
      raise ValueError(
        f'{self.name(index)} is of {person!r}, and '
        f'{people_file.path_of(self.path)} says {known!r}: that file is of '
        'another pack; remove it'
      )
    return data

  def _expand(
    self, names: Names, counts: np.ndarray
  ) -> tuple[np.ndarray, Names]:
    if counts.sum() != self._count:
      raise ValueError(
        f'{people_file.path_of(self.path)} counts {counts.sum()} images, and '
        f'{self.path} has {self._count}: use the one that belongs to it, or '
        'remove it and the labels are read from the records'
      )
    return np.repeat(np.arange(len(names), dtype=np.int32), counts), names

  def _read_labels(self) -> tuple[np.ndarray, Names]:
    numbers = array.array('q')
    persons = Names(self._persons(numbers))
    _, firsts, labels = np.unique(
      np.array(numbers), return_index=True, return_inverse=True
    )
    for place, label in enumerate(labels):
      person, known = persons[place], persons[int(firsts[label])]
      if person != known:
        raise ValueError(
          f'{self.name(place)} gives label {numbers[place]} to {person!r}, '
          f'which was {known!r} before: write the file again'
        )
    return labels, Names(persons[int(place)] for place in firsts)

  def _persons(self, numbers: array.array) -> Iterator[str]:
    """Yields the person of each record, and appends its number."""
    for start in range(0, self._count, _BATCH):
      places = range(start, min(start + _BATCH, self._count))
      for place, record in zip(places, self._read(places)):
        _, number, person = self._decode(place, record)
        numbers.append(number)
        yield person

  def _read(self, places) -> list[bytes]:
    try:
      return self._records.__getitems__(list(places))
    except RuntimeError as error:
      where = self.name(places[0])
      if len(places) > 1:
        where += f' or one of the {len(places) - 1} after it'
      raise ValueError(
        f'{where} is damaged ({error}): copy the file again'
      ) from error

  def _decode(self, place: int, record: bytes) -> tuple[bytes, int, str]:
    try:
      return tf_example.decode(record)
    except ValueError as error:
      raise ValueError(f'{self.name(place)} {error}') from error


class ArrayRecordWriter(PackWriter):
  """Writes `x.array_record` and `x.people.json`."""

  suffix = '.array_record'

  def _open(self):
    self._writer = _Writer(os.fspath(self._temporary), _OPTIONS)

  def _append(self, image_bytes: bytes, label: int, person_name: str):
    self._writer.write(tf_example.encode(image_bytes, label, person_name))

  def _close(self, complete: bool):
    self._writer.close()
