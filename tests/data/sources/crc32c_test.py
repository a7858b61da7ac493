import types

import numpy as np
import pytest
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow
from tensorboard.summary.writer.record_writer import RecordWriter

from faceqat.data.sources import crc32c, tfds


@pytest.mark.parametrize(
  ('data', 'checksum'),
  [
    # RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
    (bytes(32), 0x8A9136AA),
    (b'\xff' * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (b'123456789', 0xE3069283),
    (b'', 0),
  ],
)
def test_checksums_are_those_of_the_standard(data, checksum):
  assert crc32c.crc32c(data) == checksum


@pytest.mark.parametrize('size', [0, 1, 3, 4, 8, 1019, 1020, 1021, 1024, 3000])
def test_masked_checksums_are_those_of_tensorboard(size):
  data = np.random.default_rng(size).bytes(size)
  assert crc32c.masked_crc32c(data) == pywrap_tensorflow.masked_crc32c(data)


def tfrecords(path, change=lambda content: content):
  """Three records that TensorBoard wrote, as the source reads them."""
  with open(path, 'wb') as file:
    writer = RecordWriter(file)
    for text in (b'Ann' * 400, b'', b'Cyd'):
      writer.write(text)
  path.write_bytes(change(path.read_bytes()))
  part = types.SimpleNamespace(
    filename=path, examples_in_shard=3, skip=0, take=-1
  )
  return tfds._TFRecords([part])


def test_whole_records_are_read(tmp_path):
  records = tfrecords(tmp_path / 'x.tfrecord')
  assert list(map(records.__getitem__, range(3))) == [b'Ann' * 400, b'', b'Cyd']


@pytest.mark.parametrize('at', [0, 7, 8, 11])
def test_a_flipped_bit_of_a_length_is_found(at, tmp_path):
  def flip(content):
    start = 1200 + 16 + 16 + at
    return content[:start] + bytes([content[start] ^ 4]) + content[start + 1 :]

  path = tmp_path / 'x.tfrecord'
  with pytest.raises(ValueError, match=f'{path}: the length .* of record 2 is'):
    tfrecords(path, flip)


@pytest.mark.parametrize('at', [12, 700, 12 + 1199, 12 + 1200, 12 + 1203])
def test_a_flipped_bit_of_a_record_is_found(at, tmp_path):
  def flip(content):
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]

  path = tmp_path / 'x.tfrecord'
  records = tfrecords(path, flip)
  assert records[2] == b'Cyd'
  with pytest.raises(ValueError, match=f'{path}: the checksum of record 0 is'):
    records[0]


@pytest.mark.parametrize('cut', [1, 4, 8, 19])
def test_a_file_that_is_cut_short_lacks_records(cut, tmp_path):
  with pytest.raises(ValueError, match=r'x\.tfrecord'):
    tfrecords(tmp_path / 'x.tfrecord', lambda content: content[:-cut])
