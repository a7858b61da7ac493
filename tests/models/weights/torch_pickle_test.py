"""What a checkpoint's pickle may ask for, and that it gets nothing else."""

import io
import pickle
import time
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import torch_files as files
from hostile_pickles import CALLS, SHARED, Call
from torch_files import FORMATS, NUMBERS, by_hand, read

from faceqat.models.weights import torch_checkpoint

DEEP = b')' + b'\x85' * 200_000


def test_parameters_by_hand(tmp_path):
  def wrap(tensor):
    rebuild = files.named('torch._utils', '_rebuild_parameter')
    hooks = files.call(files.named('collections', 'OrderedDict'))
    parameter = files.call(rebuild, tensor, files.plain(True), hooks)
    return files.mapping({'weight': parameter})

  array = read(tmp_path, by_hand('zip', wrap))['weight']
  np.testing.assert_array_equal(array, NUMBERS.reshape(2, 3))


def test_an_ordered_dictionary_of_python_2_is_read(tmp_path):
  def wrap(tensor):
    pairs = b'](](U\x06weight' + tensor + b'ee'
    return files.call(files.named('collections', 'OrderedDict'), pairs)

  array = read(tmp_path, by_hand('legacy', wrap))['weight']
  np.testing.assert_array_equal(array, NUMBERS.reshape(2, 3))


def test_a_whole_module_is_refused(tmp_path):
  torch = pytest.importorskip('torch')
  for zipped in (True, False):
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # The legacy format warns of sources.
      torch.save(
        torch.nn.Linear(2, 2),
        tmp_path / 'net.pth',
        _use_new_zipfile_serialization=zipped,
      )
    with pytest.raises(
      ValueError, match=r'net\.pth .* was not run: .*state_dict\(\), path'
    ):
      torch_checkpoint.read(tmp_path / 'net.pth')


def _as_file(kind, program):
  """A file whose object is a finished pickle."""
  if kind == 'legacy':
    head = files.legacy_file(b'N', {})
    return head.replace(files.program(b'N'), program, 1)
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('archive/data.pkl', program)
  return file.getvalue()


@pytest.mark.parametrize('kind', [*FORMATS, 'bare'])
@pytest.mark.parametrize('protocol', [0, 2, 4])
@pytest.mark.parametrize(('function', 'args', 'name'), CALLS)
def test_calls_are_refused_by_name_and_not_made(
  tmp_path, function, args, name, protocol, kind
):
  call = {'state_dict': Call(function, args, tmp_path / 'touched')}
  program = pickle.dumps(call, protocol=protocol)
  data = program if kind == 'bare' else _as_file(kind, program)
  with pytest.raises(
    ValueError, match=rf'net\.pth .* was not run: it names {name}'
  ):
    read(tmp_path, data)
  assert list(tmp_path.iterdir()) == [tmp_path / 'net.pth']


ORDERED = files.named('collections', 'OrderedDict')
REBUILD = files.named('torch._utils', '_rebuild_tensor_v2')
PAIRS = 100 * b'](NNe'
COPIES = 200 * (ORDERED + b'(h\x00tR')


@pytest.mark.parametrize(
  ('value', 'message'),
  [
    # Names hidden in attributes of allowed modules.
    (b'\x8c\x05torch\x8c\x10serialization.os\x93', 'it names torch.serial'),
    (files.named('torch', 'FloatStorage.__init__'), 'it names torch.Float'),
    (files.named('torch', 'load'), 'it names torch.load'),
    (files.named('torch.storage', '_load_from_bytes'), 'it names torch.stor'),
    (files.named('numpy.core.multiarray', 'scalar'), 'it names numpy.core'),
    # Attributes of a function, and calls of what is none.
    (REBUILD + b'}(U\x08__code__K\x01ub', 'it sets attributes of a Function'),
    (b'U\x02os)R', 'it calls a str'),
    (files.storage() + b')R', 'it calls a Storage'),
    (files.named('torch', 'FloatStorage') + b')R', 'it calls a StorageType'),
    (ORDERED + b']R', 'it calls a Function'),
    # Persistent ids of other kinds.
    (files.plain(('module', 'Net', 'net.py', '')) + b'Q', "a 'module'"),
    (files.plain('storage') + b'Q', 'that is no storage'),
    (files.plain(('storage', 'FloatStorage', '0', 'cpu', 1)) + b'Q', 'type'),
    # A storage within another.
    (
      b'('
      + files.plain('storage')
      + files.named('torch', 'FloatStorage')
      + b'U\x010U\x03cpuK\x01(U\x011K\x00K\x01ttQ',
      "storage '0' is a part of another",
    ),
    # Pairs that are copied again and again: a few bytes for gigabytes.
    (b'](' + PAIRS + b'eq\x00' + COPIES, 'copies its lists'),
    (b'(' + PAIRS + b'tq\x00' + COPIES, 'copies its lists'),
  ],
)
def test_ways_around_the_names_are_refused(tmp_path, value, message):
  with pytest.raises(ValueError, match=rf'net\.pth .*({message})'):
    read(tmp_path, files.zip_file(value, {'0': NUMBERS.tobytes()}))


