import json
import shutil
import tarfile

import numpy as np
import prepare_inputs
import pytest
from PIL import Image

from faceqat.data.sources import arrayrecord, folder, recordio
from faceqat.faces import detection, fingerprint
from faceqat.preparation import crops
from faceqat.preparation.prepare import Options, prepare

SETTINGS = crops.CropSettings('arcface', 112, 'largest')
EVERYTHING = prepare_inputs.CROPS


@pytest.fixture(autouse=True)
def detector(monkeypatch):
  """Notes how many photographs it has seen."""
  seen = []

  def detect(image):
    seen.append(image.shape)
    return prepare_inputs.detect(image)

  monkeypatch.setattr(detection, 'make_detector', lambda model: detect)
  return seen


@pytest.fixture
def source(tmp_path):
  return prepare_inputs.make_photographs(tmp_path / 'in')


def run(source, out, settings=SETTINGS, **options):
  return prepare(source, out, settings, Options(workers=1, **options))


def images(out):
  return sorted(prepare_inputs.read_images(out))


def contents(out):
  files = [path for path in out.rglob('*') if path.is_file()]
  return {path.relative_to(out): path.read_bytes() for path in files}


def test_photographs_become_a_folder_set_with_a_fingerprint(source, tmp_path):
  out = tmp_path / 'out'
  report = run(source, out)
  assert images(out) == EVERYTHING
  found = folder.FolderSource(out, 112)
  assert found.class_names == ['Ann', 'Bob', 'Eve']
  assert found[0]['image'].shape == (112, 112, 3)
  assert fingerprint.read(out) == fingerprint.Fingerprint('arcface', 112)
  assert report['counts'] == {
    'people': 4,
    'photographs': 8,
    'found': 6,
    'ambiguous': 0,
    'missed': 2,
    'unreadable': 0,
    'ignored': 0,
    'crops': 6,
  }
  assert report['people_without_faces'] == ['Max']
  written = json.loads((out / 'prepare.json').read_text())
  assert {**report, 'written': None} == {**written, 'written': None}
  lines = (out / 'prepare.txt').read_text().splitlines()
  assert 'missed: Max/1.jpg: no face was found' in lines
  assert 'no face: Max' in lines
  picture = np.asarray(Image.open(tmp_path / 'out.work/missed.png'))
  assert picture.std() > 10


@pytest.mark.parametrize(
  ('pack', 'name', 'reader'),
  [
    ('recordio', 'train.rec', recordio.RecordIOSource),
    ('arrayrecord', 'train.array_record', arrayrecord.ArrayRecordSource),
  ],
)
def test_packs_have_the_same_images(pack, name, reader, source, tmp_path):
  run(source, tmp_path / 'a')
  run(source, tmp_path / 'b', format=pack)
  expected = folder.FolderSource(tmp_path / 'a', 112)
  found = reader(tmp_path / 'b' / name, 112)
  np.testing.assert_array_equal(found.labels, expected.labels)
  for index in range(len(expected)):
    np.testing.assert_array_equal(
      found[index]['image'], expected[index]['image']
    )
  made = fingerprint.Fingerprint('arcface', 112)
  assert fingerprint.read(tmp_path / 'b' / name) == made
  if pack == 'recordio':
    assert (tmp_path / 'b/property').read_text() == '3,112,112\n'


def test_oblong_crops_have_their_own_template_and_go_on(
  source, tmp_path, detector
):
  settings = crops.CropSettings('sphereface', (112, 96), 'largest')
  out = tmp_path / 'out'
  report = run(source, out, settings, format='recordio')
  assert report['options']['size'] == [112, 96]
  assert (out / 'property').read_text() == '3,112,96\n'
  found = recordio.RecordIOSource(out / 'train.rec', (112, 96))
  assert found[0]['image'].shape == (112, 96, 3)
  made = fingerprint.Fingerprint('sphereface', (112, 96))
  assert fingerprint.read(out / 'train.rec') == made
  detector.clear()
  run(source, out, settings)
  # Those without a face; the crops of the others are there.
  assert len(detector) == 0
  assert images(out) == EVERYTHING


def test_another_run_makes_the_same_files(source, tmp_path):
  run(source, tmp_path / 'a')
  run(source, tmp_path / 'b')
  a, b = contents(tmp_path / 'a'), contents(tmp_path / 'b')
  assert a == b


