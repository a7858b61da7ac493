import functools
import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch_files as files
from hostile_pickles import check_flips, check_truncations
from torch_files import FORMATS, NUMBERS, by_hand, read

from faceqat.models.weights import torch_checkpoint

TRUNCATED = r'net\.pth is damaged, truncated'


@pytest.fixture(params=FORMATS)
def saved(request, tmp_path):
  """Saves with PyTorch in one of the formats; returns what is read."""
  torch = pytest.importorskip('torch')

  def save(content, **fields):
    path = tmp_path / 'net.pth'
    zipped = request.param == 'zip'
    torch.save(content, path, _use_new_zipfile_serialization=zipped, **fields)
    return torch_checkpoint.read(path)

  return save


def test_a_trained_networks_tensors_are_those_that_were_saved(saved):
  import torch

  torch.manual_seed(0)
  network = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.PReLU(4)
  )
  network(torch.randn(2, 3, 8, 8))
  state = network.state_dict()
  arrays = saved(state)
  assert list(arrays) == list(state)
  for name, tensor in state.items():
    assert arrays[name].dtype == tensor.numpy().dtype
    np.testing.assert_array_equal(arrays[name], tensor.numpy())
  assert arrays['1.num_batches_tracked'].shape == ()


@pytest.mark.parametrize(
  'dtype',
  [
    *('float64', 'float32', 'float16', 'bfloat16'),
    *('int64', 'int32', 'int16', 'int8', 'uint8', 'bool'),
  ],
)
def test_every_element_type_is_exact(saved, dtype):
  import torch

  values = torch.tensor([-3.0, 0.0, 1.0, 100.5]).abs().to(getattr(torch, dtype))
  array = saved({'x': values})['x']
  if dtype == 'bfloat16':
    values = values.float()
  assert array.dtype == values.numpy().dtype
  np.testing.assert_array_equal(array, values.numpy())


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_every_protocol_is_read(saved, protocol):
  import torch

  content = {'epoch': 3, 'state_dict': {'x': torch.arange(5)}}
  arrays = saved(content, pickle_protocol=protocol)
  np.testing.assert_array_equal(arrays['x'], np.arange(5))


def test_views_parts_and_shared_storages(saved):
  import torch

  whole = torch.arange(24.0).reshape(2, 3, 4)
  state = {
    'whole': whole,
    'transposed': whole.permute(2, 0, 1),
    'part': whole[1, 1:, ::2],
    'scalar': whole[1, 2, 3],
    'empty': whole[:, :0],
    'parameter': torch.nn.Parameter(torch.ones(3)),
  }
  arrays = saved(state)
  for name, tensor in state.items():
    np.testing.assert_array_equal(arrays[name], tensor.detach().numpy())
  assert np.shares_memory(arrays['whole'], arrays['part'])
  assert not arrays['part'].flags.writeable


def test_a_training_state_gives_its_network(saved):
  import torch

  network = torch.nn.Linear(3, 2)
  optimizer = torch.optim.Adam(network.parameters())
  network(torch.ones(1, 3)).sum().backward()
  optimizer.step()
  schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
  arrays = saved(
    {
      'epoch': 7,
      'pytorch-lightning_version': '2.5.0',
      'global_step': 123,
      'best': torch.tensor(0.5),
      'loops': {'fit_loop': {'state_dict': {}, 'done': [True, None]}},
      'callbacks': {'best': {'best_model_score': torch.tensor(0.5)}},
      'optimizer_states': [optimizer.state_dict()],
      'lr_schedulers': [schedule.state_dict()],
      'hyper_parameters': {
        'lr': 0.1,
        'sizes': (1, 2),
        'names': {'a', 'b'},
        'large': 2**70,
      },
      'hparams_name': 'config',
      'state_dict': network.state_dict(),
    }
  )
  assert set(arrays) == {'weight', 'bias'}
  np.testing.assert_array_equal(
    arrays['weight'], network.weight.detach().numpy()
  )


@pytest.mark.parametrize('kind', FORMATS)
def test_files_made_by_hand_are_read(tmp_path, kind):
  (name,), (array,) = zip(*read(tmp_path, by_hand(kind)).items())
  assert name == 'weight'
  assert array.dtype == np.float32
  np.testing.assert_array_equal(array, NUMBERS.reshape(2, 3))


@pytest.mark.parametrize('kind', FORMATS)
def test_strides_and_offsets_by_hand(tmp_path, kind):
  data = by_hand(kind, shape=(2, 2), strides=(1, 2), offset=1)
  array = read(tmp_path, data)['weight']
  np.testing.assert_array_equal(array, [[1, 3], [2, 4]])


@pytest.mark.parametrize(
  ('kind', 'numbers'),
  [
    ('FloatStorage', np.array([1.5, -2], '>f4')),
    ('LongStorage', np.array([2**40, -1], '>i8')),
    ('HalfStorage', np.array([1.5, -2], '>f2')),
    ('ByteStorage', np.array([1, 255], 'u1')),
  ],
)
def test_big_endian_files_are_read(tmp_path, kind, numbers):
  tensor = files.tensor(files.storage(kind=kind, size=2), (2,), (1,))
  value = files.mapping({'x': tensor})
  data = files.zip_file(value, {'0': numbers.tobytes()}, byteorder='big')
  array = read(tmp_path, data)['x']
  assert array.dtype.isnative
  np.testing.assert_array_equal(array, numbers)


