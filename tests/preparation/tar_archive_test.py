"""Every header is checked, and no number in one is believed."""

import gzip
import io
import os
import re
import tarfile

import pytest

from faceqat.preparation import archive, tar_archive

PHOTO = bytes(range(256)) * 4
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def tar_bytes(names, kind=tarfile.USTAR_FORMAT, **pax):
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode='w', format=kind) as opened:
    for name in names:
      info = tarfile.TarInfo(name)
      info.size, info.pax_headers = len(PHOTO), pax
      opened.addfile(info, io.BytesIO(PHOTO))
  return file.getvalue()


def header(name, size: bytes, kind=b'0'):
  """A header block with `size` as it stands, and its checksum."""
  block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
  block[124:136], block[156:157] = size.rjust(12, b'0'), kind
  block[148:156] = b' ' * 8
  block[148:156] = b'%06o\0 ' % sum(block)
  return bytes(block)


def pax(records: bytes, kind=b'x'):
  return header('pax', b'%o' % len(records), kind) + records.ljust(512, b'\0')


def read(path, content):
  path.write_bytes(content)
  return [
    (member.name, member.kind, member.content.read())
    for member in tar_archive.members(path, 2**24)
  ]


def unpack_refused(tmp_path, content, message, name='a.tar'):
  path = tmp_path / name
  path.write_bytes(content)
  with pytest.raises(ValueError, match=message) as error:
    archive.unpack(path, tmp_path / 'out')
  assert str(path) in str(error.value)
  assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize('kind', FORMATS)
@pytest.mark.parametrize(
  'name', ['Ann/1.jpg', f'{"Zoë/" * 30}1.jpg', f'{"é" * 40}/{"x" * 90}.png']
)
def test_names_of_all_formats_are_read(kind, name, tmp_path):
  found = read(tmp_path / 'a.tar', tar_bytes([name, 'b'], kind))
  assert found == [(name, 'file', PHOTO), ('b', 'file', PHOTO)]


def test_numbers_in_octal_and_in_bytes_are_read(tmp_path):
  body = PHOTO[:9].ljust(512, b'\0') + bytes(1024)
  for size in (b'        11 \0', b'\x80'.ljust(11, b'\0') + b'\x09'):
    found = read(tmp_path / 'a.tar', header('x', size) + body)
    assert found == [('x', 'file', PHOTO[:9])]


def test_a_comment_for_all_entries_is_passed_over(tmp_path):
  # As `git archive` writes.
  comment = pax(b'20 comment=0123abcd\n', b'g')
  content = comment + tar_bytes(['Ann/1.jpg'])
  assert read(tmp_path / 'a.tar', content) == [('Ann/1.jpg', 'file', PHOTO)]


def test_checksums_of_signed_bytes_are_taken(tmp_path):
  block = bytearray(header('é', b'0'))
  signed = sum(block) - sum(block[148:156]) + 8 * 32 - 2 * 256
  block[148:156] = b'%06o\0 ' % signed
  found = read(tmp_path / 'a.tar', bytes(block) + bytes(1024))
  assert found == [('é', 'file', b'')]


@pytest.mark.parametrize('kind', FORMATS)
def test_no_flipped_bit_of_a_header_loses_an_entry(kind, tmp_path):
  names = ['Ann/1.jpg', f'{"Bob/" * 30}1.jpg']
  content = tar_bytes(names, kind)
  starts = [
    start
    for start in range(0, len(content) - 1024, 512)
    if content[start + 257 : start + 262] == b'ustar'
  ]
  assert len(starts) >= 2
  for position in [start + at for start in starts for at in range(0, 512, 7)]:
    damaged = bytearray(content)
    damaged[position] ^= 1 << position % 8
    # A bit of the checksum that is no part of its number may go.
    try:
      found = read(tmp_path / 'a.tar', bytes(damaged))
    except tar_archive.DamagedError:
      continue
    assert [name for name, *_ in found] == names


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda tar: tar[:1536], r'ends at byte 1536'),
    (lambda tar: tar[:1700], r'ends at byte 1700'),
    (lambda tar: tar[:3584], r'ends at byte 3584'),
    (lambda tar: b'', r'ends at byte 0'),
    (lambda tar: tar[:1536] + bytes(512) + tar[2048:], 'header is blank'),
    (lambda tar: tar[:1536] + bytes(1024) + tar[1536:], 'goes on after its'),
    (lambda tar: tar[:-1] + b'x', 'goes on after its end'),
    (lambda tar: pax(b'10 path=x\n') + bytes(1024), 'without its entry'),
  ],
)
def test_an_archive_without_its_end_is_refused(change, message, tmp_path):
  tar = tar_bytes(['Ann/1.jpg', 'Bob/1.jpg'])
  unpack_refused(tmp_path, change(tar), f'cannot be unpacked .*{message}')


