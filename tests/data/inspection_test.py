"""Images that cannot be used, and those of two people, found at the start."""

import numpy as np
import pytest
from face_sets import (
  FORMS,
  IMAGES,
  PEOPLE,
  SIZE,
  data_config,
  encode,
  eval_config,
  images_of,
  pair_images,
  who,
  write_folder,
  write_list,
)

from faceqat import progress
from faceqat.data import datasets, inspection, pipeline
from faceqat.data.sources.folder import FolderSource
from faceqat.faces.images import SkippedImages

# One of each kind, by what is said of it.
REASONS = (
  'is empty',
  'cannot be decoded',
  'cannot be decoded',
  'has 20x20 pixels, wanted 16x16',
  'it is a link to /nowhere/x.png',
)


def spoil(root):
  """Spoils the third image of five people; returns their paths."""
  paths = [root / f'p{i:02d}' / f'p{i:02d}_0003.png' for i in range(5)]
  empty, cut, text, large, link = paths
  empty.write_bytes(b'')
  cut.write_bytes(cut.read_bytes()[:50])
  text.write_bytes(b'404: not found')
  large.write_bytes(encode(3, 2, size=20))
  link.unlink()
  link.symlink_to('/nowhere/x.png')
  return paths


def check(source, skipped=None, **options):
  options = {'every_image': True, **options}
  return inspection.check_training_images(source, skipped, **options)


def test_all_that_cannot_be_used_is_found_and_named(tmp_path, caplog):
  root = write_folder(tmp_path / 'faces')
  source = FolderSource(root, SIZE)
  assert check(source) == []
  paths = spoil(root)
  with pytest.raises(ValueError, match=r'data\.skip_damaged=True') as raised:
    check(source)
  message = str(raised.value)
  assert 'So 5 of 180 images cannot be used' in message
  for path, reason in zip(paths, REASONS):
    assert reason in message.split(str(path))[1]
  skipped = SkippedImages()
  assert check(source, skipped) == [
    'note: 5 of 180 images cannot be used and are passed over'
  ]
  # Whoever meets them later names them no more.
  iterator = pipeline.make_train_iterator(
    source,
    batch_size=36,
    seed=0,
    augment=None,
    skip_damaged=True,
    skipped=skipped,
    num_threads=2,
  )
  for _ in range(5):
    next(iterator)
  iterator.close()
  assert iterator.num_skipped >= 5
  logged = [record.getMessage() for record in caplog.records]
  assert [str(path) in line for path, line in zip(paths, logged)] == [True] * 5
  assert len(logged) == 5


def test_damage_is_passed_over_wherever_images_are_used(tmp_path, caplog):
  root = write_folder(tmp_path / 'faces')
  config = data_config(path=str(root), validation_people=21)
  whole = datasets.make_training_data(config)
  held_out = [images_of(datasets.make_held_out_people(config))]
  config.skip_damaged = True
  same = datasets.make_training_data(config)
  held_out.append(images_of(datasets.make_held_out_people(config)))
  # Nothing is damaged: nothing changes.
  for one, other in zip(whole[:2], same[:2]):
    assert [one.name(i) for i in range(len(one))] == [
      other.name(i) for i in range(len(other))
    ]
  np.testing.assert_array_equal(whole.validation.first, same.validation.first)
  np.testing.assert_array_equal(*map(np.array, held_out))
  stranger = who(pair_images(whole.validation)[-1])[0]
  # In the middle of an image held out, the first of the set and a person's all.
  for name in (whole.known.name(3), f'{root}/p00/p00_0001.png'):
    with open(name, 'r+b') as file:
      file.seek(50)
      file.write(b'\xff' * 8)
  for path in (root / f'p{stranger:02d}').iterdir():
    path.write_bytes(b'')
  data = datasets.make_training_data(config)
  people = {who(image)[0] for image in pair_images(data.validation)}
  assert stranger not in people
  assert len(datasets.make_held_out_people(config).class_names) == 20
  batches = list(pipeline.batches(data.known, 4, data.skipped))
  assert sum(batch['_mask'].sum() for batch in batches) == 8
  logged = [record.getMessage() for record in caplog.records]
  assert sum(whole.known.name(3) in line for line in logged) == 1
  config.skip_damaged = False
  with pytest.raises(ValueError, match=f'p{stranger:02d}_000.*is empty'):
    datasets.make_training_data(config)


@pytest.mark.parametrize(('write', 'name'), FORMS)
def test_most_images_have_to_be_of_the_size(write, name, tmp_path):
  config = data_config(
    path=str(write(tmp_path / name)), image_size=12, skip_damaged=True
  )
  with pytest.raises(ValueError, match=r'16x16 .* wanted 12x12: .*stored_'):
    datasets.make_training_data(config)
  # A few tell that, too.
  config.check_images = False
  with pytest.raises(ValueError, match='So 20 of 20 images cannot be used'):
    datasets.make_training_data(config)


def test_few_images_are_looked_at_where_that_is_asked_for(tmp_path):
  source = FolderSource(write_folder(tmp_path), SIZE)
  seen, encoded = [], source.encoded
  source.encoded = lambda index: seen.append(index) or encoded(index)
  check(source, every_image=False)
  assert len(seen) == 20
  assert (min(seen), max(seen)) == (0, PEOPLE * IMAGES - 1)
  seen.clear()
  for index in range(2):
    check(source, process_index=index, process_count=2)
  assert sorted(seen) == list(range(PEOPLE * IMAGES))


def test_one_picture_of_two_people_is_pointed_out(tmp_path):
  root = write_folder(tmp_path / 'faces')
  one, other = root / 'p01' / 'p01_0002.png', root / 'p07' / 'p07_0004.png'
  other.write_bytes(one.read_bytes())
  # Twice with one person, it is no matter.
  (root / 'p01' / 'again.png').write_bytes(encode(1, 3))
  data = datasets.make_training_data(data_config(path=str(root)))
  (note,) = data.summary[1:]
  assert note == (
    f"note: {one} and {other} are one picture, trained as 'p01' and as 'p07'; "
    'remove the wrong one'
  )
  for person in range(10, 20):
    (root / f'p{person}' / 'x.png').write_bytes(encode(99, 0))
  notes = datasets.make_training_data(data_config(path=str(root))).summary[1:]
  assert len(notes) == 6
  assert notes[-1] == 'note: 5 more pictures are of two people'


def test_pairs_whose_images_are_damaged_are_refused_at_once(tmp_path):
  root = write_folder(tmp_path / 'lfw', people=4)
  config = eval_config(
    path=str(root), pairs=str(write_list(tmp_path, range(4)))
  )
  path = root / 'p03' / 'p03_0001.png'
  path.write_bytes(path.read_bytes()[:50])
  with pytest.raises(ValueError, match=f'{path} cannot .*: restore it, as all'):
    datasets.make_benchmarks(config, image_size=SIZE)


def test_how_far_it_is_is_printed(tmp_path, monkeypatch, capsys):
  source = FolderSource(write_folder(tmp_path), SIZE)
  check(source)
  assert capsys.readouterr().err == ''
  monkeypatch.setattr(progress, '_SECONDS_PER_LINE', 0)
  check(source)
  # Beside the reminders that it goes on.
  printed = capsys.readouterr().err.splitlines()
  lines = [line for line in printed if '/180' in line]
  assert lines[0].startswith('looked at images 1/180  ')
  assert lines[-1].startswith('looked at images 180/180  ')
