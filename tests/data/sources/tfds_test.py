"""Data sets of TFDS: tiny ones, which the test makes as TFDS makes its own."""

import builtins
import io
import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from pictures import filled
from settings import ROOT

from configs import common
from faceqat.data import datasets, stated_faces
from faceqat.data.sources.tfds import TFDSSource, find_folder
from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.faces.images import DamagedImageError

# What prepares a data set needs it.
pytest.importorskip('tensorflow')
tfds = pytest.importorskip('tensorflow_datasets')

SIZE = 16
PEOPLE, IMAGES = 12, 4
FORMATS = ('array_record', 'tfrecord')


def png(person, image, size=SIZE):
  """An image whose pixels say which one it is."""
  return filled((person, image, 7), size)


def make_examples(people, label=lambda person: f'p{person:02d}'):
  return [
    {'image': png(person, image), 'label': label(person)}
    for person in people
    for image in range(IMAGES)
  ]


def build(root, file_format, features, splits):
  """Prepares a data set; `splits` gives the examples of each."""

  class TinyFaces(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version('1.0.0')

    def _info(self):
      return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict(features)
      )

    def _split_generators(self, dl_manager):
      return {split: self._generate_examples(split) for split in splits}

    def _generate_examples(self, split='train'):
      for number, example in enumerate(splits[split]):
        yield (
          number,
          {
            key: io.BytesIO(value) if isinstance(value, bytes) else value
            for key, value in example.items()
          },
        )

  tfds.disable_progress_bar()
  TinyFaces(data_dir=root, file_format=file_format).download_and_prepare()
  return root


def faces_of(label, **more):
  image = tfds.features.Image(shape=(None, None, 3))
  return {'image': image, 'label': label, **more}


@pytest.fixture(scope='module', params=FORMATS)
def root(request, tmp_path_factory):
  """As LFW is there: people by their names, a split of all."""
  return build(
    tmp_path_factory.mktemp(request.param),
    request.param,
    faces_of(tfds.features.Text()),
    {'train': make_examples(range(PEOPLE)), 'test': make_examples((90, 91))},
  )


@pytest.fixture(scope='module')
def array_records(tmp_path_factory):
  """A folder to be damaged in copies."""
  return build(
    tmp_path_factory.mktemp('one'),
    'array_record',
    faces_of(tfds.features.Text()),
    {'train': make_examples(range(2))},
  )


def who(image):
  return int(image[0, 0, 0]), int(image[0, 0, 1])


def test_every_image_comes_with_the_name_of_its_person(root):
  source = TFDSSource('tfds:tiny_faces', SIZE, data_dir=root)
  assert len(source) == PEOPLE * IMAGES
  assert source.class_names == [f'p{person:02d}' for person in range(PEOPLE)]
  assert source.labels.dtype == np.int32
  found = []
  for index in range(len(source)):
    example = source[index]
    assert example['image'].shape == (SIZE, SIZE, 3)
    assert example['image'].dtype == np.uint8
    person, image = who(example['image'])
    assert person == example['label'] == source.labels[index]
    found.append((person, image))
  assert len(set(found)) == PEOPLE * IMAGES
  assert source.name(5) == 'tfds:tiny_faces: example 5'
  # As the other sources, it goes to other processes.
  other = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(other[7]['image'], source[7]['image'])