def test_big_endian_bfloat16_is_read(tmp_path):
  tensor = files.tensor(
    files.storage(kind='BFloat16Storage', size=2), (2,), (1,)
  )
  value = files.mapping({'x': tensor})
  # 1.5 is 0x3FC0, -2 is 0xC000.
  data = files.zip_file(value, {'0': b'\x3f\xc0\xc0\x00'}, byteorder='big')
  np.testing.assert_array_equal(read(tmp_path, data)['x'], [1.5, -2])


def test_a_file_without_byte_order_is_little_endian(tmp_path):
  value = files.mapping({'weight': files.tensor(files.storage())})
  data = files.zip_file(value, {'0': NUMBERS.tobytes()}, byteorder=None)
  np.testing.assert_array_equal(
    read(tmp_path, data)['weight'], NUMBERS.reshape(2, 3)
  )


@pytest.mark.parametrize('kind', FORMATS)
@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'offset': 1}, "'weight' .*reaches element 6 of a storage of 6"),
    ({'offset': 2**62}, r"'weight' .*reaches element \d+ of"),
    ({'shape': (2**40, 2**40)}, "'weight' .*reaches element"),
    ({'strides': (2**50, 1)}, "'weight' .*reaches element"),
    ({'shape': (2, 4), 'strides': (1, 1)}, "'weight' .*repeats"),
    ({'shape': (2**50,), 'strides': (0,)}, "'weight' .*repeats"),
    ({'shape': (2**62,) * 30 + (0,), 'strides': (0,) * 31}, 'damaged'),
    ({'offset': -1}, 'damaged.*from element -1'),
    ({'strides': (-3, 1)}, r'damaged.*strides \(-3, 1\)'),
    ({'shape': (-2, 3)}, r'damaged.*shape \(-2, 3\)'),
    ({'shape': (2,)}, 'damaged.*with strides'),
    ({'shape': (2.0, 3)}, 'damaged.*shape'),
    ({'shape': (2**70, 3)}, 'damaged.*shape'),
    ({'shape': (1,) * 6, 'strides': (2**62,) * 6, 'offset': 'a'}, 'damaged'),
    ({'size': 2**60}, 'damaged.*bytes|elements'),
    ({'size': -1}, 'damaged.*of -1 elements'),
    ({'size': 7}, 'damaged.*bytes'),
    ({'data': NUMBERS.tobytes()[:-1]}, 'damaged.*23 bytes, wanted 24'),
  ],
)
def test_tensors_that_do_not_lie_in_their_storage_are_refused(
  tmp_path, kind, fields, message
):
  data = by_hand(kind, **fields)
  tracemalloc.start()
  with pytest.raises(ValueError, match=rf'net\.pth.*({message})'):
    read(tmp_path, data)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  # The file has one kilobyte; zip and pickle tables come to far less than this.
  assert peak < 2_000_000


def test_zip_bombs_are_refused(tmp_path):
  zeros = bytes(4_000_000)
  tensor = files.tensor(files.storage(size=1_000_000), (1_000_000,), (1,))
  value = files.mapping({'x': tensor})
  data = files.zip_file(value, {'0': zeros}, compression=zipfile.ZIP_DEFLATED)
  tracemalloc.start()
  with pytest.raises(ValueError, match=r'net\.pth .*compressed'):
    read(tmp_path, data)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < len(zeros)


def test_records_that_overlap_are_refused(tmp_path):
  # A hundred records that are the same 4096 bytes of the file.
  file = io.BytesIO(by_hand('zip', data=bytes(4096)))
  with zipfile.ZipFile(file, 'a') as archive:
    info = archive.getinfo('archive/data/0')
    for index in range(1, 100):
      again = zipfile.ZipInfo(f'archive/data/{index}')
      again.header_offset, again.CRC = info.header_offset, info.CRC
      again.file_size = again.compress_size = info.file_size
      archive.filelist.append(again)
    archive._didModify = True
  with pytest.raises(ValueError, match=r'net\.pth .*it lists \d{6} bytes'):
    read(tmp_path, file.getvalue())


def test_two_records_of_one_name_are_refused(tmp_path):
  file = io.BytesIO(by_hand('zip'))
  with (
    zipfile.ZipFile(file, 'a') as archive,
    pytest.warns(UserWarning, match='Duplicate name'),
  ):
    archive.writestr('archive/data/0', bytes(24))
  with pytest.raises(ValueError, match='of which 3 have a name of their own'):
    read(tmp_path, file.getvalue())


