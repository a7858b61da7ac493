"""A weight file is known by what it holds, whatever it is called."""

import mxnet_files
import numpy as np
import onnx
import pytest
import torch_files as files
from safetensors.numpy import save_file
from small_programs import small_program

from faceqat.integer import program as integer_program
from faceqat.models.weights import (
  mxnet_params,
  onnx_initializers,
  safetensors_file,
  torch_checkpoint,
)
from faceqat.models.weights.weight_formats import format_of, tensorflow_prefix

TENSORS = {
  'conv1.weight': np.arange(6, dtype=np.float32).reshape(1, 2, 3),
  'half': np.float16([0.5]),
  'conv1.num_batches_tracked': np.array(7),
}


def torch_bytes(kind):
  return lambda path: path.write_bytes(files.by_hand(kind))


def save_onnx(path):
  tensor = onnx.numpy_helper.from_array(np.ones(2, np.float32), 'a.weight')
  graph = onnx.helper.make_graph([], 'graph', [], [], [tensor])
  path.write_bytes(onnx.helper.make_model(graph).SerializeToString())


def save_mxnet(path):
  tensors = {'arg:a': np.ones(3, np.float32)}
  path.write_bytes(mxnet_files.params_bytes(tensors))


@pytest.mark.parametrize(
  ('save', 'kind'),
  [
    (torch_bytes('zip'), 'PyTorch'),
    (torch_bytes('legacy'), 'PyTorch'),
    (lambda path: save_file(TENSORS, path), 'safetensors'),
    (save_onnx, 'ONNX'),
    (save_mxnet, 'MXNet'),
  ],
)
@pytest.mark.parametrize('name', ['net.PTH.tar', 'net'])
def test_a_name_decides_nothing(tmp_path, save, kind, name):
  save(tmp_path / name)
  assert format_of(tmp_path / name) == kind


def test_a_checkpoint_of_tensorflow_is_known_by_its_index(tmp_path):
  prefix = tmp_path / 'model-20180402-114759.ckpt-275'
  files_of = ['.index', '.meta', '.data-00000-of-00001']
  for suffix in files_of:
    assert tensorflow_prefix(f'{prefix}{suffix}') is None
  for suffix in files_of:
    prefix.with_name(prefix.name + suffix).touch()
  for suffix in ['', *files_of]:
    assert format_of(f'{prefix}{suffix}') == 'TensorFlow'
    assert tensorflow_prefix(f'{prefix}{suffix}') == str(prefix)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', r'net\.pth is empty, which'),
    (b'\x1f\x8b\x08\x00', r'net\.pth begins with 1f 8b 08 00, .*unpack it'),
    (b'version https://git-lfs', r'net\.pth begins with 76 65 .* torch\.save'),
  ],
)
def test_what_is_no_weight_file_says_what_is(tmp_path, content, message):
  path = tmp_path / 'net.pth'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=message):
    format_of(path)


@pytest.mark.parametrize(
  'read',
  [
    format_of,
    mxnet_params.read_params,
    onnx_initializers.read_initializers,
    safetensors_file.read_safetensors,
    torch_checkpoint.read,
  ],
)
def test_what_cannot_be_opened_is_named(read, tmp_path):
  for path in (tmp_path / 'none', tmp_path):
    with pytest.raises(ValueError, match=f'{path} cannot be read: (No|Is a)'):
      read(path)


def test_safetensors_are_read_as_they_were_written(tmp_path):
  path = tmp_path / 'model.safetensors'
  save_file(TENSORS, path)
  found = safetensors_file.read_safetensors(path)
  assert found.keys() == TENSORS.keys()
  for name, array in TENSORS.items():
    assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found[name], array)


def safetensors_bytes(kind, data, shape):
  header = (
    f'{{"a":{{"dtype":"{kind}","shape":{shape},'
    f'"data_offsets":[0,{len(data)}]}}}}'
  ).encode()
  return len(header).to_bytes(8, 'little') + header + data


def test_bfloat16_of_safetensors_is_float32(tmp_path):
  path = tmp_path / 'model.safetensors'
  numbers = np.float32([1.5, -2.0, 3e-30])
  upper = (numbers.view(np.uint32) >> 16).astype('<u2')
  path.write_bytes(safetensors_bytes('BF16', upper.tobytes(), '[3]'))
  expected = (upper.astype(np.uint32) << 16).view(np.float32)
  np.testing.assert_array_equal(
    safetensors_file.read_safetensors(path)['a'], expected
  )


WHOLE = safetensors_bytes('F32', bytes(24), '[2,3]')


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (WHOLE[:-1], 'damaged, cut short'),
    (WHOLE + b'more', 'damaged, cut short'),
    (WHOLE[:20], 'damaged, cut short'),
    (b'\xff' * 7 + b'\x7f' + WHOLE[8:], 'damaged, cut short'),
    (safetensors_bytes('F32', bytes(24), '[2,4]'), 'damaged, cut short'),
    (safetensors_bytes('F32', bytes(24), '[-2,3]'), 'damaged, cut short'),
    (
      safetensors_bytes('F32', bytes(24), '[9223372036854775807,2]'),
      'damaged, cut short',
    ),
    (
      safetensors_bytes('F32', b'', '[0,4611686018427387904,2]'),
      "'a' has shape .*, which no array has",
    ),
    (
      safetensors_bytes('F8_E4M3', bytes(6), '[6]'),
      r"'a' has the type F8_E4M3",
    ),
  ],
)
def test_safetensors_that_lie_are_refused(tmp_path, content, message):
  path = tmp_path / 'model.safetensors'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=rf'model\.safetensors.*{message}'):
    safetensors_file.read_safetensors(path)


def test_a_program_is_not_taken_for_weights(tmp_path):
  path = tmp_path / 'program.safetensors'
  integer_program.save(small_program(), path)
  with pytest.raises(ValueError, match='is an integer program of faceqat'):
    safetensors_file.read_safetensors(path)
