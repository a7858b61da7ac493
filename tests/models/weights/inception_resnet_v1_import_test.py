"""facenet's networks, of PyTorch and of TensorFlow, embed as they did."""

import sys

import facenet_pytorch
import jax
import layer_network
import numpy as np
import pytest
from defaults import make_network
from torch_networks import check_equal

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.models.weights import inception_resnet_v1_tensorflow, torch_network
from faceqat.models.weights.assign import assign
from faceqat.models.weights.inception_resnet_v1_torch import NETWORK
from faceqat.quant.spec import FLOAT

# The smallest images it takes; a block of each kind, and the last.
SIZE = 75
MODEL = make_network(
  'inception_resnet_v1', embedding_size=24, depth_multiplier=0.1
)


@pytest.fixture(scope='module')
def images():
  faces = SyntheticFaces(3, 1, SIZE)
  return np.stack([faces[index]['image'] for index in range(len(faces))])


@pytest.fixture(scope='module')
def original(images):
  """The network, and its embeddings of what the project gives it."""
  network = facenet_pytorch.Network(MODEL.embedding_size)
  return network, network((np.float64(images) - 127.5) / 128)


@pytest.fixture(scope='module')
def variables():
  return layer_network.random_variables(MODEL, (SIZE, SIZE, 3))


def test_embeddings_of_pixels_are_those_of_the_formula_on_its_own_pixels(
  images, original, variables
):
  network, expected = original
  values, project = torch_network.convert_state(network.state, NETWORK)
  assert project.name == 'facenet-pytorch'
  run = jax.jit(lambda v, x: MODEL.apply(v, x, FLOAT))
  got = np.asarray(run(assign(variables, values), images))
  # Nothing is padded before the second convolution, so that the fold is exact.
  # Of float32 1.3e-3 of the largest number stays, measured: the last batch norm
  # divides by how little three images differ.
  largest = np.abs(expected).max()
  np.testing.assert_allclose(got, expected, atol=5e-3 * largest)
  # Half a level left is 11 times the largest.
  given = {'mean': (128,)}
  values = torch_network.convert_state(network.state, NETWORK, given).values
  other = np.asarray(run(assign(variables, values), images))
  assert np.abs(other - expected).max() > largest


def test_a_classifier_and_a_prefix_are_left_out(original, variables):
  state = {f'model.{name}': a for name, a in original[0].state.items()}
  state['model.logits.weight'] = np.zeros((9, 24), np.float32)
  state['model.logits.bias'] = np.zeros(9, np.float32)
  state['criterion.centers'] = np.zeros((9, 24), np.float32)
  values, _ = torch_network.convert_state(state, NETWORK)
  plain, _ = torch_network.convert_state(original[0].state, NETWORK)
  check_equal(values, plain)


@pytest.mark.parametrize(
  ('name', 'value', 'message'),
  [
    ('repeat_2.0.branch1.1.bn.running_var', None, r'lacks .*branch1\.1\.bn\.r'),
    ('repeat_1.0.branch3.conv.weight', np.ones(3), r'has besides .*branch3'),
    ('last_linear.weight', np.ones((2, 3, 1, 1)), r'last_linear.*wanted \[O'),
    ('mixed_6a.branch0.conv.weight', np.ones((3, 4)), r'6a\.branch0.*wanted'),
    ('conv2d_1a.conv.weight', np.ones((32, 1, 3, 3)), r'has 1 input channels'),
  ],
)
def test_states_of_other_networks_are_refused_by_name(
  original, name, value, message
):
  state = dict(original[0].state)
  if value is None:
    del state[name]
  else:
    state[name] = np.float32(value)
  with pytest.raises(ValueError, match=message):
    torch_network.convert_state(state, NETWORK)
  with pytest.raises(ValueError, match=r'lacks the tensors block8\.branch0'):
    torch_network.convert_state({}, NETWORK)