@pytest.mark.parametrize(
  'content',
  [
    pax(b'14 size=-1536\n') + header('.x', b'0'),
    pax(b'13 size=+512\n') + header('.x', b'0'),
    pax(b'12 size=1_0\n') + header('.x', b'0'),
    pax(b'29 size=%s\n' % (b'9' * 20)) + header('.x', b'0'),
    header('.x', b'\xff' * 12),
    header('.x', b'\x80' + b'\xff' * 11),
    header('.x', b'-1000'),
    header('.x', b'9'),
    header('.x', b'-1000', b'x'),
    pax(b'0 size=1\n'),
    pax(b'-5 size=1\n'),
    pax(b'9999999 size=1\n'),
    pax(b'10 size 12\n'),
    pax(b'x size=1\n'),
    pax(b'8 size=1\n', b'g'),
    pax(b'10 size=12\n', b'g'),
    pax(b'10 path=xx\n', b'g'),
  ],
)
def test_numbers_that_no_file_has_are_refused(content, tmp_path):
  unpack_refused(tmp_path, content + bytes(1024), 'cannot be unpacked')


@pytest.mark.parametrize(
  'record',
  [
    b'33 GNU.sparse.realsize=-99999999\n',
    b'22 GNU.sparse.major=1\n',
    b'30 GNU.sparse.size=9999999999\n',
  ],
)
def test_sparse_files_are_refused(record, tmp_path):
  content = pax(record) + header('a/.hidden.jpg', b'0') + bytes(1024)
  unpack_refused(tmp_path, content, 'a sparse file')


def test_sparse_files_of_gnu_are_refused(tmp_path):
  content = header('a/1.jpg', b'0', b'S') + bytes(1024)
  unpack_refused(tmp_path, content, "'a/1.jpg', a sparse file")


def test_an_unknown_type_is_refused(tmp_path):
  content = header('a/1.jpg', b'0', b'Q') + bytes(1024)
  unpack_refused(tmp_path, content, "'a/1.jpg', a thing of an unknown type")


def test_hidden_entries_count(tmp_path, monkeypatch):
  monkeypatch.setattr(archive, 'FREE_BYTES', 2**20)
  content = gzip.compress(header('.x', b'%o' % 2**30) + bytes(2**23))
  unpack_refused(tmp_path, content, 'becomes more than', 'a.tar.gz')


def test_zeros_without_end_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(archive, 'FREE_BYTES', 2**20)
  content = gzip.compress(tar_bytes(['a/1.jpg']) + bytes(2**23))
  unpack_refused(tmp_path, content, 'becomes more than', 'a.tgz')


@pytest.mark.parametrize(
  'change',
  [
    lambda data: data[:-8] + bytes([data[-8] ^ 1]) + data[-7:],
    lambda data: data[:-4] + bytes([data[-4] ^ 1]) + data[-3:],
    lambda data: data[:-8],
    lambda data: data[:-1],
    lambda data: data + b'more',
  ],
)
@pytest.mark.parametrize('name', ['a.tgz', 'a.tar.gz'])
def test_the_checksum_of_gzip_is_compared(change, name, tmp_path):
  data = gzip.compress(tar_bytes(['Ann/1.jpg', '.hidden']))
  unpack_refused(tmp_path, change(data), 'cannot be unpacked', name)


def test_a_flipped_bit_of_the_content_is_found_by_gzip(tmp_path):
  # Stored, not compressed: no other rule of the format would notice.
  data = bytearray(gzip.compress(tar_bytes(['Ann/1.jpg']), compresslevel=0))
  data[data.find(PHOTO) + 100] ^= 4
  unpack_refused(tmp_path, bytes(data), 'CRC check failed', 'a.tgz')


def test_a_long_name_is_cut_in_the_message(tmp_path):
  records = b'%d path=../%s\n' % (60_015, b'x' * 60_000)
  content = header('pax', b'%o' % len(records), b'x')
  content += records + bytes(-len(records) % 512) + header('x', b'0')
  path = tmp_path / 'a.tar'
  path.write_bytes(content + bytes(1024))
  with pytest.raises(ValueError, match='leads outside') as error:
    archive.unpack(path, tmp_path / 'out')
  assert len(re.sub(re.escape(str(path)), '', str(error.value))) < 500