def test_reading_needs_no_tensorflow(root):
  code = (
    'import sys, without_tensorflow; without_tensorflow.remove("tensorflow"); '
    'from faceqat.data.sources.tfds import TFDSSource; '
    f'source = TFDSSource("tfds:tiny_faces", {SIZE}, data_dir=sys.argv[1]); '
    'print(len(source), *source[5]["image"][0, 0], source.labels[5])'
  )
  source = TFDSSource('tfds:tiny_faces', SIZE, data_dir=root)
  printed = subprocess.run(
    [sys.executable, '-c', code, root],
    env={**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT}/tests/support'},
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  assert [int(word) for word in printed.split()] == (
    [len(source), *source[5]['image'][0, 0], source.labels[5]]
  )


def test_splits_are_as_tfds_takes_them(root):
  def people(path):
    source = TFDSSource(path, SIZE, data_dir=root)
    return [who(source[index]['image']) for index in range(len(source))]

  train = people('tfds:tiny_faces:1.0.0:train')
  assert people('tfds:tiny_faces') == train
  assert people('tfds:tiny_faces:train[10:30]') == train[10:30]
  both = people('tfds:tiny_faces:train[:25%]+test')
  assert both[:12] == train[:12]
  assert {person for person, _ in both[12:]} == {90, 91}
  # Labels are without gaps in the part that there is.
  source = TFDSSource('tfds:tiny_faces:test', SIZE, data_dir=root)
  assert source.class_names == ['p90', 'p91']
  assert sorted(set(source.labels)) == [0, 1]


@pytest.mark.parametrize(
  ('label', 'value', 'names'),
  [
    (
      tfds.features.ClassLabel(names=['zoe', 'bob', 'ann']),
      {2: 'zoe', 5: 'ann'},
      ['zoe', 'ann'],
    ),
    (tfds.features.Scalar(np.int64), {2: 10**12, 5: 9}, ['9', str(10**12)]),
  ],
)
def test_labels_may_be_classes_or_numbers(label, value, names, tmp_path):
  # Beside the image named so, another one, which is never decoded.
  more = {'mask': tfds.features.Image(shape=(None, None, 3))}
  examples = [
    {**example, 'mask': png(0, 0, 3)}
    for example in make_examples(value, value.get)
  ]
  build(tmp_path, 'array_record', faces_of(label, **more), {'all_of': examples})
  source = TFDSSource('tfds:tiny_faces', SIZE, data_dir=tmp_path)
  assert source.class_names == names
  for index in range(2 * IMAGES):
    person, _ = who(source[index]['image'])
    assert source.class_names[source[index]['label']] == str(value[person])


def config_of(root, **changes):
  config = common.data()
  config.update(
    path='tfds:tiny_faces',
    tfds_dir=str(root),
    image_size=SIZE,
    validation_people=0,
  )
  config.update(changes)
  return config


def test_training_takes_it_with_its_fingerprint_and_its_size(root):
  data = datasets.make_training_data(config_of(root))
  assert len(data.train) == PEOPLE * (IMAGES - 1)
  assert stated_faces.training_fingerprint(config_of(root)) is None
  resized = config_of(root, image_size=12, stored_size=SIZE)
  image = datasets.make_training_data(resized).train[0]['image']
  assert image.shape == (12, 12, 3)
  with pytest.raises(ValueError, match=r'example 0 has 16x16 .* wanted 12x12'):
    datasets.make_training_data(config_of(root, image_size=12))
  folder = find_folder('tfds:tiny_faces', root)
  fingerprint.write(Fingerprint('mine', SIZE, 'BGR'), folder)
  told = stated_faces.training_fingerprint(config_of(root))
  exchanged = datasets.make_training_data(config_of(root)).train[0]['image']
  (folder / 'faces.json').unlink()
  assert told == Fingerprint('mine', SIZE)
  np.testing.assert_array_equal(exchanged[..., ::-1], data.train[0]['image'])


def test_a_damaged_image_is_one_as_elsewhere(tmp_path):
  examples = make_examples(range(2))
  examples[3]['image'] = examples[3]['image'][:40]
  build(
    tmp_path,
    'array_record',
    faces_of(tfds.features.Text()),
    {'train': examples},
  )
  source = TFDSSource('tfds:tiny_faces', SIZE, data_dir=tmp_path)

  def person_of(index):
    try:
      return who(source[index]['image'])[0]
    except DamagedImageError as error:
      return str(error)

  people = [person_of(index) for index in range(len(source))]
  (index,) = (i for i, person in enumerate(people) if isinstance(person, str))
  assert people[index].startswith(f'tfds:tiny_faces: example {index} cannot be')
  people[index] = 0
  assert people == source.labels.tolist()


@pytest.mark.parametrize(
  ('path', 'message'),
  [
    ('tfds:', 'names no data set of TFDS; wanted tfds:NAME'),
    ('tfds:../tiny_faces', 'names no data set of TFDS'),
    ('tfds:/tmp', 'names no data set of TFDS'),
    (
      'tfds:lfw',
      r'prepared no lfw in .* \(there: downloads, tiny_faces\); make it '
      'with `tfds build lfw --data_dir=',
    ),
    ('tfds:tiny_faces/wide', 'has prepared no tiny_faces/wide in'),
    ('tfds:tiny_faces:2.0.0', 'has no version 2.0.0; there are 1.0.0'),
    ('tfds:tiny_faces:valid', 'there is no split valid; there are train, test'),
    ('tfds:tiny_faces:train[', 'there is no split'),
  ],
)
def test_what_is_not_there_is_named(path, message, root):
  with pytest.raises(ValueError, match=message):
    TFDSSource(path, SIZE, data_dir=root)


def test_the_highest_version_is_taken_and_a_config_asked_for(
  array_records, tmp_path
):
  there = array_records / 'tiny_faces' / '1.0.0'
  for folder in ('a/9.0.0', 'a/10.0.0', 'b/big/1.0.0', 'b/small/1.0.0'):
    shutil.copytree(there, tmp_path / folder)
  (tmp_path / 'a' / '11.0.0').mkdir()
  assert find_folder('tfds:a', tmp_path) == tmp_path / 'a' / '10.0.0'
  assert find_folder('tfds:a:9.0.0:train', tmp_path).name == '9.0.0'
  assert find_folder('tfds:b/big', tmp_path) == tmp_path / 'b/big/1.0.0'
  with pytest.raises(ValueError, match=r'has configs; .*/big: big, small'):
    find_folder('tfds:b', tmp_path)


def test_without_a_folder_it_is_that_of_tfds(array_records, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(array_records))
  assert len(TFDSSource('tfds:tiny_faces', SIZE)) == 2 * IMAGES


@pytest.mark.parametrize(
  ('features', 'example', 'message'),
  [
    (
      {'label': tfds.features.Text(), 'x': tfds.features.Scalar(np.int64)},
      {'label': 'a', 'x': 1},
      'has 0 features that may be the image.*Its features: .*label',
    ),
    (
      {
        'image': tfds.features.Image(shape=(None, None, 3)),
        'landmarks': tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
      },
      {'image': png(0, 0), 'landmarks': np.zeros((5, 2), np.float32)},
      'has 0 features that may be the label',
    ),
    (
      {
        'image': tfds.features.Image(shape=(None, None, 3)),
        'name': tfds.features.Text(),
        'file': tfds.features.Text(),
      },
      {'image': png(0, 0), 'name': 'a', 'file': 'b'},
      'has 2 features that may be the label, and none of that name',
    ),
    (
      faces_of(tfds.features.ClassLabel(num_classes=2)),
      [{'image': png(0, 0), 'label': 1}, {'image': png(0, 0), 'label': -1}],
      r'example [01] has no label: give another split',
    ),
  ],
)
def test_examples_of_another_kind_are_refused(
  features, example, message, tmp_path
):
  examples = example if isinstance(example, list) else [example]
  build(tmp_path, 'array_record', features, {'train': examples})
  with pytest.raises(ValueError, match=message):
    TFDSSource('tfds:tiny_faces', SIZE, data_dir=tmp_path)


@pytest.mark.parametrize('cut', [1, 20, 200])
def test_cut_files_are_named(root, cut, tmp_path):
  shutil.copytree(root / 'tiny_faces', tmp_path / 'tiny_faces')
  (path,) = (tmp_path / 'tiny_faces' / '1.0.0').glob('*train*')
  path.write_bytes(path.read_bytes()[:-cut])
  with pytest.raises(
    ValueError, match=f'{path.parent}.*prepare the data set a'
  ):
    TFDSSource('tfds:tiny_faces', SIZE, data_dir=tmp_path)


def test_no_module_that_a_data_set_names_is_imported(array_records, tmp_path):
  shutil.copytree(array_records / 'tiny_faces', tmp_path / 'tiny_faces')
  path = tmp_path / 'tiny_faces' / '1.0.0' / 'features.json'
  content = json.loads(path.read_text())
  assert 'this' not in sys.modules
  label = content['featuresDict']['features']['label']
  for key, text in (
    ('pythonClassName', 'this.Feature'),
    ('python_class_name', 'this.Feature'),
    ('jsonFeature', {'json': json.dumps({'x': {'type': 'this.Feature'}})}),
  ):
    content['featuresDict']['features']['label'] = {**label, key: text}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f'{path} .* asks for this.Feature'):
      TFDSSource('tfds:tiny_faces', SIZE, data_dir=tmp_path)
  path.write_text('{')
  with pytest.raises(ValueError, match=f'{path} does not describe'):
    TFDSSource('tfds:tiny_faces', SIZE, data_dir=tmp_path)
  assert 'this' not in sys.modules


def test_without_tfds_it_says_what_to_install(array_records, monkeypatch):
  original = builtins.__import__

  def without(name, *arguments, **named):
    if name == 'tensorflow_datasets':
      raise ImportError(f'No module named {name}')
    return original(name, *arguments, **named)

  monkeypatch.setattr(builtins, '__import__', without)
  with pytest.raises(ValueError, match=r'-r requirements-tfds\.txt'):
    TFDSSource('tfds:tiny_faces', SIZE, data_dir=array_records)


def test_nobody_else_pays_for_it():
  code = (
    'import sys; from faceqat.data.sources import tfds; '
    'sys.exit("tensorflow_datasets" in sys.modules)'
  )
  subprocess.run([sys.executable, '-c', code], check=True)
