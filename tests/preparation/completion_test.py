"""People with few crops are completed, and nobody who is evaluated on."""

import collections

import numpy as np
import prepare_inputs
import pytest

from faceqat.data.sources.folder import FolderSource
from faceqat.faces import detection
from faceqat.preparation import completion, crops, listing
from faceqat.preparation.prepare import Options, prepare

SETTINGS = crops.CropSettings('arcface', 112, 'largest')
CROPS = ['Ann/1.jpg', 'Ann/2.jpg', 'Ann/3.jpg', 'Bob/1.jpg', 'Bob/2.jpg']
CROPS += ['Eve/1.jpg']


@pytest.fixture
def run(tmp_path, monkeypatch):
  """Prepares the photographs of `prepare_inputs`; gives report and folder."""
  monkeypatch.setattr(
    detection, 'make_detector', lambda model: prepare_inputs.detect
  )
  source = prepare_inputs.make_photographs(tmp_path / 'in')

  def prepared(**options):
    out = tmp_path / 'out'
    options = Options(workers=1, **options)
    return prepare(source, out, SETTINGS, options), out

  return prepared


def read(out):
  """The bytes of all images by their names."""
  return {
    path.relative_to(out).as_posix(): path.read_bytes()
    for path in out.rglob('*/*.jpg')
  }


def test_people_with_few_images_are_completed(run):
  report, out = run(complete=4)
  more = ['Ann/1.made1.jpg', 'Bob/1.made1.jpg', 'Bob/2.made1.jpg']
  more += [f'Eve/1.made{number}.jpg' for number in (1, 2, 3)]
  before = read(out)
  assert sorted(before) == sorted(CROPS + more)
  # Each is another image than those that it lies beside.
  assert len(set(before.values())) == 12
  assert FolderSource(out, 112)[11]['image'].shape == (112, 112, 3)
  part = report['splits']['']
  assert part['images'] == 12
  assert part['made'] == {'Ann': 1, 'Bob': 2, 'Eve': 3}
  lines = (out / 'prepare.txt').read_text().splitlines()
  assert 'made: Eve: 3' in lines
  assert any(line.split()[:2] == ['made', '6'] for line in lines)
  # The crops that the next run goes on with are as they were.
  assert sorted(read(out.with_name('out.work') / 'crops')) == CROPS
  run(complete=4)
  assert read(out) == before
  run(complete=4, seed=1)
  after = read(out)
  for name, content in before.items():
    assert (content == after[name]) == (name in CROPS)
  # What was made is nobody's photograph.
  found = listing.list_photographs(out)
  assert [photograph.name for photograph in found.photographs] == CROPS
  assert {*more} <= {*found.ignored}


def test_nobody_is_completed_whom_a_network_is_evaluated_on(run):
  report, out = run(complete=4, split=(50, 0, 50))
  assert report['splits']['test']['made'] == {}
  assert not list((out / 'test').glob('*/*.made*'))
  train = report['splits']['train']
  assert train['images'] == 4 * len(train['people'])
  assert len(list((out / 'train').glob('*/*.jpg'))) == train['images']


def test_packs_are_refused_before_anything_is_cut_out(run, tmp_path):
  with pytest.raises(ValueError, match='--complete=4 needs --format=folder'):
    run(complete=4, format='recordio')
  assert not (tmp_path / 'out.work').exists()


def test_what_is_made_follows_from_seed_person_and_name(tmp_path):
  """Not from who else is there."""
  pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
  made = {}
  for folder, people in (('a', ['ann', 'bob']), ('b', ['bob'])):
    files = {person: [f'{person}/1.jpg'] for person in people}
    for person in people:
      (tmp_path / folder / person).mkdir(parents=True)
      path = tmp_path / folder / person / '1.jpg'
      path.write_bytes(crops.encode(pixels))
    plan = completion.plan({'train': files, 'test': files}, 3)
    assert list(plan) == ['train']
    completion.write(plan['train'], tmp_path / folder, seed=0)
    made[folder] = read(tmp_path / folder)
  assert made['b'].items() <= made['a'].items()
  one, other = (made['a'][f'{name}/1.made2.jpg'] for name in ('ann', 'bob'))
  assert one != other


def test_the_crops_are_taken_in_turn():
  files = [f'ann/{number}.jpg' for number in range(3)]
  plan = completion.plan({'': {'ann': files, 'bob': 10 * ['bob/1.jpg']}}, 10)
  assert list(plan['']) == ['ann']
  counts = collections.Counter(file for file, _ in plan['']['ann'])
  assert counts == {files[0]: 3, files[1]: 2, files[2]: 2}
  assert len(set(plan['']['ann'])) == 7
