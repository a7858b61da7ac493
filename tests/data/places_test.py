import functools

import ml_collections
import pytest

from faceqat.data import places


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('train.lst', r'is a list: set data\.path to the folder of the images'),
    ('faces.ZIP', r'is an archive: unpack it and set data\.path .*prepare'),
    ('faces.tar.gz', 'is an archive'),
    ('train.rec.gz', r'is compressed: unpack it, and set data\.path'),
    ('train.idx', r'index of a pack: set data\.path to the \.rec'),
    ('lfw.bin', r'set eval\.path to it'),
    ('ms1m.tfrecord', 'tfds:NAME'),
    ('1.jpg', 'is one image'),
    ('data.parquet', 'is a file of a kind that is not read'),
  ],
)
def test_a_file_of_another_kind_says_what_to_do(name, message, tmp_path):
  (tmp_path / name).touch()
  with pytest.raises(ValueError, match=message) as info:
    places.people_folder(str(tmp_path / name), 'data.path')
  assert str(tmp_path / name) in str(info.value)
  assert 'wanted is a folder person/image.jpg' in str(info.value)


def test_a_folder_of_packs_or_of_people_too_is_not_guessed(tmp_path):
  for name in ('validation.rec', 'test.rec'):
    (tmp_path / name).touch()
  find = places.people_folder
  with pytest.raises(ValueError, match=r'set data\.path to .*/test\.rec or '):
    find(str(tmp_path), 'data.path')
  (tmp_path / 'train.rec').touch()
  assert find(str(tmp_path), 'data.path') == str(tmp_path / 'train.rec')
  (tmp_path / 'Ann').mkdir()
  assert find(str(tmp_path), 'data.path') == str(tmp_path / 'train.rec')
  (tmp_path / 'Ann' / '1.jpg').touch()
  message = r'people such as Ann: set data\.path to .*/train\.rec, or move'
  with pytest.raises(ValueError, match=message):
    find(str(tmp_path), 'data.path')


def test_a_folder_of_sets_of_pairs_is_not_one_of_people(tmp_path):
  for name in ('train.rec', 'lfw.bin', 'cfp_fp.bin'):
    (tmp_path / name).touch()
  message = r'set eval\.path to .*/cfp_fp\.bin,.*/lfw\.bin'
  with pytest.raises(ValueError, match=message):
    places.people_folder(str(tmp_path), 'eval.path')
  assert places.people_folder(str(tmp_path), 'data.path').endswith('train.rec')


def test_a_list_is_no_folder_of_its_images(tmp_path):
  (tmp_path / 'pairs.txt').touch()
  with pytest.raises(ValueError, match='is a list: set eval'):
    places.refuse_file(str(tmp_path / 'pairs.txt'), 'eval.path')
  places.refuse_file(str(tmp_path), 'eval.path')


@pytest.fixture
def sets(tmp_path):
  """Three folders, one of which has a comma in its name."""
  paths = [tmp_path / name for name in ('a', 'faces, aligned', 'c')]
  for path in paths:
    path.mkdir()
  return list(map(str, paths))


def test_sets_stand_between_commas_in_a_tuple_or_in_a_file(
  sets, tmp_path, monkeypatch
):
  find = functools.partial(places.list_sets, field='data.path')
  assert find(','.join(sets)) == sets
  assert find(', '.join(sets)) == sets
  assert find(tuple(sets)) == find(sets) == sets
  assert find(sets[1]) == sets[1:2]
  assert find('') == ['']
  (tmp_path / 'c' / 'train.rec').touch()
  names = tmp_path / 'Sets.TXT'
  # As an editor of Windows writes it.
  text = f'\ufeffa\r\n\r\nfaces, aligned\r\n{tmp_path}/c\r\ntfds:x\r\n'
  names.write_text(text, encoding='utf-8', newline='')
  monkeypatch.setenv('HOME', str(tmp_path))
  expected = [*sets[:2], f'{sets[2]}/train.rec', 'tfds:x']
  assert find(str(names)) == find('~/Sets.TXT') == expected
  assert find('~/a,~/c') == find(('~/a', '~/c')) == [sets[0], expected[2]]
  assert places.shown(('a', 'b')) == 'a, b'
  assert places.shown('') == 'faces that faceqat draws'


@pytest.mark.parametrize(
  ('path', 'message'),
  [
    ('{a},{a}/gone', 'data.path=.* names 2 sets, and there is no .*/gone: a'),
    (('{a}', ''), 'data.path names a set without a path'),
    ((), 'data.path names no set'),
    ('{a},{a}/../a', 'names .*a twice: name it once'),
    (
      '{a}/images.txt',
      r'images\.txt, line 2: there is no .*/1\.jpg 0\. A text',
    ),
    ('{a}/empty.txt', r'empty\.txt names no set'),
    ('{a}/binary.txt', r'binary\.txt is no list of sets: it is not UTF-8'),
    ('{a},{a}/images.txt', r'images\.txt is a list: set data\.path'),
  ],
)
def test_sets_that_cannot_be_are_named(path, message, sets, tmp_path):
  for name, content in (
    ('images.txt', b'\n1.jpg 0\n2.jpg 0\n'),
    ('empty.txt', b'\n'),
    ('binary.txt', b'\xff\xfe\n'),
  ):
    (tmp_path / 'a' / name).write_bytes(content)
  if isinstance(path, str):
    path = path.format(a=sets[0])
  else:
    path = tuple(one.format(a=sets[0]) for one in path)
  with pytest.raises(ValueError, match=message):
    places.list_sets(path, 'data.path')


@pytest.mark.parametrize(
  ('trained', 'evaluated', 'warned'),
  [
    ('faces', 'faces', ['faces']),
    ('faces', 'other,faces/test', ['faces/test']),
    ('faces/train,other', 'faces', ['faces']),
    ('faces/train', 'faces/test', []),
    ('faces', 'link', ['link']),
    ('', 'faces', []),
    ('faces', '', []),
    ('gone', 'gone', []),
  ],
)
def test_people_of_the_training_are_no_test(
  trained, evaluated, warned, tmp_path, monkeypatch
):
  for name in ('faces/train', 'faces/test', 'other'):
    (tmp_path / name).mkdir(parents=True)
  (tmp_path / 'link').symlink_to(tmp_path / 'faces')
  monkeypatch.chdir(tmp_path)
  notes = places.trained_on(
    ml_collections.ConfigDict({'path': evaluated}),
    ml_collections.ConfigDict({'path': trained}),
  )
  assert [note.split()[2] for note in notes] == warned
  assert all('prepare --split' in note for note in notes)
