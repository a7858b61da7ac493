import gzip
import io
import os
import re
import stat
import tarfile
import zipfile

import pytest

from faceqat.preparation import archive

PHOTO = bytes(range(256)) * 4
FILES = {'Ann/1.jpg': PHOTO, 'Ann/2.jpg': PHOTO[::-1], 'Bob/x/1.jpg': b''}


def make_zip(path, files):
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
    for name, content in files.items():
      file.writestr(name, content)
  return path


def make_tar(path, files, change=lambda info: None):
  with tarfile.open(path, 'w:gz' if path.suffix == '.gz' else 'w') as file:
    for name, content in files.items():
      info = tarfile.TarInfo(name)
      info.size = len(content)
      change(info)
      file.addfile(info, io.BytesIO(content))
  return path


def make(path, files):
  return (make_zip if path.suffix == '.zip' else make_tar)(path, files)


def contents(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in folder.rglob('*')
    if path.is_file()
  }


def check_refused(path, tmp_path, *parts):
  """A ValueError with these parts, and nothing of the archive left."""
  before = sorted(os.listdir(tmp_path))
  with pytest.raises(ValueError, match=re.escape(str(path))) as error:
    archive.unpack(path, tmp_path / 'out')
  for part in parts:
    assert part in str(error.value)
  assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize('name', ['a.zip', 'a.tar', 'a.tar.gz'])
def test_files_come_out_as_they_went_in(name, tmp_path):
  path = make(tmp_path / name, FILES)
  assert archive.is_archive(path)
  archive.unpack(path, tmp_path / 'out')
  assert contents(tmp_path / 'out') == FILES


@pytest.mark.parametrize('name', ['a.zip', 'a.tar'])
def test_hidden_files_are_left_out(name, tmp_path):
  hidden = {'__MACOSX/Ann/._1.jpg': b'x', 'Ann/.DS_Store': b'x'}
  path = make(tmp_path / name, {**FILES, **hidden})
  archive.unpack(path, tmp_path / 'out')
  assert contents(tmp_path / 'out') == FILES


@pytest.mark.parametrize('name', ['a.zip', 'a.tar', 'a.tar.gz'])
@pytest.mark.parametrize(
  'entry',
  ['../evil.jpg', 'Ann/../../evil.jpg', '/evil.jpg', 'C:evil.jpg', '..\\e.jpg'],
)
def test_an_entry_outside_of_the_folder_is_refused(name, entry, tmp_path):
  path = make(tmp_path / name, {**FILES, entry: b'evil'})
  check_refused(path, tmp_path, repr(entry), 'leads outside')


@pytest.mark.parametrize(
  ('kind', 'word'),
  [
    (tarfile.SYMTYPE, 'link'),
    (tarfile.LNKTYPE, 'link'),
    (tarfile.CHRTYPE, 'device'),
    (tarfile.FIFOTYPE, 'device'),
  ],
)
def test_a_link_or_device_in_a_tar_file_is_refused(kind, word, tmp_path):
  def change(info):
    info.type, info.linkname = kind, '/etc/passwd'

  path = make_tar(tmp_path / 'a.tar', {'Ann/1.jpg': b''}, change)
  check_refused(path, tmp_path, "'Ann/1.jpg'", f'a {word}')


def test_a_link_in_a_zip_file_is_refused(tmp_path):
  path = tmp_path / 'a.zip'
  with zipfile.ZipFile(path, 'w') as file:
    info = zipfile.ZipInfo('Ann/1.jpg')
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    file.writestr(info, '/etc/passwd')
  check_refused(path, tmp_path, 'a link')


@pytest.mark.parametrize('name', ['a.zip', 'a.tar.gz'])
def test_a_bomb_is_refused_before_it_is_large(name, tmp_path, monkeypatch):
  monkeypatch.setattr(archive, 'FREE_BYTES', 2**20)
  path = make(tmp_path / name, {'Ann/1.jpg': bytes(4 * 2**20)})
  assert path.stat().st_size * archive.MAX_RATIO < 4 * 2**20
  check_refused(path, tmp_path, 'becomes more than 1 MB', 'unpack it yourself')


def test_many_entries_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(archive, 'MAX_ENTRIES', 2)
  path = make(tmp_path / 'a.zip', FILES)
  check_refused(path, tmp_path, '2 files')


def test_a_long_name_in_a_tar_file_is_not_read(tmp_path):
  # Such a name is read into memory before anything can be asked.
  info = tarfile.TarInfo('././@LongLink')
  info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**31
  path = tmp_path / 'a.tar.gz'
  path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096)))
  check_refused(path, tmp_path, 'becomes more than')


