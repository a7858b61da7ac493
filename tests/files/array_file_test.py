import json

import numpy as np
import pytest
import safetensors.numpy

from faceqat.files import array_file
from faceqat.report import run_folder


def test_arrays_and_texts_are_read(tmp_path):
  path = tmp_path / 'a.safetensors'
  safetensors.numpy.save_file({'x': np.arange(3)}, path, {'of': 'us'})
  arrays, texts = array_file.read_arrays(path)
  np.testing.assert_array_equal(arrays['x'], np.arange(3))
  assert texts == {'of': 'us'}
  safetensors.numpy.save_file({'x': np.arange(3)}, path)
  assert array_file.read_arrays(path)[1] == {}


@pytest.mark.parametrize('kind', ['F8_E5M2', 'NONE'])
def test_types_that_numpy_has_not_are_refused(kind, tmp_path):
  path = tmp_path / 'float.safetensors'
  entry = {'dtype': kind, 'shape': [1], 'data_offsets': [0, 1]}
  header = json.dumps({'params/a': entry}).encode()
  path.write_bytes(len(header).to_bytes(8, 'little') + header + bytes(1))
  with pytest.raises(ValueError, match=r'type unknown here|deserializing'):
    array_file.read_arrays(path)
  with pytest.raises(ValueError, match=f'{path} is damaged'):
    run_folder._count_parameters(path)


def test_a_number_above_a_layer_is_counted_with_it(tmp_path):
  """Names that no tree has, as a damaged file may have them."""
  path = tmp_path / 'float.safetensors'
  arrays = {'params/a': np.ones(2), 'params/a/kernel': np.ones([2, 3])}
  safetensors.numpy.save_file({**arrays, 'batch_stats/a': np.ones(9)}, path)
  assert run_folder._count_parameters(path) == 8