def test_a_run_that_was_stopped_goes_on(
  source, tmp_path, monkeypatch, detector
):
  crop_photographs = crops.crop_photographs

  def stopped(*arguments):
    for count, record in enumerate(crop_photographs(*arguments)):
      if count == 3:
        raise KeyboardInterrupt
      yield record

  monkeypatch.setattr(crops, 'crop_photographs', stopped)
  with pytest.raises(KeyboardInterrupt, match='stopped with 3 of 8'):
    run(source, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()
  monkeypatch.setattr(crops, 'crop_photographs', crop_photographs)
  detector.clear()
  run(source, tmp_path / 'out')
  assert len(detector) == 5
  run(source, tmp_path / 'other')
  assert contents(tmp_path / 'out') == contents(tmp_path / 'other')


def test_what_a_killed_run_left_is_cleared_away(source, tmp_path):
  # Beside the folder, as it is moved into place.
  for name in ('.out.0a1b2c3d.tmp', '.mine.0a1b2c3d.tmp'):
    (tmp_path / name / 'Ann').mkdir(parents=True)
  run(source, tmp_path / 'out')
  assert [path.name for path in tmp_path.glob('.*')] == ['.mine.0a1b2c3d.tmp']


def test_another_selection_looks_for_no_faces(source, tmp_path, detector):
  out = tmp_path / 'out'
  run(source, out)
  detector.clear()
  run(source, out, min_images=2, format='recordio')
  assert not detector
  assert sorted(path.name for path in out.iterdir()) == [
    'prepare.json',
    'prepare.txt',
    'property',
    'train.faces.json',
    'train.idx',
    'train.people.json',
    'train.rec',
  ]


def test_changed_and_new_photographs_are_done_again(source, tmp_path, detector):
  run(source, tmp_path / 'out')
  detector.clear()
  prepare_inputs.make_photograph(source / 'Ann/1.jpg', 77)
  prepare_inputs.make_photograph(source / 'Ann/4.jpg', 78)
  (source / 'Bob/2.jpg').unlink()
  (tmp_path / 'out.work/crops/Eve/1.jpg').unlink()
  run(source, tmp_path / 'out')
  assert len(detector) == 3
  assert images(tmp_path / 'out') == sorted(
    {*EVERYTHING, 'Ann/4.jpg'} - {'Bob/2.jpg'}
  )


@pytest.mark.parametrize(
  ('settings', 'part'),
  [
    (
      crops.CropSettings('arcface', 96, 'largest'),
      'size 112, and now it',
    ),
    (crops.CropSettings('margin', 112, 'largest'), "alignment 'arcface'"),
    (crops.CropSettings('arcface', 112, 'all'), "faces 'largest'"),
  ],
)
def test_other_crops_in_the_same_place_are_refused(
  settings, part, source, tmp_path
):
  run(source, tmp_path / 'out')
  with pytest.raises(ValueError, match=part):
    run(source, tmp_path / 'out', settings)
  assert images(tmp_path / 'out') == EVERYTHING


def test_an_archive_is_unpacked(source, tmp_path):
  path = tmp_path / 'photos.tar.gz'
  with tarfile.open(path, 'w:gz') as file:
    file.add(source, 'photos')
  run(path, tmp_path / 'out')
  assert images(tmp_path / 'out') == EVERYTHING


def test_an_unsafe_archive_leaves_nothing_outside(tmp_path):
  path, deep = tmp_path / 'photos.tar', tmp_path / 'deep'
  deep.mkdir()
  with tarfile.open(path, 'w') as file:
    file.addfile(tarfile.TarInfo('../../evil.jpg'))
  with pytest.raises(ValueError, match='leads outside'):
    run(path, deep / 'out')
  assert not list(tmp_path.rglob('evil.jpg'))
  assert not list(deep.iterdir())


def test_splits_are_sets_of_their_own(source, tmp_path):
  out = tmp_path / 'out'
  report = run(source, out, split=(70, 0, 30))
  people = {}
  for name in ('train', 'test'):
    found = [path.name for path in (out / name).iterdir() if path.is_dir()]
    people[name] = sorted(found)
    assert report['splits'][name]['people'] == people[name]
    assert fingerprint.read(out / name) is not None
  assert sorted(people['train'] + people['test']) == ['Ann', 'Bob', 'Eve']
  # The same in packs.
  run(source, out, split=(70, 0, 30), format='recordio')
  train = recordio.RecordIOSource(out / 'train.rec', 112)
  assert len(train.class_names) == len(people['train'])
  assert fingerprint.read(out / 'test.rec') is not None


def test_people_of_an_evaluation_set_go_when_that_is_asked_for(
  source, tmp_path
):
  run(source, tmp_path / 'lfw')
  shutil.rmtree(tmp_path / 'lfw/Eve')
  (tmp_path / 'lfw/Ann').rename(tmp_path / 'lfw/Someone')
  (tmp_path / 'lfw/Bob').rename(tmp_path / 'lfw/BOB')
  for image in (tmp_path / 'lfw/BOB').iterdir():
    prepare_inputs.make_photograph(image, 99)
  options = {'evaluation': str(tmp_path / 'lfw')}
  report = run(source, tmp_path / 'out', **options)
  assert [entry['person'] for entry in report['shared']] == ['Ann', 'Bob']
  assert len(report['shared'][0]['images']) == 3
  assert report['shared'][1] == {
    'person': 'Bob',
    'name': 'BOB',
    'images': [],
    'removed': False,
  }
  assert images(tmp_path / 'out') == EVERYTHING
  run(source, tmp_path / 'out', **options, remove=['shared'])
  assert images(tmp_path / 'out') == ['Eve/1.jpg']


def test_an_evaluation_set_of_another_alignment_is_refused(source, tmp_path):
  run(source, tmp_path / 'lfw')
  settings = crops.CropSettings('margin', 160, 'largest')
  with pytest.raises(ValueError, match="template 'arcface'"):
    run(source, tmp_path / 'out', settings, evaluation=str(tmp_path / 'lfw'))


def test_two_people_with_one_name_are_kept_apart_and_named(source, tmp_path):
  prepare_inputs.make_photograph(source / 'ANN/1.jpg', 50)
  report = run(source, tmp_path / 'out')
  assert report['same_names'] == [['ANN', 'Ann']]
  assert 'ANN' in folder.FolderSource(tmp_path / 'out', 112).class_names
  text = (tmp_path / 'out/prepare.txt').read_text()
  assert 'same name: ANN | Ann' in text


def test_other_files_and_corrupt_photographs_are_named(source, tmp_path):
  (source / 'Ann/notes.txt').write_text('')
  (source / 'Ann/9.jpg').write_bytes(b'no photograph')
  prepare_inputs.make_photograph(source / 'Ann/2019/1.jpg', 20)
  report = run(source, tmp_path / 'out')
  assert report['ignored'] == ['Ann/2019/', 'Ann/notes.txt']
  assert report['counts']['unreadable'] == 1
  text = (tmp_path / 'out/prepare.txt').read_text()
  assert 'unreadable: Ann/9.jpg: ' in text
  assert 'ignored: Ann/2019/ (a folder)\nignored: Ann/notes.txt\n' in text
  assert 'ignored; 1 of them folders\n' in text
  assert images(tmp_path / 'out') == EVERYTHING


def test_no_face_at_all_is_an_error(tmp_path):
  prepare_inputs.make_photograph(tmp_path / 'in/Ann/1.jpg', 0, faces=0)
  with pytest.raises(ValueError, match=r'None of the 1 photographs .* no face'):
    run(tmp_path / 'in', tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_what_ends_before_a_photograph_leaves_nothing(
  source, tmp_path, monkeypatch
):
  (tmp_path / 'empty').mkdir()
  with pytest.raises(ValueError, match='has no photographs'):
    run(tmp_path / 'empty', tmp_path / 'out')

  def stopped(*_):
    raise KeyboardInterrupt
    yield

  monkeypatch.setattr(crops, 'crop_photographs', stopped)
  with pytest.raises(KeyboardInterrupt, match='0 of 8'):
    run(source, tmp_path / 'out')
  assert not list(tmp_path.glob('*out*'))


def test_what_a_preparation_did_not_write_is_not_replaced(source, tmp_path):
  out = tmp_path / 'out'
  run(source, out)
  (out / 'thesis.txt').write_text('')
  with pytest.raises(ValueError, match=r"has 'thesis\.txt'"):
    run(source, out)
  shutil.rmtree(out)
  out.mkdir()
  run(source, out)
  (out / 'prepare.json').unlink()
  with pytest.raises(ValueError, match="has 'Ann'"):
    run(source, out)


def test_wrong_places_are_refused(source, tmp_path):
  (tmp_path / 'file').write_text('')
  for place, part in [
    (tmp_path / 'file', 'is a file'),
    (tmp_path / 'none/out', 'There is no folder'),
    (tmp_path / 'out.rec', '--format=recordio'),
    (source / 'out', 'not inside of the other'),
    (tmp_path, 'not inside of the other'),
    (source, 'not inside of the other'),
  ]:
    with pytest.raises(ValueError, match=part):
      run(source, place)
  for wrong, part in [
    (tmp_path / 'none', 'There is no'),
    (tmp_path / 'file', 'wanted a folder, or an archive'),
  ]:
    with pytest.raises(ValueError, match=part):
      run(wrong, tmp_path / 'out')
  assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'in']


def test_a_missing_detector_is_refused(source, tmp_path):
  settings = crops.CropSettings('arcface', 112, 'largest', 'none.onnx')
  with pytest.raises(ValueError, match=r'no detector none\.onnx'):
    run(source, tmp_path / 'out', settings)
