import pytest

from faceqat.files import folders


@pytest.mark.parametrize(
  'name',
  ['.DS_Store', '._a.jpg', 'Thumbs.db', 'THUMBS.DB', 'desktop.ini', '@eaDir'],
)
def test_what_systems_leave_is_not_seen(name, tmp_path):
  for file in ('b.jpg', 'a.txt', name):
    (tmp_path / file).touch()
  found = [entry.name for entry in folders.visible(tmp_path)]
  assert found == ['a.txt', 'b.jpg']


def test_paths_stand_between_commas_unless_they_have_some(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', '/home/ann')
  for name in ('a,b', 'a', 'c, d', 'e'):
    (tmp_path / name).mkdir()
  split = folders.split_paths
  assert split('') == []
  assert split('a,e') == ['a', 'e']
  # The longest that exists.
  assert split('a,b,e') == ['a,b', 'e']
  assert split('e,c, d') == ['e', 'c, d']
  assert split('e, a') == ['e', 'a']
  assert split('x,~/y') == ['x', '/home/ann/y']


def test_a_folder_is_made_or_the_remedy_is_said(tmp_path):
  assert folders.make(tmp_path / 'a' / 'b').is_dir()
  file = tmp_path / 'file'
  file.touch()
  message = f'the folder {file}/c cannot be made .*; give one in a place where'
  with pytest.raises(ValueError, match=message):
    folders.make(file / 'c')
  folders.check_out(tmp_path / 'new')
  with pytest.raises(ValueError, match=f'--out={file} is a file; give a fol'):
    folders.check_out(file)