@pytest.mark.parametrize('name', ['a.zip', 'a.tar'])
@pytest.mark.filterwarnings('ignore:Duplicate name')  # zipfile's, when written
def test_an_entry_that_comes_twice_is_refused(name, tmp_path):
  path = tmp_path / name
  if path.suffix == '.zip':
    with zipfile.ZipFile(path, 'w') as file:
      file.writestr('Ann/1.jpg', b'1')
      file.writestr('Ann/1.jpg', b'2')
  else:
    with tarfile.open(path, 'w') as file:
      for _ in range(2):
        file.addfile(tarfile.TarInfo('Ann/1.jpg'))
  check_refused(path, tmp_path, 'twice')


def test_a_file_that_is_also_a_folder_is_refused(tmp_path):
  path = make(tmp_path / 'a.zip', {'Ann': b'x', 'Ann/1.jpg': b'x'})
  check_refused(path, tmp_path, 'as a file and as a folder')


@pytest.mark.parametrize('name', ['a.zip', 'a.tar', 'a.tar.gz'])
@pytest.mark.parametrize('damage', ['cut', 'other'])
def test_a_damaged_archive_is_refused(name, damage, tmp_path):
  path = make(tmp_path / name, FILES)
  content = path.read_bytes()
  # A tar file ends in 10 KB of zeros, or less.
  content = content[:700] if damage == 'cut' else b'photographs' * 100
  path.write_bytes(content if name != 'a.tar.gz' else content[:100])
  check_refused(path, tmp_path, 'cannot be unpacked', 'without a password')


@pytest.mark.parametrize('size', [0, 1000])
def test_the_checksum_of_a_zip_entry_is_compared(size, tmp_path):
  path = make_zip(tmp_path / 'a.zip', {'Ann/1.jpg': bytes(size)})
  content = bytearray(path.read_bytes())
  content[content.find(b'PK\x01\x02') + 16] ^= 1
  path.write_bytes(content)
  check_refused(path, tmp_path, 'Bad CRC-32')


def test_a_zip_file_that_lacks_an_entry_is_refused(tmp_path):
  path = make_zip(tmp_path / 'a.zip', {'Ann/1.jpg': b'1', 'Bob/1.jpg': b'2'})
  content = path.read_bytes()
  second = content.rfind(b'PK\x01\x02')
  end = bytearray(content[content.find(b'PK\x05\x06') :])
  first_bytes = second - content.find(b'PK\x01\x02')
  end[12:16] = first_bytes.to_bytes(4, 'little')
  path.write_bytes(content[:second] + end)
  check_refused(path, tmp_path, 'states 2 entries and has 1')


@pytest.mark.parametrize('kind', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_without_a_bound_are_refused(kind, tmp_path):
  path = tmp_path / 'a.zip'
  with zipfile.ZipFile(path, 'w', kind) as file:
    file.writestr('Ann/1.jpg', PHOTO)
  check_refused(path, tmp_path, 'wanted stored or deflated')


@pytest.mark.parametrize('name', ['', '.', './'])
def test_an_entry_without_a_name_is_refused(name, tmp_path):
  path = make_zip(tmp_path / 'a.zip', {'x' * max(1, len(name)): b'x'})
  content = path.read_bytes()
  if name:
    content = content.replace(b'x' * len(name), name.encode())
  else:
    content = bytearray(content)
    start = content.find(b'PK\x01\x02')
    content[26] = content[start + 28] = 0
    del content[start + 46], content[30]
    # Where the directory begins, and how long it is.
    content[-10] -= 1
    content[-6] -= 1
  path.write_bytes(content)
  if name == './':
    archive.unpack(path, tmp_path / 'out')
    assert contents(tmp_path / 'out') == {}
  else:
    check_refused(path, tmp_path, 'without a name')


@pytest.mark.parametrize(
  ('field', 'value'), [(42, 2**32 - 2), (42, 2**31), (16, 7)]
)
def test_numbers_that_lead_nowhere_are_refused(field, value, tmp_path):
  path = make_zip(tmp_path / 'a.zip', FILES)
  content = bytearray(path.read_bytes())
  start = content.find(b'PK\x01\x02') + field
  content[start : start + 4] = value.to_bytes(4, 'little')
  path.write_bytes(content)
  check_refused(path, tmp_path, 'cannot be unpacked')


@pytest.mark.parametrize('name', ['a.zip', 'a.tar'])
@pytest.mark.parametrize(
  ('entry', 'message'),
  [('a/' * 1500 + 'x', '1501 folders deep'), ('x' * 300, 'cannot be written')],
)
def test_names_that_no_disk_holds_are_refused(name, entry, message, tmp_path):
  path = make(tmp_path / name, {entry: b'x'})
  check_refused(path, tmp_path, message)


def test_an_encrypted_archive_is_refused(tmp_path):
  path = make(tmp_path / 'a.zip', {'Ann/1.jpg': PHOTO})
  content = bytearray(path.read_bytes())
  content[6] |= 1
  content[content.find(b'PK\x01\x02') + 8] |= 1
  path.write_bytes(content)
  check_refused(path, tmp_path, 'password')


def test_a_missing_archive_is_refused(tmp_path):
  check_refused(tmp_path / 'a.zip', tmp_path, 'no archive')
