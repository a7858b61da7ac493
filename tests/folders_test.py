import pytest

from faceqat import folders


@pytest.mark.parametrize(
  'name',
  ['.DS_Store', '._a.jpg', 'Thumbs.db', 'THUMBS.DB', 'desktop.ini', '@eaDir'],
)
def test_what_systems_leave_is_not_seen(name, tmp_path):
  for file in ('b.jpg', 'a.txt', name):
    (tmp_path / file).touch()
  found = [entry.name for entry in folders.visible(tmp_path)]
  assert found == ['a.txt', 'b.jpg']
