"""Every version of the format is read; what is wrong is said, by file."""

import struct

import mxnet_files
import numpy as np
import pytest
import real_data

from faceqat.models.weights import mxnet_params

WEIGHTS = real_data.path('weights/mobilefacenet_y1/model-0000.params')
TENSORS = {
  'arg:weight': np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
  'aux:mean': np.array([-1.5, 2.0], np.float64),
  'half': np.array([[0.5]], np.float16),
  'bytes': np.array([0, 255], np.uint8),
  'int32': np.array([-(2**31)], np.int32),
  'int8': np.array([-128, 127], np.int8),
  'int64': np.array([2**40], np.int64),
  'empty': np.zeros((0, 3), np.float32),
}


def read(tmp_path, data):
  path = tmp_path / 'some.params'
  path.write_bytes(data)
  return mxnet_params.read_params(path)


def check_refused(tmp_path, data, match):
  with pytest.raises(ValueError, match=rf'some\.params.*{match}'):
    read(tmp_path, data)


@pytest.mark.parametrize('version', [0, 1, 2, 3])
def test_all_types_and_shapes_are_read(tmp_path, version):
  got = read(tmp_path, mxnet_files.params_bytes(TENSORS, version))
  assert list(got) == list(TENSORS)
  for name, value in TENSORS.items():
    assert got[name].dtype == value.dtype
    np.testing.assert_array_equal(got[name], value, strict=True)


def test_a_single_number_has_no_dimensions_since_version_3(tmp_path):
  tensors = {'number': np.float32(3)}
  data = mxnet_files.params_bytes(tensors, 3)
  assert read(tmp_path, data)['number'] == np.float32(3)
  # Before, it stood for an array that does not exist.
  data = mxnet_files.params_bytes(tensors, 2)
  check_refused(tmp_path, data, 'tensor 0 of 1 has 0 dimensions')


@real_data.needs(WEIGHTS)
def test_what_mxnet_wrote_is_read():
  tensors = mxnet_params.read_params(WEIGHTS)
  assert len(tensors) == 284
  assert sum(tensor.size for tensor in tensors.values()) == 1_022_848
  assert {tensor.dtype for tensor in tensors.values()} == {np.dtype('f4')}
  assert {name[:4] for name in tensors} == {'arg:', 'aux:'}
  # Written as one while the network was made.
  assert (tensors['arg:fc1_gamma'] == 1).all()


@pytest.mark.parametrize('version', [0, 2])
def test_every_truncated_file_is_refused(tmp_path, version):
  data = mxnet_files.params_bytes(TENSORS, version)
  for size in range(8, len(data)):
    check_refused(tmp_path, data[:size], rf'cut short: it has {size} bytes')


@pytest.mark.parametrize('data', [b'', b'\x12\x01', b'PK\x03\x04' * 9])
def test_another_file_is_refused(tmp_path, data):
  check_refused(tmp_path, data, r'no MXNet .* wanted 12 01 00 00')


def changed(offset, form, value):
  """A file of one tensor [2, 3, 4], with a number replaced."""
  data = bytearray(mxnet_files.params_bytes({'weight': TENSORS['arg:weight']}))
  struct.pack_into(form, data, offset, value)
  return bytes(data)


@pytest.mark.parametrize(
  ('offset', 'form', 'value', 'match'),
  [
    (16, '<Q', 2**60, 'tensor 1 of 1152921504606846976'),
    (28, '<i', 1, r'tensor 0 of 1 is sparse \(storage type 1\)'),
    (32, '<I', 33, '33 dimensions'),
    (36, '<q', -1, r'shape \[-1, 3, 4\]'),
    # A petabyte is never asked for.
    (36, '<q', 2**50, 'cut short'),
    (68, '<i', 7, 'type 7'),
    (68, '<i', 1, 'cut short'),
    (176, '<Q', 2**60, 'cut short'),
    (184, '<B', 0xFF, 'name 0 of 1 is not UTF-8'),
  ],
)
def test_damage_is_found(tmp_path, offset, form, value, match):
  check_refused(tmp_path, changed(offset, form, value), match)


def test_an_empty_tensor_is_not_endless(tmp_path):
  data = mxnet_files.params_bytes({'a': np.zeros((0, 3), np.float32)}, 2)
  assert data.count(struct.pack('<qq', 0, 3)) == 1
  data = data.replace(struct.pack('<qq', 0, 3), struct.pack('<qq', 0, 2**62))
  check_refused(tmp_path, data, r'tensor 0 of 1 has shape \[0, 4611')


def test_bytes_behind_the_end_are_refused(tmp_path):
  data = mxnet_files.params_bytes(TENSORS) + b'\0'
  check_refused(tmp_path, data, 'damaged: 1 bytes follow the last name')


@pytest.mark.parametrize('names', [[], ['a', 'a'], ['a', 'b', 'c']])
def test_each_tensor_needs_a_name(tmp_path, names):
  tensors = {'a': np.zeros(2, np.float32), 'b': np.ones(2, np.float32)}
  data = mxnet_files.params_bytes(tensors, names=names)
  check_refused(tmp_path, data, '2 tensors and . different names')