@pytest.mark.parametrize('kind', FORMATS)
def test_every_byte_but_0_is_true(tmp_path, kind):
  place = files.storage('0', 'BoolStorage', 3, legacy=kind == 'legacy')
  value = files.mapping({'x': files.tensor(place, (3,), (1,))})
  data = b'\x00\x01\x02'
  content = (
    files.legacy_file(value, {'0': (3, data)})
    if kind == 'legacy'
    else files.zip_file(value, {'0': data})
  )
  array = read(tmp_path, content)['x']
  assert array.view(np.uint8).tolist() == [0, 1, 1]


def test_a_cut_in_the_count_of_an_empty_storage_is_noticed(tmp_path):
  place = files.storage(size=0, legacy=True)
  value = files.mapping({'x': files.tensor(place, (0,), (1,))})
  data = files.legacy_file(value, {'0': (0, b'')})
  assert read(tmp_path, data)['x'].shape == (0,)
  with pytest.raises(ValueError, match=r"net\.pth .*before the storage '0'"):
    read(tmp_path, data[:-1])


@pytest.mark.parametrize('key', ['../../etc/passwd', '/etc/passwd', '..', ''])
def test_paths_are_names_inside_the_archive_only(tmp_path, key):
  value = files.mapping({'x': files.tensor(files.storage(key))})
  data = files.zip_file(value, {'0': NUMBERS.tobytes()})
  with pytest.raises(ValueError, match=r'net\.pth .*it has no record'):
    read(tmp_path, data)


def test_archives_with_paths_write_nothing(tmp_path):
  value = files.mapping({'x': files.tensor(files.storage('../../../x'))})
  data = files.zip_file(value, {'../../../x': NUMBERS.tobytes()}, root='..')
  np.testing.assert_array_equal(
    read(tmp_path, data)['x'], NUMBERS.reshape(2, 3)
  )
  assert list(tmp_path.iterdir()) == [tmp_path / 'net.pth']


@pytest.mark.parametrize(
  ('records', 'message'),
  [
    ({}, 'it has 0 records <name>/data.pkl'),
    ({'a/b/data.pkl': b'N.'}, 'it has 0 records'),
    ({'a/data.pkl': b'N.', 'b/data.pkl': b'N.'}, 'it has 2 records'),
    ({'a/data.pkl': b'N.', 'a/constants.pkl': b'N.'}, 'a TorchScript program'),
    ({'a/data.pkl': b'N.', 'a/byteorder': b'middle'}, "order is b'middle'"),
    ({'a/data.pkl': b''}, 'damaged'),
  ],
)
def test_other_archives_are_described(tmp_path, records, message):
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('note', b'')
    for name, data in records.items():
      archive.writestr(name, data)
  with pytest.raises(ValueError, match=rf'net\.pth .*{message}'):
    read(tmp_path, file.getvalue())


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'magic': 7}, 'magic number'),
    ({'version': 1002}, 'version is 1002, wanted 1001'),
    ({'storages': {}}, 'list of storages'),
    ({'storages': {'0': (6, bytes(24)), '1': (0, b'')}}, 'list of storages'),
    ({'storages': {'0': (5, bytes(20))}}, "'0' has 5 elements.* say 6"),
    ({'storages': {'0': (6, b'')}}, "'0' has 0 bytes, wanted 24"),
  ],
)
def test_a_legacy_file_whose_parts_disagree_is_refused(
  tmp_path, fields, message
):
  tensor = files.tensor(files.storage(legacy=True))
  fields = {'storages': {'0': (6, bytes(24))}, **fields}
  data = files.legacy_file(files.mapping({'x': tensor}), **fields)
  with pytest.raises(ValueError, match=rf'net\.pth .*{message}'):
    read(tmp_path, data)


@pytest.mark.parametrize('kind', FORMATS)
def test_every_truncation_is_a_clear_error(tmp_path, kind):
  reader = functools.partial(read, tmp_path)
  check_truncations(reader, by_hand(kind), TRUNCATED)


@pytest.mark.parametrize('zipped', [True, False])
def test_truncations_of_pytorchs_own_files_are_clear_errors(tmp_path, zipped):
  torch = pytest.importorskip('torch')
  file = io.BytesIO()
  state = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
  ).state_dict()
  torch.save(state, file, _use_new_zipfile_serialization=zipped)
  data = file.getvalue()
  rng = np.random.default_rng(0)
  lengths = {0, 1, len(data) - 1, *rng.integers(len(data), size=300)}
  reader = functools.partial(read, tmp_path)
  check_truncations(reader, data, TRUNCATED, lengths)


@pytest.mark.parametrize('kind', FORMATS)
def test_flipped_bits_give_data_or_a_value_error(tmp_path, kind):
  check_flips(
    functools.partial(read, tmp_path),
    by_hand(kind),
    count=600,
    is_right=lambda arrays: all(a.size <= 6 for a in arrays.values()),
    name='net.pth',
  )


def test_damaged_numbers_in_a_zip_are_noticed(tmp_path):
  data = by_hand('zip')
  damaged = data.replace(NUMBERS.tobytes(), NUMBERS[::-1].tobytes(), 1)
  assert damaged != data
  with pytest.raises(ValueError, match=r'net\.pth is damaged.*CRC'):
    read(tmp_path, damaged)
