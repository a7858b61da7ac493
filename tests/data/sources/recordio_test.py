import io
import os
import struct

import numpy as np
import pytest
import real_data
from pictures import filled
from PIL import Image
from recordio_files import MAGIC, frame, payload, write_pack

from faceqat.data.sources import folder, recordio

FACES = real_data.path('data/faces_train')
PACK = real_data.path('data/recordio')
SIZE = 8


def simple_pack(folder_path, **options):
  """Five images of three people, image i filled with 10 i."""
  labels = [0.0, 0.0, 1.0, 2.0, 2.0]
  return write_pack(
    folder_path,
    [payload(label, filled(10 * i)) for i, label in enumerate(labels)],
    **options,
  )


def check_refused(path, offsets, number, message):
  """The pack is refused for the record of this number."""
  where = rf'record {number} \(offset {offsets[number]}\)'
  with pytest.raises(ValueError, match=where + message):
    recordio.RecordIOSource(path, SIZE)


def values(source):
  return [int(source[i]['image'][0, 0, 0]) for i in range(len(source))]


@pytest.mark.parametrize('index', [True, False])
def test_images_and_labels_are_read_with_and_without_an_index(tmp_path, index):
  path, offsets = simple_pack(tmp_path, index=index)
  source = recordio.RecordIOSource(path, SIZE)
  assert values(source) == [0, 10, 20, 30, 40]
  assert source.labels.dtype == np.int32
  assert source.labels.tolist() == [0, 0, 1, 2, 2]
  assert source[4]['label'] == 2
  assert source.class_names == ['0', '1', '2']
  assert source.name(3) == f'{path}: record 3 (offset {offsets[3]})'


def test_images_come_in_the_order_of_their_keys(tmp_path):
  path, _ = simple_pack(tmp_path, keys=[7, 3, 9, 1, 5])
  source = recordio.RecordIOSource(path, SIZE)
  assert values(source) == [30, 10, 40, 0, 20]
  assert 'record 9 ' in source.name(4)


@pytest.mark.parametrize('index', [True, False])
def test_header_and_identity_records_are_passed_over(tmp_path, index):
  labels = [0.0, 0.0, 1.0]
  content = [payload([4.0, 6.0], b'')]
  content += [payload(label, filled(i)) for i, label in enumerate(labels)]
  content += [payload([1.0, 3.0], b''), payload([3.0, 4.0], b'')]
  path, _ = write_pack(tmp_path, content, index=index)
  source = recordio.RecordIOSource(path, SIZE)
  assert values(source) == [0, 1, 2]
  assert source.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize('index', [True, False])
def test_records_cut_at_the_magic_are_joined_again(tmp_path, index):
  # BMP stores pixels as they are: the magic can be put into an image, twice in
  # a row and at the end.
  stream = io.BytesIO()
  Image.new('RGB', (SIZE, SIZE)).save(stream, 'BMP')
  data = bytearray(stream.getvalue())
  # The pixels start at byte 54, 24 + 54 is not a multiple of 4: 56 is.
  for at in (56, 60, 100, len(data) - 6):
    data[at : at + 4] = MAGIC
  content = [payload(1.0, bytes(data)), payload(0.0, filled(9))]
  path, offsets = write_pack(tmp_path, content, index=index)
  # Four cuts, five parts: 4 * 4 bytes of magic less, 4 * 8 bytes of part
  # headers more, and 2 bytes that fill the last word.
  assert offsets[1] == 8 + (24 + len(data) - 16) + 32 + 2
  source = recordio.RecordIOSource(path, SIZE)
  expected = np.asarray(Image.open(io.BytesIO(data)))
  np.testing.assert_array_equal(source[0]['image'], expected)
  assert expected.any()
  assert values(source)[1] == 9
  assert source.labels.tolist() == [1, 0]


def test_a_cut_inside_the_image_header_is_joined_too(tmp_path):
  # The 64-bit id begins with the magic, so the cut is before the image.
  key = 0xCED7230A
  content = [payload(3.0, filled(1), key), payload([5.0, 8.0], filled(2), key)]
  path, _ = write_pack(tmp_path, content)
  source = recordio.RecordIOSource(path, SIZE)
  assert values(source) == [1, 2]
  assert source.class_names == ['3', '5']


def test_the_first_of_a_label_vector_is_the_label(tmp_path):
  content = [
    payload([4.0, 0.5, -1.0], filled(1)),
    payload(2.0, filled(2)),
    payload([2.0], filled(3)),
  ]
  path, _ = write_pack(tmp_path, content)
  source = recordio.RecordIOSource(path, SIZE)
  assert source.class_names == ['2', '4']
  assert source.labels.tolist() == [1, 0, 0]
  assert values(source) == [1, 2, 3]


def test_labels_with_gaps_become_contiguous(tmp_path):
  labels = [900.0, 7.0, 16777215.0, 7.0]
  content = [payload(label, filled(1)) for label in labels]
  path, _ = write_pack(tmp_path, content)
  source = recordio.RecordIOSource(path, SIZE)
  assert source.labels.tolist() == [1, 0, 2, 0]
  assert source.class_names == ['7', '900', '16777215']


