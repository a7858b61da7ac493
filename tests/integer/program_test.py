import copy
import dataclasses
import hashlib
import json
import re
import zlib

import numpy as np
import pytest
import safetensors.numpy
from program_edits import array, delete, edit, put, to_plain_bytes

from faceqat.files import atomic
from faceqat.integer import operators as ops
from faceqat.integer import program, program_file
from faceqat.integer.program import IntegerProgram
from faceqat.integer.tensors import Tensor


def make_program(**changes):
  """Three convolutions' worth of everything a file must keep."""
  rng = np.random.default_rng(0)

  def weights(*shape):
    return {
      'weights': rng.integers(-127, 128, shape, np.int8),
      'weight_scale': rng.uniform(0.001, 0.1, shape[-1]).astype(np.float32),
      'bias': rng.integers(-999, 999, shape[-1]).astype(np.int32),
    }

  tensors = [
    Tensor('image', (8, 8, 3), 1 / 128, 0),
    Tensor('block/conv', (4, 4, 6), 0.1, -128),
    Tensor('block/prelu', (4, 4, 6), float(np.float32(0.07)), -3, 6, True),
    Tensor('pool', (2, 2, 6), float(np.float32(0.07)), -3, 6, True),
    Tensor('flat', (24,), float(np.float32(0.07)), -3, 6, True),
    Tensor('embedding', (5,), 0.02, 0),
    Tensor('unit', (5,), 1 / 128, 0),
  ]
  operators = (
    ops.Conv2D(
      name='block/conv',
      inputs=('image',),
      **weights(3, 3, 3, 6),
      strides=(2, 2),
      padding=((0, 1), (0, 1)),
      clamp=(-128, 60),
    ),
    ops.PReLU(
      name='block/prelu',
      inputs=('block/conv',),
      alpha=rng.integers(-127, 128, 6, np.int8),
      alpha_scale=0.01,
    ),
    ops.MaxPool(
      name='pool', inputs=('block/prelu',), window=(2, 2), strides=(2, 2)
    ),
    ops.Reshape(name='flat', inputs=('pool',)),
    ops.Dense(name='embedding', inputs=('flat',), **weights(24, 5)),
    ops.L2Normalize(name='unit', inputs=('embedding',)),
  )
  fields = {
    'tensors': {tensor.name: tensor for tensor in tensors},
    'operators': operators,
    'input': 'image',
    'output': 'unit',
    'metadata': {'model': 'small', 'note': 'naïve "quotes"'},
  }
  return IntegerProgram(**{**fields, **changes})


@pytest.fixture
def saved(tmp_path):
  path = tmp_path / 'small.faceqat'
  program.save(make_program(), path)
  return path


def assert_same(a, b):
  assert a.tensors == b.tensors
  assert (a.input, a.output, a.metadata) == (b.input, b.output, b.metadata)
  assert a.contract == b.contract
  assert len(a.operators) == len(b.operators)
  for one, other in zip(a.operators, b.operators):
    assert type(one) is type(other)
    for field in dataclasses.fields(one):
      x, y = getattr(one, field.name), getattr(other, field.name)
      assert type(x) is type(y)
      if isinstance(x, np.ndarray):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
      else:
        assert x == y


def test_a_loaded_program_is_the_saved_one(saved):
  assert_same(program.load(saved), make_program())
  assert_same(program.load(str(saved)), make_program())


def test_the_contract_is_kept_and_its_absence_is_the_reference_kernels(saved):
  assert program.load(saved).contract == 'tflite_ref'
  program.save(make_program(contract='xnnpack'), saved)
  assert program.load(saved).contract == 'xnnpack'
  # As in files of format version 1.
  edit(saved, delete('contract'))
  assert program.load(saved).contract == 'tflite_ref'


def test_an_unknown_contract_is_refused_with_those_that_exist(saved):
  wanted = r"contract is 'onnx'; .*'tflite_ref', 'xnnpack'"
  with pytest.raises(ValueError, match=wanted):
    make_program(contract='onnx')
  edit(saved, put('contract', value='onnx'))
  refuses(saved, wanted)


def test_saving_twice_gives_the_same_bytes(saved, tmp_path):
  again = tmp_path / 'again'
  program.save(program.load(saved), again)
  assert again.read_bytes() == saved.read_bytes()


