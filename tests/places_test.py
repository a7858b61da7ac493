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
    places.find_people(str(tmp_path / name), 'data.path')
  assert str(tmp_path / name) in str(info.value)
  assert 'wanted is a folder person/image.jpg' in str(info.value)


def test_a_folder_of_packs_or_of_people_too_is_not_guessed(tmp_path):
  for name in ('validation.rec', 'test.rec'):
    (tmp_path / name).touch()
  find = places.find_people
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
    places.find_people(str(tmp_path), 'eval.path')
  assert places.find_people(str(tmp_path), 'data.path').endswith('train.rec')


def test_a_list_is_no_folder_of_its_images(tmp_path):
  (tmp_path / 'pairs.txt').touch()
  with pytest.raises(ValueError, match='is a list: set eval'):
    places.refuse_file(str(tmp_path / 'pairs.txt'), 'eval.path')
  places.refuse_file(str(tmp_path), 'eval.path')