@pytest.mark.parametrize(
  'label', [16777216.0, 16777217.0, 1e20, -1.0, 0.5, float('nan')]
)
def test_labels_that_are_not_exact_are_refused_by_record(tmp_path, label):
  content = [payload(0.0, filled(1)), payload(label, filled(2))]
  path, offsets = write_pack(tmp_path, content)
  check_refused(path, offsets, 1, ' has label .* float32')


@pytest.mark.parametrize('index', [True, False])
@pytest.mark.parametrize('missing', [1, 60, 80])
def test_truncated_pack_names_record_and_offset(tmp_path, index, missing):
  path, offsets = simple_pack(tmp_path, index=index)
  whole = path.read_bytes()
  path.write_bytes(whole[:-missing])
  first_hurt = int(np.searchsorted(offsets, len(whole) - missing)) - 1
  check_refused(path, offsets, first_hurt, '.*truncated')


def test_pack_that_lost_whole_records_disagrees_with_its_index(tmp_path):
  path, offsets = simple_pack(tmp_path)
  path.write_bytes(path.read_bytes()[: offsets[3]])
  check_refused(path, offsets, 3, '.*truncated')


def test_overwritten_part_header_is_damage_with_its_offset(tmp_path):
  path, offsets = simple_pack(tmp_path)
  data = bytearray(path.read_bytes())
  data[offsets[2]] ^= 0xFF
  path.write_bytes(data)
  check_refused(path, offsets, 2, ' is damaged')


def edit_index(path, edit):
  index_path = path.with_suffix('.idx')
  lines = index_path.read_text().splitlines()
  index_path.write_text('\n'.join(edit(lines)))


@pytest.mark.parametrize(
  ('edit', 'message'),
  [
    (lambda lines: lines[:-1], 'goes on at offset'),
    (lambda lines: lines[1:], 'disagree: record 1 is indexed at'),
    (lambda lines: lines[:2] + lines[3:], 'disagree: record 3 is indexed at'),
    (lambda lines: [], 'goes on at offset 0'),
    (lambda lines: [*lines, '3\t0'], 'has key 3 twice'),
    # Numbers of 64 bits, to which nothing can be added, and longer ones.
    *(
      (lambda lines, n=n: [*lines, f'9\t{n}'], 'disagree: record 9 is indexed')
      for n in (12, 13, 999996, -8, 2**63 - 8, -(2**63))
    ),
    *(
      (lambda lines, last=last: [last, *lines], 'is no index')
      for last in ('9', 'nine\t1', f'9\t{2**63}', f'9\t{10**30}', f'{2**64}\t0')
    ),
  ],
)
def test_index_that_disagrees_is_refused_with_a_remedy(tmp_path, edit, message):
  path, _ = simple_pack(tmp_path)
  edit_index(path, edit)
  with pytest.raises(ValueError, match=message) as info:
    recordio.RecordIOSource(path, SIZE)
  assert 'walked' in str(info.value)


def test_cut_record_without_its_end_is_damage(tmp_path):
  start = MAGIC + struct.pack('<I', 1 << 29 | 4) + b'abcd'
  whole = frame(payload(0.0, filled(1)))
  (tmp_path / 'train.rec').write_bytes(start + whole)
  with pytest.raises(ValueError, match=r'record 0 \(offset 0\) is damaged'):
    recordio.RecordIOSource(tmp_path / 'train.rec', SIZE)


@pytest.mark.parametrize(
  'content', [b'', b'abcd', struct.pack('<IfQQ', 9, 0.0, 0, 0), MAGIC + b'abcd']
)
def test_records_of_something_else_are_refused(tmp_path, content):
  path, _ = write_pack(tmp_path, [payload(0.0, filled(1)), content])
  with pytest.raises(ValueError, match=r'record 1 .* no pack of images'):
    recordio.RecordIOSource(path, SIZE)


def test_missing_empty_and_foreign_files_are_named(tmp_path):
  path = tmp_path / 'train.rec'
  with pytest.raises(ValueError, match=r'no RecordIO pack .*train\.rec'):
    recordio.RecordIOSource(path, SIZE)
  path.write_bytes(b'')
  with pytest.raises(ValueError, match=r'train\.rec is empty'):
    recordio.RecordIOSource(path, SIZE)
  path.write_bytes(b'not a pack at all')
  with pytest.raises(ValueError, match=r'record 0 \(offset 0\) is damaged'):
    recordio.RecordIOSource(path, SIZE)


@real_data.needs(PACK, FACES)
@pytest.mark.parametrize('index', [True, False])
def test_a_pack_written_by_mxnet_is_read(tmp_path, index):
  path = PACK / 'train.rec'
  if not index:
    os.symlink(path, tmp_path / 'train.rec')
    path = tmp_path / 'train.rec'
  source = recordio.RecordIOSource(path, 112)
  assert len(source) == 196
  assert np.bincount(source.labels).max() == 10
  assert source.class_names == [str(label) for label in range(20)]
  # The pack was made from the folder data set: label 0 is its first person.
  faces = folder.FolderSource(FACES, 112)
  first_person = {
    faces[i]['image'].tobytes() for i in np.flatnonzero(faces.labels == 0)
  }
  packed = np.flatnonzero(source.labels == 0)
  assert len(packed) == 10
  assert {source[i]['image'].tobytes() for i in packed} <= first_person
