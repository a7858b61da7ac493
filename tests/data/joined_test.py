"""Several sets are one training set, of folders and packs, merged or apart."""

import json

import numpy as np
import pytest
from pictures import filled, write_people
from PIL import Image

from configs import common
from faceqat.data import datasets, stated_faces
from faceqat.data.contents import contents
from faceqat.data.joined import JoinedSource, set_names
from faceqat.data.sources.arrayrecord import ArrayRecordWriter
from faceqat.data.sources.folder import FolderSource
from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint

SIZE = 8


def write_folder(root, people, images=3):
  """The images of a set count on: their red says which one it is."""
  counts = dict.fromkeys(people, images)
  return write_people(root, counts, lambda n, image: (10 * n + image, 0, 200))


def write_pack(path, people, images=3):
  with ArrayRecordWriter(path) as writer:
    for number, person in enumerate(people):
      for image in range(images):
        writer.write(
          filled((100 + 10 * number + image, 0, 200)), number, person
        )
  return path


@pytest.fixture
def paths(tmp_path):
  """ann, bob and cy in a folder; bob, dee and eve in a pack."""
  folder = write_folder(tmp_path / 'a', ['ann', 'bob', 'cy'])
  pack = write_pack(tmp_path / 'b.array_record', ['bob', 'dee', 'eve'])
  return [str(folder), str(pack)]


def data_config(paths, **changes):
  config = common.data()
  config.update(image_size=SIZE, validation_people=0)
  config.update({'path': ','.join(paths), **changes})
  return config


def people_of(source):
  """By name, the red of that person's images."""
  found = {name: [] for name in source.class_names}
  for index in range(len(source)):
    example = source[index]
    assert example['label'] == source.labels[index]
    name = source.class_names[example['label']]
    found[name].append(int(example['image'][0, 0, 0]))
  return found


def test_equal_names_are_different_people_or_one(paths):
  config = data_config(paths, holdout_images_per_person=0)
  apart = datasets.make_training_data(config)
  assert people_of(apart.train) == {
    'ann': [0, 1, 2],
    'a/bob': [10, 11, 12],
    'cy': [20, 21, 22],
    'b/bob': [100, 101, 102],
    'dee': [110, 111, 112],
    'eve': [120, 121, 122],
  }
  assert apart.summary == (
    '2 sets: a (9 images of 3 people), b (9 images of 3 people)',
    'note: 1 names are in several sets (bob), and are trained as different '
    'people, set/name; if they are one person each, give '
    'data.same_names=merged',
    'trains on 18 images of 6 people',
  )
  config.same_names = 'merged'
  merged = datasets.make_training_data(config)
  found = people_of(merged.train)
  assert list(found) == ['ann', 'bob', 'cy', 'dee', 'eve']
  assert found['bob'] == [10, 11, 12, 100, 101, 102]
  assert 'each is trained as one person' in merged.summary[1]
  config.same_names = 'both'
  with pytest.raises(ValueError, match="same_names is 'both'; choose one of"):
    datasets.make_training_data(config)


def test_who_somebody_is_does_not_depend_on_the_order_of_the_sets(paths):
  one, other = (
    datasets.make_training_data(data_config(p)).train
    for p in (paths, paths[::-1])
  )
  assert one.class_names != other.class_names
  assert sorted(one.class_names) == sorted(other.class_names)
  with pytest.raises(ValueError, match='they stand in another order'):
    contents(other).check(json.loads(json.dumps(contents(one)._asdict())))


@pytest.mark.parametrize('same_names', ['apart', 'merged'])
def test_people_and_images_held_out_are_in_no_set(same_names, tmp_path):
  sets = [
    write_folder(tmp_path / name, [f'p{i}' for i in numbers])
    for name, numbers in (('a', range(30)), ('b', range(20, 50)))
  ]
  config = data_config(
    map(str, sets), validation_people=20, validation_pairs=40
  )
  config.same_names = same_names
  data = datasets.make_training_data(config)
  total = 60 if same_names == 'apart' else 50
  assert len(data.train.class_names) == total - 20
  assert len(data.held_out) == 20
  assert {*data.held_out}.isdisjoint(data.train.class_names)
  held_out = datasets.make_held_out_people(config)
  assert held_out.class_names == data.held_out
  names = [
    {part.name(index) for index in range(len(part))}
    for part in (data.train, data.known, held_out)
  ]
  assert sum(map(len, names)) == len(names[0] | names[1] | names[2]) == 180
  # One image of everybody trained on, the last.
  assert len(names[1]) == total - 20


def test_each_set_keeps_its_order_of_channels_and_all_have_one_template(paths):
  fingerprint.write(Fingerprint('arcface', SIZE, 'BGR'), paths[1])
  config = data_config(paths)
  assert stated_faces.unstated_sets(config) == paths[:1]
  # Blue, where the file has red.
  train = datasets.make_training_data(config).train
  assert train[0]['image'][0, 0].tolist() == [0, 0, 200]
  assert train[len(train) - 1]['image'][0, 0].tolist() == [200, 0, 121]
  assert stated_faces.training_fingerprint(config) == Fingerprint(
    'arcface', SIZE
  )
  fingerprint.write(Fingerprint('margin_32', SIZE), paths[0])
  with pytest.raises(ValueError, match=r'b\.array_record has faces of templ'):
    stated_faces.training_fingerprint(config)


def test_another_size_is_found_in_every_set(paths, tmp_path):
  write_folder(tmp_path / 'c', ['flo', 'gus'])
  Image.new('RGB', (9, 9)).save(tmp_path / 'c' / 'flo' / '0.png')
  config = data_config([*paths, str(tmp_path / 'c')])
  with pytest.raises(ValueError, match=r'0\.png has 9x9 pixels, wanted'):
    datasets.make_training_data(config)


def test_sets_are_called_by_the_ends_of_their_paths_that_differ():
  assert set_names(['/x/faces', '/y/train.rec']) == ['faces', 'train']
  assert set_names(['/x/ms1m/train.rec', '/x/glint/train.rec']) == [
    'ms1m/train',
    'glint/train',
  ]
  assert set_names(['tfds:lfw:train', '/x/v2.1']) == ['tfds:lfw:train', 'v2.1']
  assert set_names(['/x/a.rec', '/x/a.array_record']) == [
    '/x/a.rec',
    '/x/a.array_record',
  ]


def test_many_images_are_found_in_their_sets(tmp_path):
  sets = []
  for name, images in (('a', 1), ('b', 4), ('c', 2)):
    root = write_folder(tmp_path / name, ['x', 'y'], images)
    (root / 'notes.md').touch()
    sets.append(FolderSource(root, SIZE))
  joined = JoinedSource(sets, ['a', 'b', 'c'], 'merged')
  expected = [s.name(i) for s in sets for i in range(len(s))]
  assert [joined.name(i) for i in range(len(joined))] == expected
  assert len(joined) == 14
  assert joined.starts == [0, 2, 10]
  assert np.bincount(joined.labels).tolist() == [7, 7]
  assert joined.ignored == ['a/notes.md', 'b/notes.md', 'c/notes.md']
