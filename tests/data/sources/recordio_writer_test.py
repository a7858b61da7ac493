import io

import numpy as np
import pytest
import real_data
from pictures import filled
from PIL import Image
from recordio_files import MAGIC

from faceqat.data.sources import recordio, recordio_writer

PACK = real_data.path('data/recordio')
SIZE = 8


def write(path, content):
  with recordio_writer.RecordIOWriter(path) as pack:
    for data, label, name in content:
      pack.write(data, label, name)


CONTENT = [(filled(10 * i), i // 2, f'person {i // 2}') for i in range(6)]


def test_what_is_written_is_read_without_its_index(tmp_path):
  path = tmp_path / 'train.rec'
  write(path, CONTENT)
  (tmp_path / 'train.idx').unlink()
  source = recordio.RecordIOSource(path, SIZE)
  assert source.labels.tolist() == [0, 0, 1, 1, 2, 2]
  pixels = [int(source[i]['image'][0, 0, 0]) for i in range(6)]
  assert pixels == [0, 10, 20, 30, 40, 50]


def test_images_that_hold_the_magic_are_cut_there(tmp_path):
  data = bytearray(filled(0, form='BMP'))
  # Its pixels start at byte 54; 24 bytes of header come before.
  for at in (56, 60, 101, len(data) - 6):
    data[at : at + 4] = MAGIC
  path = tmp_path / 'train.rec'
  write(path, [(bytes(data), 0, 'a'), *[(d, 1, 'b') for d, _, _ in CONTENT]])
  source = recordio.RecordIOSource(path, SIZE)
  expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
  np.testing.assert_array_equal(source[0]['image'], expected)
  assert len(source) == 7


@real_data.needs(PACK)
def test_the_files_are_those_of_mxnet(tmp_path):
  """Header, images and identity records, byte by byte."""
  original = recordio.RecordIOSource(PACK / 'train.rec', 112)
  data = (PACK / 'train.rec').read_bytes()
  path = tmp_path / 'train.rec'
  with recordio_writer.RecordIOWriter(path) as pack:
    for index, label in enumerate(original.labels):
      payload = original._pack.payload(index, original._offsets[index])
      pack.write(payload[24:], int(label), str(label))
  assert path.read_bytes() == data
  index = (tmp_path / 'train.idx').read_text()
  assert index.split() == (PACK / 'train.idx').read_text().split()


def test_more_records_than_float32_counts_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(recordio_writer, '_MAX_KEY', 8)
  with pytest.raises(ValueError, match='write an ArrayRecord'):
    write(tmp_path / 'train.rec', CONTENT)