def test_conjugated_tensors_are_refused(tmp_path):
  tensor = files.tensor(files.storage())
  bits = files.plain({'conj': True})
  value = files.mapping({'x': tensor.removesuffix(b'tR') + bits + b'tR'})
  with pytest.raises(ValueError, match='conjugated or negated'):
    read(tmp_path, files.zip_file(value, {'0': NUMBERS.tobytes()}))


@pytest.mark.parametrize(
  'instruction',
  [
    b'\x8e' + (2**62).to_bytes(8, 'little'),  # BINBYTES8
    b'\x8d' + (2**62).to_bytes(8, 'little'),  # BINUNICODE8
    b'X' + (2**32 - 1).to_bytes(4, 'little'),  # BINUNICODE
    b'\x8b' + (2**31 - 1).to_bytes(4, 'little'),  # LONG4
    b'Nr\xff\xff\xff\xff',  # LONG_BINPUT: a place far out in the memo
  ],
)
def test_announced_lengths_reserve_no_memory(tmp_path, instruction):
  data = files.zip_file(instruction, {})
  tracemalloc.start()
  with pytest.raises(ValueError, match=r'net\.pth'):
    read(tmp_path, data)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 2_000_000


@pytest.mark.parametrize('kind', FORMATS)
def test_two_descriptions_of_one_storage_are_refused(tmp_path, kind):
  def wrap(tensor):
    other = files.storage(kind='HalfStorage', legacy=kind == 'legacy')
    return files.mapping({'weight': tensor, 'x': files.tensor(other)})

  with pytest.raises(ValueError, match=r"net\.pth .*'0' in two ways"):
    read(tmp_path, by_hand(kind, wrap))


@pytest.mark.parametrize(
  'value',
  [
    files.tensor(files.storage()).replace(files.plain((2, 3)), SHARED),
    files.tensor(files.storage()).replace(files.plain((3, 1)), SHARED),
    b'(' + SHARED + b'tQ',
    files.storage().replace(files.plain('0'), SHARED),
    files.storage().replace(files.plain(6), SHARED),
    ORDERED + b'](](' + SHARED + b'Neet' + b'R',
    # Neither becomes a dict or a set, which would hash what ends the process.
    files.named('collections', 'Counter') + b'(](](' + DEEP + b'NeetR',
    files.named('builtins', 'set') + b'(](' + DEEP + b'etR',
  ],
)
def test_what_a_program_shares_is_not_written_out(tmp_path, value):
  with pytest.raises(ValueError, match=r'net\.pth ') as error:
    read(tmp_path, files.zip_file(value, {'0': NUMBERS.tobytes()}))
  assert len(str(error.value)) < 500


@pytest.mark.parametrize('part', ['version', 'magic', 'keys'])
def test_no_part_of_a_legacy_file_is_written_out(tmp_path, part):
  data = by_hand('legacy', lambda tensor: files.mapping({'x': tensor}))
  old = {
    'magic': pickle.dumps(files.MAGIC_NUMBER, 2),
    'version': pickle.dumps(1001, 2),
    'keys': pickle.dumps(['0'], 2),
  }[part]
  assert data.count(old) == 1
  # Deeper, as it is compared faster than written.
  deep = SHARED + SHARED[1:20]
  new = b'](' + deep + deep.replace(b'\x00', b'\x01') + b'e'
  data = data.replace(old, files.program(new if part == 'keys' else SHARED))
  start = time.process_time()
  with pytest.raises(ValueError, match=r'net\.pth ') as error:
    read(tmp_path, data)
  assert len(str(error.value)) < 500
  # To compare the two keys end by end takes seconds.
  assert time.process_time() - start < 0.5


def test_a_shape_of_a_million_numbers_is_not_multiplied(tmp_path):
  tensor = files.tensor(files.storage(), (2**62,) * 5000, (0,) * 5000)
  with pytest.raises(ValueError, match='of 5000 dimensions'):
    read(
      tmp_path,
      files.zip_file(files.mapping({'x': tensor}), {'0': NUMBERS.tobytes()}),
    )
