import json

import grain
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from pictures import filled

from faceqat.data.sources import arrayrecord, people_file, tf_example

SIZE = 8


def write(path, labels=(0, 0, 1, 2, 2)):
  with arrayrecord.ArrayRecordWriter(path) as file:
    for index, label in enumerate(labels):
      file.write(filled(10 * index), label, f'Zoë {label}')
  return path


@pytest.fixture
def path(tmp_path):
  return write(tmp_path / 'train.array_record')


def pixels(source):
  return [int(source[i]['image'][0, 0, 0]) for i in range(len(source))]


def test_without_the_file_of_people_the_records_say_who_they_are(path):
  people_file.path_of(path).unlink()
  source = arrayrecord.ArrayRecordSource(path, SIZE)
  assert pixels(source) == [0, 10, 20, 30, 40]
  assert source.labels.tolist() == [0, 0, 1, 2, 2]
  assert source[4]['label'] == 2
  assert source.class_names == ['Zoë 0', 'Zoë 1', 'Zoë 2']
  assert source.name(3) == f'{path}: record 3'


def test_grain_reads_it_by_random_access(path):
  data = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(str(path)))
  found = [tf_example.decode(record)[1:] for record in data.shuffle(seed=1)]
  assert sorted(found) == [(i, f'Zoë {i}') for i in (0, 0, 1, 2, 2)]


def test_records_are_examples_as_tensorflow_writes_them(tmp_path):
  # Without `person`, and with a feature that is not asked for.
  example = pytest.importorskip('tensorflow').train.Example
  path = tmp_path / 'x.array_record'
  writer = ArrayRecordWriter(str(path), 'group_size:1')
  for label in (7, 3):
    message = example()
    feature = message.features.feature
    feature['image'].bytes_list.value.append(filled(label))
    feature['label'].int64_list.value.append(label)
    feature['score'].float_list.value.append(0.5)
    writer.write(message.SerializeToString())
  writer.close()
  source = arrayrecord.ArrayRecordSource(path, SIZE)
  assert source.labels.tolist() == [1, 0]
  assert source.class_names == ['3', '7']
  ours = example.FromString(tf_example.encode(b'image', 5, 'Zoë')).features
  assert ours.feature['image'].bytes_list.value[0] == b'image'
  assert ours.feature['label'].int64_list.value[0] == 5
  assert ours.feature['person'].bytes_list.value[0].decode() == 'Zoë'


@pytest.mark.parametrize(
  ('damage', 'part'),
  [
    (lambda content: b'', 'no ArrayRecord file'),
    (lambda content: content[: len(content) // 2], 'no ArrayRecord file'),
    (lambda content: b'x' * 200_000, 'no ArrayRecord file'),
  ],
)
def test_what_is_no_array_record_is_refused(damage, part, path):
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(ValueError, match=part) as error:
    arrayrecord.ArrayRecordSource(path, SIZE)
  assert str(path) in str(error.value)


def test_a_damaged_record_is_named(path):
  content = bytearray(path.read_bytes())
  content[content.find('Zoë 1'.encode())] ^= 1
  path.write_bytes(content)
  source = arrayrecord.ArrayRecordSource(path, SIZE)
  assert source[1]['label'] == 0
  with pytest.raises(ValueError, match='record 2 is damaged'):
    source[2]


def test_other_records_are_refused(tmp_path):
  path = tmp_path / 'x.array_record'
  writer = ArrayRecordWriter(str(path), 'group_size:1')
  writer.write(tf_example.encode(b'', 0, 'Ann')[:-3])
  writer.close()
  with pytest.raises(ValueError, match=r'record 0 is no tf\.train\.Example'):
    arrayrecord.ArrayRecordSource(path, SIZE)


@pytest.mark.parametrize(
  ('people', 'part'),
  [
    ([['Ann', 5], ['Bob', 1]], 'counts 6 images'),
    ([['Ann', -1], ['Bob', 6]], 'no name and count'),
    ({'Ann': 5}, 'wanted a list'),
  ],
)
def test_people_who_do_not_belong_to_the_file_are_refused(people, part, path):
  people_file.path_of(path).write_text(json.dumps(people))
  with pytest.raises(ValueError, match=part):
    arrayrecord.ArrayRecordSource(path, SIZE)


def test_people_of_another_file_are_found_out(path):
  people_file.write_people([('Ann', 2), ('Bob', 3)], path)
  source = arrayrecord.ArrayRecordSource(path, SIZE)
  with pytest.raises(ValueError, match='is of another pack; remove it'):
    source[0]
