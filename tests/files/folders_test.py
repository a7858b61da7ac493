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
