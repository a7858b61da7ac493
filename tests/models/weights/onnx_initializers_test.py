import functools

import numpy as np
import onnx
import pytest
from hostile_pickles import check_flips, check_truncations
from onnx import TensorProto, helper, numpy_helper

from faceqat.models.weights import onnx_initializers

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def model_of(*initializers, **fields):
  graph = helper.make_graph([], 'graph', [], [], list(initializers), **fields)
  return helper.make_model(graph, producer_name='a test')


def read(tmp_path, model):
  path = tmp_path / 'net.onnx'
  data = model if isinstance(model, bytes) else model.SerializeToString()
  path.write_bytes(data)
  return onnx_initializers.read_initializers(path)


@pytest.mark.parametrize(
  'dtype',
  ['float32', 'float64', 'float16', 'int64', 'int32', 'int8', 'uint8', 'bool'],
)
@pytest.mark.parametrize('raw', [True, False])
def test_raw_data_and_typed_fields(tmp_path, dtype, raw):
  values = WEIGHT.astype(dtype)
  tensor = helper.make_tensor(
    'x',
    helper.np_dtype_to_tensor_dtype(values.dtype),
    values.shape,
    values.tobytes() if raw else values.ravel(),
    raw=raw,
  )
  assert tensor.HasField('raw_data') == raw
  array = read(tmp_path, model_of(tensor))['x']
  assert array.dtype == values.dtype
  np.testing.assert_array_equal(array, values)


def test_bfloat16_becomes_float32(tmp_path):
  # 1.5 is 0x3FC0, -2 is 0xC000.
  tensor = helper.make_tensor(
    'x', TensorProto.BFLOAT16, [2], b'\xc0\x3f\x00\xc0', raw=True
  )
  array = read(tmp_path, model_of(tensor))['x']
  assert array.dtype == np.float32
  np.testing.assert_array_equal(array, [1.5, -2])


def test_names_and_order_are_the_files(tmp_path):
  tensors = [
    numpy_helper.from_array(WEIGHT + index, name)
    for index, name in enumerate(['conv.weight', 'a', 'b'])
  ]
  arrays = read(tmp_path, model_of(*tensors))
  assert list(arrays) == ['conv.weight', 'a', 'b']
  np.testing.assert_array_equal(arrays['a'], WEIGHT + 1)


def test_scalars_and_empty_tensors(tmp_path):
  tensors = [
    numpy_helper.from_array(np.array(3.0, np.float32), 'scalar'),
    numpy_helper.from_array(np.zeros((2, 0), np.float32), 'empty'),
  ]
  arrays = read(tmp_path, model_of(*tensors))
  assert arrays['scalar'] == 3
  assert arrays['empty'].shape == (2, 0)


def test_external_data_are_refused_and_not_opened(tmp_path):
  model = model_of(numpy_helper.from_array(np.zeros(2000, np.float32), 'big'))
  path = tmp_path / 'net.onnx'
  onnx.save(
    model,
    path,
    save_as_external_data=True,
    location='big.bin',
    size_threshold=0,
  )
  assert (tmp_path / 'big.bin').exists()
  with pytest.raises(
    ValueError, match=r"net\.onnx: initialiser 'big' lies in .*'big\.bin'"
  ):
    onnx_initializers.read_initializers(path)


def test_external_data_elsewhere_are_refused(tmp_path):
  tensor = TensorProto(name='x', data_type=TensorProto.FLOAT, dims=[1])
  tensor.data_location = TensorProto.EXTERNAL
  tensor.external_data.add(key='location', value='../../etc/passwd')
  with pytest.raises(ValueError, match="'x' lies in another file"):
    read(tmp_path, model_of(tensor))


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'dims': [2, 4]}, r"'x' of shape \[2, 4\] is damaged"),
    ({'dims': [2**40, 2**20]}, "'x' of shape .* is damaged"),
    ({'dims': [-1, 3]}, "'x' of shape .* is damaged"),
    ({'raw_data': b'abc'}, "'x' of shape .* is damaged"),
    ({'data_type': TensorProto.UNDEFINED}, "'x' of shape .* is damaged"),
    ({'data_type': 99}, "'x' of shape .* is damaged"),
    ({'data_type': TensorProto.STRING}, "'x' holds text"),
  ],
)
@pytest.mark.parametrize('raw', [True, False])
def test_tensors_whose_fields_disagree_are_named(
  tmp_path, fields, message, raw
):
  if raw:
    tensor = numpy_helper.from_array(WEIGHT, 'x')
  else:
    tensor = helper.make_tensor('x', TensorProto.FLOAT, [2, 3], WEIGHT.ravel())
  fields = dict(fields)
  if 'dims' in fields:
    del tensor.dims[:]
    tensor.dims.extend(fields.pop('dims'))
  for name, value in fields.items():
    setattr(tensor, name, value)
  with pytest.raises(ValueError, match=rf'net\.onnx: initialiser {message}'):
    read(tmp_path, model_of(tensor))


def test_two_initialisers_of_one_name_are_refused(tmp_path):
  tensor = numpy_helper.from_array(WEIGHT, 'x')
  with pytest.raises(ValueError, match=r"net\.onnx has two initialisers 'x'"):
    read(tmp_path, model_of(tensor, tensor))


def test_sparse_initialisers_are_refused(tmp_path):
  sparse = helper.make_sparse_tensor(
    numpy_helper.from_array(np.ones(1, np.float32), 'x'),
    numpy_helper.from_array(np.zeros(1, np.int64), 'indices'),
    [5],
  )
  with pytest.raises(ValueError, match=r"net\.onnx: initialiser 'x' is sparse"):
    read(tmp_path, model_of(sparse_initializer=[sparse]))


def test_a_model_without_initialisers_says_so(tmp_path):
  with pytest.raises(ValueError, match=r'net\.onnx has no initialisers'):
    read(tmp_path, model_of())


def test_every_truncation_is_a_clear_error(tmp_path):
  data = model_of(numpy_helper.from_array(WEIGHT, 'x')).SerializeToString()
  reader = functools.partial(read, tmp_path)
  check_truncations(reader, data, r'net\.onnx is (damaged|truncated)')


def test_flipped_bits_give_data_or_a_value_error(tmp_path):
  data = model_of(numpy_helper.from_array(WEIGHT, 'x')).SerializeToString()
  check_flips(
    functools.partial(read, tmp_path),
    data,
    count=400,
    is_right=lambda arrays: sum(a.size for a in arrays.values()) <= 24,
    name='net.onnx',
  )


def test_parameters_are_parted_from_what_an_export_added():
  arrays = {
    'conv.weight': WEIGHT,
    'bn.running_var': WEIGHT,
    'onnx::PRelu_7': WEIGHT,
    '685': WEIGHT,
    'axes': np.array([1]),
    'factor': np.float32(2),
  }
  parameters, replaced = onnx_initializers.split_parameters(arrays)
  assert list(parameters) == ['conv.weight', 'bn.running_var']
  assert replaced == ['685', 'onnx::PRelu_7']


def test_another_ending_is_no_other_format(tmp_path):
  # onnx itself would take this for text.
  path = tmp_path / 'net.json'
  path.write_bytes(
    model_of(numpy_helper.from_array(WEIGHT, 'x')).SerializeToString()
  )
  assert set(onnx_initializers.read_initializers(path)) == {'x'}
