import errno
import os
import stat

import pytest

from faceqat.files import atomic


def test_the_content_is_written_and_replaced(tmp_path):
  path = tmp_path / 'file'
  for content in (b'first', b'', bytes(range(256)) * 100):
    atomic.write(path, content)
    assert path.read_bytes() == content
  atomic.write(str(path), b'by name')
  assert path.read_bytes() == b'by name'
  assert list(tmp_path.iterdir()) == [path]


def test_what_killed_processes_left_is_cleared_away(tmp_path):
  for name in ('a[1].png', 'b.png'):
    for path in (tmp_path / name, atomic.temporary_name(tmp_path / name)):
      path.write_text('x')
  folder = atomic.temporary_name(tmp_path / 'a[1].png')
  folder.mkdir()
  (folder / 'file').touch()
  atomic.clear(tmp_path, 'a[1].png')
  left = [path.name for path in tmp_path.glob('.*.tmp')]
  assert len(left) == 1
  assert left[0].startswith('.b.png.')
  atomic.clear(tmp_path)
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    'a[1].png',
    'b.png',
  ]


@pytest.mark.parametrize('umask', [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(umask, tmp_path):
  before = os.umask(umask)
  try:
    atomic.write(tmp_path / 'ours', b'x')
    (tmp_path / 'other').write_bytes(b'x')
  finally:
    os.umask(before)
  modes = [
    stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ('ours', 'other')
  ]
  assert modes == [0o666 & ~umask] * 2


@pytest.mark.parametrize('step', ['fsync', 'replace'])
@pytest.mark.parametrize('error', [OSError('disk full'), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(
  step, error, tmp_path, monkeypatch
):
  path = tmp_path / 'file'
  path.write_bytes(b'old')

  def fail(*_):
    # All is written by now, and not yet in place.
    (temporary,) = set(tmp_path.iterdir()) - {path}
    assert temporary.read_bytes() == b'new'
    raise error

  monkeypatch.setattr(os, step, fail)
  with pytest.raises(type(error)):
    atomic.write(path, b'new')
  assert [p.read_bytes() for p in tmp_path.iterdir()] == [b'old']


def test_a_full_disk_is_named_with_the_file(tmp_path, monkeypatch):
  def fail(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, 'fsync', fail)
  path = tmp_path / 'file'
  with pytest.raises(OSError, match=f'No space left on device: .{path}'):
    atomic.write(path, b'new')
  assert not list(tmp_path.iterdir())


def test_the_disk_has_the_content_before_the_name(tmp_path, monkeypatch):
  calls = []
  for name in ('fsync', 'replace'):
    call = getattr(os, name)
    monkeypatch.setattr(
      os, name, lambda *a, n=name, c=call: (calls.append(n), c(*a))
    )
  atomic.write(tmp_path / 'file', b'x')
  assert calls == ['fsync', 'replace']


def test_a_folder_in_the_way_stays(tmp_path):
  (tmp_path / 'folder').mkdir()
  with pytest.raises(OSError, match='folder'):
    atomic.write(tmp_path / 'folder', b'x')
  assert list(tmp_path.iterdir()) == [tmp_path / 'folder']


def test_a_missing_folder_is_named(tmp_path):
  path = tmp_path / 'new' / 'file'
  with pytest.raises(FileNotFoundError, match=rf'{path} .*no folder .*make it'):
    atomic.write(path, b'x')


def test_a_folder_in_the_place_of_the_file_is_named_as_it_was_given(tmp_path):
  (tmp_path / 'out').mkdir()
  with pytest.raises(IsADirectoryError) as raised:
    atomic.write(tmp_path / 'out', b'x')
  assert raised.value.filename == str(tmp_path / 'out')
  assert [path.name for path in tmp_path.iterdir()] == ['out']