def variables_of_tensorflow(state):
  """The same network as facenet's own project names it."""
  branches = {
    'block35': ['1x1', '0a_1x1 0b_3x3', '0a_1x1 0b_3x3 0c_3x3'],
    'block17': ['1x1', '0a_1x1 0b_1x7 0c_7x1'],
    'block8': ['1x1', '0a_1x1 0b_1x3 0c_3x1'],
    'mixed_6a': ['1a_3x3', '0a_1x1 0b_3x3 1a_3x3'],
    'mixed_7a': ['0a_1x1 1a_3x3', '0a_1x1 1a_3x3', '0a_1x1 0b_3x3 1a_3x3'],
  }
  places = {
    'repeat_1.0': ('Repeat/block35_1', 'block35'),
    'repeat_2.0': ('Repeat_1/block17_1', 'block17'),
    'repeat_3.0': ('Repeat_2/block8_1', 'block8'),
    'block8': ('Block8', 'block8'),
    'mixed_6a': ('Mixed_6a', 'mixed_6a'),
    'mixed_7a': ('Mixed_7a', 'mixed_7a'),
  }
  stem = {'1a': '3x3', '2a': '3x3', '2b': '3x3', '3b': '1x1', '4a': '3x3'}
  scopes = {f'conv2d_{k}': f'Conv2d_{k}_{v}' for k, v in stem.items()}
  scopes |= {'conv2d_4b': 'Conv2d_4b_3x3', 'last': 'Bottleneck'}
  for module, (scope, kind) in places.items():
    scopes[f'{module}.conv2d'] = f'{scope}/Conv2d_1x1'
    for number, text in enumerate(branches[kind]):
      names = text.split()
      for index, name in enumerate(names):
        part = f'.{index}' if len(names) > 1 else ''
        scopes[f'{module}.branch{number}{part}'] = (
          f'{scope}/Branch_{number}/Conv2d_{name}'
        )
  parts = {
    'conv.weight': 'weights',
    'weight': 'weights',
    'bias': 'biases',
    'bn.bias': 'BatchNorm/beta',
    'bn.running_mean': 'BatchNorm/moving_mean',
    'bn.running_var': 'BatchNorm/moving_variance',
  }
  renamed = {}
  for name, array in state.items():
    name = name.replace('last_linear', 'last.conv')
    name = name.replace('last_bn', 'last.bn')
    for module, scope in scopes.items():
      part = parts.get(name.removeprefix(f'{module}.'))
      if name.startswith(f'{module}.') and part:
        array = array.transpose(range(array.ndim)[::-1])
        if array.ndim == 4:
          array = array.transpose(1, 0, 2, 3)
        renamed[f'InceptionResnetV1/{scope}/{part}'] = array
  # What a training keeps beside it.
  first = 'InceptionResnetV1/Conv2d_1a_3x3/weights'
  renamed[f'{first}/Adam'] = renamed[first] + 1
  renamed[f'{first}/ExponentialMovingAverage'] = renamed[first] + 1
  renamed['Logits/weights'] = np.zeros((24, 9), np.float32)
  return renamed


@pytest.fixture(scope='module')
def without_gamma(original):
  """TensorFlow's batch norms have none; neither has the state."""
  state = original[0].state
  return {
    name: np.ones_like(a) if name.endswith('bn.weight') else a
    for name, a in state.items()
  }


def check_is_the_same(path, state):
  given = {'channels': 'RGB', 'mean': (127.5,), 'scale': (128,)}
  values, project = inception_resnet_v1_tensorflow.read_tensorflow(path, given)
  expected, _ = torch_network.convert_state(state, NETWORK)
  assert project.name == 'davidsandberg/facenet'
  check_equal(values, expected)


def test_a_checkpoint_of_tensorflow_is_read(tmp_path, without_gamma):
  tf = pytest.importorskip('tensorflow')
  renamed = variables_of_tensorflow(without_gamma)
  path = tmp_path / 'model-20180402-114759.ckpt-275'
  tf.raw_ops.SaveV2(
    prefix=str(path),
    tensor_names=list(renamed),
    shape_and_slices=[''] * len(renamed),
    tensors=list(renamed.values()),
  )
  check_is_the_same(path, without_gamma)
  (data,) = tmp_path.glob('*.data-*')
  check_is_the_same(data, without_gamma)
  data.write_bytes(data.read_bytes()[:-1000])
  with pytest.raises(ValueError, match=r'ckpt-275 is damaged, or one of its'):
    inception_resnet_v1_tensorflow.read_tensorflow(path)


def test_images_whitened_by_themselves_are_no_constant_pixels(
  monkeypatch, without_gamma
):
  renamed = variables_of_tensorflow(without_gamma)
  monkeypatch.setattr(
    inception_resnet_v1_tensorflow, '_read_variables', lambda path: renamed
  )
  with pytest.raises(ValueError, match=r'a\.ckpt gives 24 numbers, .* of 2018'):
    inception_resnet_v1_tensorflow.read_tensorflow('a.ckpt')
  del renamed['InceptionResnetV1/Bottleneck/weights']
  with pytest.raises(ValueError, match=r'a\.ckpt is not of .*/Bottleneck'):
    inception_resnet_v1_tensorflow.read_tensorflow('a.ckpt')


def test_without_tensorflow_it_says_what_to_do(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  (tmp_path / 'a.ckpt.index').touch()
  with pytest.raises(
    ImportError, match=r'a\.ckpt .*pip install tensorflow-cpu'
  ):
    inception_resnet_v1_tensorflow.read_tensorflow(tmp_path / 'a.ckpt')