def test_the_file_is_plain_safetensors(saved):
  """And what lies in it is read without this package, as its page says."""
  arrays = safetensors.numpy.load_file(saved)
  description = json.loads(zlib.decompress(arrays['description'].tobytes()))
  start = 0
  for record in description['arrays']:
    count = int(np.prod(record['shape']))
    size = -(-count * record['bits'] // 8)
    packed = int.from_bytes(arrays['packed'][start : start + size], 'little')
    start += size
    if record['name'] == 'embedding:weights':
      break
  last = packed >> record['bits'] * (count - 1)
  weights = make_program().operators[4].weights
  assert record['least'] + last == weights[-1, -1]
  assert record['shape'] == list(weights.shape)


def refuses(path, *wanted):
  """Loading raises one ValueError that names the file and says `wanted`."""
  with pytest.raises(ValueError, match='|'.join(wanted) or None) as info:
    program.load(path)
  assert str(path) in str(info.value)


def test_a_flipped_bit_anywhere_is_refused(saved):
  whole = saved.read_bytes()
  rng = np.random.default_rng(1)
  for position in [*range(60), *rng.integers(0, len(whole), 150)]:
    damaged = bytearray(whole)
    damaged[position] ^= 1 << int(rng.integers(0, 8))
    saved.write_bytes(damaged)
    refuses(
      saved,
      'damaged',
      'no program file',
      'no faceqat program',
      'newer',
      'format version',
    )


def test_a_file_cut_short_or_lengthened_is_refused(saved):
  whole = saved.read_bytes()
  for length in [*range(0, 40), *range(40, len(whole), 97), len(whole) - 1]:
    saved.write_bytes(whole[:length])
    refuses(saved, 'cut short', 'no faceqat program')
  saved.write_bytes(whole + b'\0')
  refuses(saved, 'damaged')


def test_a_newer_file_says_so_even_if_its_digest_differs(saved):
  content = saved.read_bytes()
  changed = content.replace(rb'\"version\": 3', rb'\"version\": 4', 1)
  assert changed != content
  saved.write_bytes(changed)
  refuses(saved, r'format version 4.*up to 3.*upgrade')


@pytest.mark.parametrize(
  'content',
  [
    b'',
    b'short',
    b'\x89PNG\r\n\x1a\n' + bytes(100),
    b'{"__metadata__": {}}' * 20,
    bytes(4096),
    b'\xff' * 64,
    (20).to_bytes(8, 'little') + b'[' * 20 + bytes(9),
    (100_000).to_bytes(8, 'little') + b'[' * 100_000,
    safetensors.numpy.save({'x': np.zeros(3)}),
    safetensors.numpy.save({'x': np.zeros(3)}, {'faceqat_program': '['}),
    safetensors.numpy.save({'x': np.zeros(3)}, {'faceqat_program': '{}'}),
    safetensors.numpy.save(
      {'x': np.zeros(3)}, {'faceqat_program': '[' * 100_000}
    ),
  ],
)
def test_a_foreign_file_is_refused(tmp_path, content):
  path = tmp_path / 'foreign'
  path.write_bytes(content)
  refuses(path, 'no faceqat program file', 'no program file', 'damaged')


def test_a_missing_file_is_a_missing_file(tmp_path):
  with pytest.raises(FileNotFoundError, match='absent'):
    program.load(tmp_path / 'absent')


HOSTILE = {
  'no operators': put('operators', value=None),
  'operators are text': put('operators', value='Conv2D'),
  'an operator is a number': put('operators', 0, value=3),
  'unknown operator': put('operators', 0, 'type', value='Exec'),
  'operator type is a list': put('operators', 0, 'type', value=['Conv2D']),
  'extra field': put('operators', 0, '__class__', value='x'),
  'field missing': delete('operators', 1, 'alpha_scale'),
  'name is a number': put('operators', 0, 'name', value=7),
  'inputs are text': put('operators', 0, 'inputs', value='image'),
  'two inputs': put('operators', 0, 'inputs', value=['image', 'image']),
  'reads itself': put('operators', 0, 'inputs', value=['block/conv']),
  'reads the future': put('operators', 1, 'inputs', value=['pool']),
  'reads what is not there': put('operators', 1, 'inputs', value=['x']),
  'zero stride': put('operators', 0, 'strides', value=[0, 1]),
  'real stride': put('operators', 0, 'strides', value=[1.5, 1]),
  'bool stride': put('operators', 0, 'strides', value=[True, 1]),
  'huge padding': put('operators', 0, 'padding', value=[[0, 1], [0, 2**40]]),
  'flat padding': put('operators', 0, 'padding', value=[0, 1]),
  'clamp upside down': put('operators', 0, 'clamp', value=[5, 4]),
  'clamp outside': put('operators', 0, 'clamp', value=[-200, 4]),
  'depthwise is text': put('operators', 0, 'depthwise', value='no'),
  '9-bit weights': put('operators', 0, 'weight_bits', value=9),
  'weights beyond their bits': put('operators', 0, 'weight_bits', value=4),
  'alpha scale 0': put('operators', 1, 'alpha_scale', value=0),
  'alpha scale text': put('operators', 1, 'alpha_scale', value='0.1'),
  'scale 0': put('tensors', 1, 'scale', value=0),
  'scale negative': put('tensors', 1, 'scale', value=-0.1),
  'scale overflows': put('tensors', 1, 'scale', value=1e300),
  'scale denormal': put('tensors', 1, 'scale', value=1e-40),
  'zero point': put('tensors', 1, 'zero_point', value=128),
  'zero point of 6 bits': put('tensors', 2, 'zero_point', value=-32),
  'bits': put('tensors', 1, 'bits', value=16),
  'shape': put('tensors', 1, 'shape', value=[4, 4, 7]),
  'empty shape': put('tensors', 1, 'shape', value=[]),
  'gigantic shape': put('tensors', 1, 'shape', value=[2**24, 2**24, 6]),
  'tensor twice': put('tensors', 1, 'name', value='image'),
  'unmade tensor': put('tensors', 3, 'name', value='other'),
  'tensor missing': delete('tensors', 3),
  'other image scale': put('tensors', 0, 'scale', value=0.5),
  'pool changes scale': put('tensors', 3, 'scale', value=0.5),
  'l2 output scale': put('tensors', 6, 'scale', value=0.5),
  'no output': put('output', value='nothing'),
  'output is a list': put('output', value=['unit']),
  'metadata': put('metadata', value={'a': 1}),
  'no metadata': put('metadata', value=None),
  'contract is a list': put('contract', value=['xnnpack']),
  'array missing': lambda description, arrays: (
    arrays.pop('flat:x', None) or arrays.pop('embedding:bias')
  ),
  'array unused': lambda description, arrays: arrays.update(
    x=np.zeros(3, np.int8)
  ),
  'flat weights': array('embedding:weights', np.ravel),
  'int8 bias': array('embedding:bias', lambda x: x.astype(np.int8)),
  'bias of another length': array('embedding:bias', lambda x: x[:-1]),
  'NaN weight scale': array('embedding:weight_scale', lambda x: x * np.nan),
  'negative weight scale': array('embedding:weight_scale', np.negative),
  'weight of -128': array('embedding:weights', lambda x: np.full_like(x, -128)),
  'bias that overflows': array(
    'embedding:bias', lambda x: np.full_like(x, 2**31 - 1)
  ),
}
# What the packing of version 3 cannot hold.
HOSTILE_2 = {
  **HOSTILE,
  'float weights': array('embedding:weights', np.float32),
  'int64 bias': array('embedding:bias', np.int64),
  'empty weights': array('embedding:weights', lambda x: x[:0]),
}


@pytest.mark.parametrize('write', [program_file.to_bytes, to_plain_bytes])
def test_a_rewritten_file_loads_if_nothing_was_changed(saved, write):
  edit(saved, lambda description, arrays: None, write)
  assert_same(program.load(saved), make_program())


@pytest.mark.parametrize('change', HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_description_is_refused(saved, change):
  edit(saved, change)
  refuses(saved)


@pytest.mark.parametrize('change', HOSTILE_2.values(), ids=HOSTILE_2)
def test_a_hostile_description_of_version_2_is_refused(saved, change):
  edit(saved, change, to_plain_bytes)
  refuses(saved)


def test_a_description_that_is_nested_too_deeply_is_refused(saved):
  deep = []
  for _ in range(700):
    deep = [deep]
  edit(saved, put('operators', 0, 'strides', value=deep))
  refuses(saved)


def test_an_overflow_is_found_on_loading(saved):
  edit(saved, HOSTILE['bias that overflows'])
  refuses(saved, r"'embedding' \(Dense\): channel \d: .* int32")


def test_a_program_is_saved_whole_or_not_at_all(saved, monkeypatch):
  """`atomic.write` does it, which has tests of its own."""
  written = {}
  monkeypatch.setattr(atomic, 'write', written.__setitem__)
  other = make_program(metadata={})
  program.save(other, str(saved))
  assert written == {str(saved): program.to_bytes(other)}


def test_the_digest_in_a_file_is_that_of_the_file_without_it(saved):
  content = saved.read_bytes()
  entry = json.loads(
    json.loads(content[8 : 8 + int.from_bytes(content[:8], 'little')])[
      '__metadata__'
    ]['faceqat_program']
  )
  blank = content.replace(entry['sha256'].encode(), b'0' * 64)
  assert hashlib.sha256(blank).hexdigest() == entry['sha256']


def test_errors_name_the_operator_and_both_shapes():
  good = make_program()
  tensors = dict(good.tensors)
  tensors['flat'] = dataclasses.replace(tensors['flat'], shape=(23,))
  with pytest.raises(
    ValueError, match=re.escape("'flat' (Reshape): gives shape (24,)")
  ):
    make_program(tensors=tensors)


def test_operators_cannot_be_changed():
  operator = copy.copy(make_program().operators[0])
  with pytest.raises(dataclasses.FrozenInstanceError):
    operator.clamp = (0, 1)
