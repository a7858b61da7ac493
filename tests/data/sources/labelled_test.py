"""Every source of encoded images, whatever form its files have."""

import pathlib
import pickle
from concurrent import futures

import numpy as np
import pytest
from pictures import filled

from faceqat.data.sources import people_file
from faceqat.data.sources.arrayrecord import (
  ArrayRecordSource,
  ArrayRecordWriter,
)
from faceqat.data.sources.folder import FolderSource
from faceqat.data.sources.name_list import Names
from faceqat.data.sources.recordio import RecordIOSource
from faceqat.data.sources.recordio_writer import RecordIOWriter
from faceqat.faces.images import DamagedImageError

SIZE = 8
WRITERS = {'x.rec': RecordIOWriter, 'x.array_record': ArrayRecordWriter}
SOURCES = {
  'x': FolderSource,
  'x.rec': RecordIOSource,
  'x.array_record': ArrayRecordSource,
}
packs = pytest.mark.parametrize('name', WRITERS)
forms = pytest.mark.parametrize('name', SOURCES)


def write(path: pathlib.Path, labels=(0, 0, 1, 2, 2), damaged=()):
  """Image i is filled with 10 i, of person `Zoë LABEL`."""
  content = [
    (filled(10 * i)[: 40 if i in damaged else None], label, f'Zoë {label}')
    for i, label in enumerate(labels)
  ]
  if path.name in WRITERS:
    with WRITERS[path.name](path) as pack:
      for image in content:
        pack.write(*image)
  else:
    for i, (data, _, person) in enumerate(content):
      (path / person).mkdir(parents=True, exist_ok=True)
      (path / person / f'{i:03d}.png').write_bytes(data)
  return path


def test_names_are_those_of_a_list():
  names = ['Zoë', '', b'caf\xe9'.decode(errors='surrogateescape'), 'x']
  found = Names(iter(names))
  assert found == names == list(found)
  assert found != names[:3]
  assert found != [*names[:3], 'y']
  assert found[-1] == 'x'
  assert found[np.int64(0)] == 'Zoë'
  assert found[1:] == names[1:]
  assert names[2] in found
  assert 'y' not in found
  with pytest.raises(IndexError):
    found[4]


def values(source):
  return [int(source[i]['image'][0, 0, 0]) for i in range(len(source))]


@forms
def test_what_is_written_is_read_back(name, tmp_path):
  source = SOURCES[name](write(tmp_path / name), SIZE)
  assert values(source) == [0, 10, 20, 30, 40]
  assert source.labels.dtype == source[4]['label'].dtype == np.int32
  assert source.labels.tolist() == [0, 0, 1, 2, 2]
  assert [source[i]['label'] for i in range(5)] == source.labels.tolist()
  if name in WRITERS:
    people, counts = people_file.read_people(tmp_path / name)
    assert people == ['Zoë 0', 'Zoë 1', 'Zoë 2']
    assert counts.tolist() == [2, 1, 2]


@forms
def test_stored_images_of_another_size_are_resized(name, tmp_path):
  path = write(tmp_path / name)
  source = SOURCES[name](path, SIZE + 3, stored_size=SIZE)
  assert source[0]['image'].shape == (SIZE + 3, SIZE + 3, 3)
  assert values(source) == [0, 10, 20, 30, 40]
  source = SOURCES[name](path, SIZE, stored_size=SIZE + 1)
  message = 'has 8x8 pixels, wanted 9x9: .* or set stored_size'
  with pytest.raises(ValueError, match=message):
    source[2]


@forms
def test_threads_and_pickled_copies_read_the_same(name, tmp_path):
  source = SOURCES[name](write(tmp_path / name, np.arange(25) // 5), SIZE)
  assert values(pickle.loads(pickle.dumps(source))) == [*range(0, 250, 10)]
  with futures.ThreadPoolExecutor(8) as pool:
    order = np.random.default_rng(0).integers(0, 25, 400)
    read = list(pool.map(lambda i: source[int(i)]['image'][0, 0, 0], order))
  assert read == (10 * order).tolist()


@forms
def test_a_damaged_image_is_named_when_it_is_read(name, tmp_path):
  source = SOURCES[name](write(tmp_path / name, damaged=[2]), SIZE)
  assert source[1]['image'].shape == (SIZE, SIZE, 3)
  with pytest.raises(DamagedImageError, match='cannot be decoded') as error:
    source[2]
  assert error.value.what.startswith(source.name(2))


@forms
def test_one_person_is_enough_to_read(name, tmp_path):
  source = SOURCES[name](write(tmp_path / name, [0, 0, 0]), SIZE)
  assert len(source) == 3
  assert len(source.class_names) == 1


def test_a_pack_without_images_is_refused(tmp_path):
  path = write(tmp_path / 'x.rec', [])
  with pytest.raises(
    ValueError, match=f'{path} has 0 images of 0 people: give'
  ):
    SOURCES['x.rec'](path, SIZE)


@forms
def test_what_is_not_there_is_named(name, tmp_path):
  with pytest.raises(ValueError, match=f'There is no .*{tmp_path / name}'):
    SOURCES[name](tmp_path / name, SIZE)


@packs
@pytest.mark.parametrize(
  ('last', 'message'),
  [
    ((1, 'Zoë 1'), 'labels go up'),
    ((2, 'Ann'), "label 2 is 'Zoë 2', and now 'Ann'"),
  ],
)
def test_an_error_while_writing_leaves_nothing(name, last, message, tmp_path):
  content = [(0, 'Zoë 0'), (1, 'Zoë 1'), (2, 'Zoë 2'), last]

  def write_all():
    with WRITERS[name](tmp_path / name) as pack:
      for label, person in content:
        pack.write(filled(0), label, person)

  with pytest.raises(ValueError, match=message):
    write_all()
  assert not list(tmp_path.iterdir())


@packs
def test_another_suffix_is_refused(name, tmp_path):
  suffix = (tmp_path / name).suffix
  with pytest.raises(ValueError, match=rf'has to end in \{suffix}'):
    WRITERS[name](tmp_path / 'x.record')
