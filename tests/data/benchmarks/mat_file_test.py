"""What SciPy writes is read; what is damaged ends the reading alone."""

import zlib

import numpy as np
import pytest
import scipy.io

from faceqat.data.benchmarks import mat_file


def cells(*shape):
  """Cells with texts, cells in cells, and structures."""
  made = np.empty(shape, object)
  for place in np.ndindex(*shape):
    inner = np.empty([1, 2], object)
    inner[0, 0] = {'name': f'Zoë {place}', 'age': 30}
    inner[0, 1] = ''
    made[place] = inner
  return made


def write(path, value, **options):
  scipy.io.savemat(path, {'first': 1.0, 'splits': value}, **options)
  return path


@pytest.mark.parametrize('compressed', [True, False])
@pytest.mark.parametrize('shape', [(1, 3), (2, 4), (2, 1, 3)])
def test_cells_structures_and_texts_are_read(shape, compressed, tmp_path):
  path = write(tmp_path / 'a.mat', cells(*shape), do_compression=compressed)
  found = mat_file.read_mat(path, 'splits')
  assert found.shape == shape
  for place in np.ndindex(*shape):
    assert found[place][0, 0].tolist() == [[(f'Zoë {place}', None)]]
    assert found[place][0, 1] == ''


def test_what_is_not_of_lists_is_refused(tmp_path):
  path = tmp_path / 'a.mat'
  for value, message in (
    (np.array([['ab', 'cd']], object).T, None),
    (np.array(['ab', 'cd']), 'a text of 2 rows'),
  ):
    write(path, value)
    if message is None:
      assert mat_file.read_mat(path, 'splits').tolist() == [['ab'], ['cd']]
      with pytest.raises(ValueError, match='has no variable other'):
        mat_file.read_mat(path, 'other')
      continue
    with pytest.raises(ValueError, match=message):
      mat_file.read_mat(path, 'splits')
  deep = 'text'
  for _ in range(40):
    outer = np.empty([1, 1], object)
    outer[0, 0] = deep
    deep = outer
  with pytest.raises(ValueError, match='too deep'):
    mat_file.read_mat(write(path, deep), 'splits')
  path.write_bytes(bytes(200))
  with pytest.raises(ValueError, match='no file of MATLAB'):
    mat_file.read_mat(path, 'splits')


@pytest.mark.parametrize('compressed', [True, False])
def test_damaged_bytes_end_in_an_error_or_are_read(compressed, tmp_path):
  path = write(tmp_path / 'a.mat', cells(1, 2), do_compression=compressed)
  content = path.read_bytes()
  for length in range(0, len(content), 40):
    path.write_bytes(content[:length])
    with pytest.raises((ValueError, zlib.error)):
      mat_file.read_mat(path, 'splits')
  rng = np.random.default_rng(0)
  for _ in range(100):
    damaged = bytearray(content)
    damaged[int(rng.integers(len(content)))] ^= int(rng.integers(1, 256))
    path.write_bytes(damaged)
    try:
      mat_file.read_mat(path, 'splits')
    except (ValueError, zlib.error):
      continue
