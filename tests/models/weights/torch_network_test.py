"""A network that is imported from PyTorch embeds as it did there."""

import functools

import flax.traverse_util
import jax
import layer_network
import numpy as np
import pytest
import torch_files as files
import torch_iresnet
import torch_mobilefacenet
from backbone_checks import cosines
from safetensors.numpy import save_file
from torch_networks import (
  CASES,
  HOUSE,
  IRESNET,
  TINY,
  check_equal,
  seen,
  settle,
)

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.models import iresnet
from faceqat.models.weights import torch_network
from faceqat.models.weights.assign import assign
from faceqat.models.weights.pixels import Pixels
from faceqat.quant.spec import FLOAT


@pytest.fixture(autouse=True, scope='module')
def tiny():
  with pytest.MonkeyPatch.context() as patch:
    for name, value in TINY.items():
      patch.setattr(iresnet, name, value)
    yield


@pytest.fixture(params=list(CASES))
def name(request):
  return request.param


@pytest.fixture
def case(name):
  return CASES[name]


@functools.cache
def images_of(size):
  """Eight drawn faces, and four images of random pixels."""
  height, width = size
  faces = SyntheticFaces(4, 2, height)
  drawn = [faces[i]['image'][:, :width] for i in range(len(faces))]
  noise = np.random.default_rng(1).integers(
    0, 256, (4, height, width, 3), np.uint8
  )
  return np.concatenate([drawn, noise])


@functools.cache
def compiled(model, size):
  images = images_of(size)
  variables = layer_network.random_variables(model, images.shape[1:])
  run = jax.jit(lambda variables: model.apply(variables, images, FLOAT))
  return lambda values: np.asarray(run(assign(variables, values)))


def original(case, pixels):
  pytest.importorskip('torch')
  inputs = seen(images_of(case.size), pixels)
  return settle(case.make(), case.random_state(), inputs)


def test_embeddings_are_those_of_the_network_in_pytorch(case):
  # Both are given the model's own input, so that nothing is folded but the
  # epsilon, and the border too is the same.
  expected, state = original(case, HOUSE)
  got = compiled(case.model, case.size)(case.convert(state))
  largest = np.abs(expected).max()
  np.testing.assert_allclose(got, expected, atol=case.rounding * largest)
  # 1e-5 would be an epsilon forgotten.
  assert cosines(got, expected).min() >= 0.99999
  # Other images have other embeddings: the cosine is not that of a constant.
  assert cosines(expected, np.roll(expected, 4, axis=0)).max() < 0.9


def test_the_networks_own_input_is_folded_into_the_first_convolution(case):
  expected, state = original(case, case.pixels)

  def distance(pixels):
    values = case.convert(state, pixels)
    got = compiled(case.model, case.size)(values)
    return 1 - cosines(got, expected).min()

  # Half a level stays at the border, against a whole half level.
  folded = distance(case.pixels)
  assert folded < case.border
  channels = case.pixels.channels
  assert folded < distance(Pixels(channels, (128,), (128,))) / 5
  if channels == 'BGR':
    # Exchanged channels are another network.
    assert distance(HOUSE) > 1e-3


@pytest.mark.parametrize(
  'pixels',
  [
    None,
    Pixels('BGR', (0,), (255,)),
    Pixels('BGR', (104, 117, 123), (57, 58, 59)),
  ],
)
def test_the_fold_is_exact_within_the_image(case, pixels):
  window = np.random.default_rng(1).integers(0, 256, (3, 3, 3)).astype(float)
  state, pixels = case.random_state(), pixels or case.pixels
  values = case.convert(state, pixels)

  def normalised(product, scale, mean, var, epsilon):
    return scale * (product - mean) / np.sqrt(var + epsilon)

  conv, norm = case.stem
  parts = ('weight', 'running_mean', 'running_var')
  expected = normalised(
    np.einsum('hwi,oihw->o', seen(window, pixels), state[f'{conv}.weight']),
    *(state[f'{norm}.{part}'] for part in parts),
    1e-5,
  )
  got = normalised(
    np.einsum('hwi,hwio->o', (window - 128) / 128, values['stem/kernel']),
    *(values[f'stem/bn/{part}'] for part in ('scale', 'mean', 'var')),
    1e-3,
  )
  # The folded weights are rounded to float32.
  np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_every_variable_of_the_model_is_replaced(case):
  values = case.convert()
  variables = layer_network.random_variables(case.model, (*case.size, 3))
  new = assign(variables, values)
  found = {}
  for collection in ('params', 'batch_stats'):
    found |= flax.traverse_util.flatten_dict(new[collection], sep='/')
  check_equal(found, values)


def test_a_head_beside_a_prefix_is_left_out(case):
  state = case.random_state()
  prefixed = {f'model.net.{name}': value for name, value in state.items()}
  prefixed['head.kernel'] = np.zeros((10, 24), np.float32)
  check_equal(case.convert(prefixed), case.convert(state))


def test_a_last_batch_norm_without_gamma_and_beta():
  case, norm = CASES['output_layer'], 'output_layer.bn'
  state = case.random_state()
  del state[f'{norm}.weight'], state[f'{norm}.bias']
  values = case.convert(state)
  var = state[f'{norm}.running_var']
  scale = values['embedding/bn/scale'] / np.sqrt(var + 1e-3)
  np.testing.assert_allclose(scale, 1 / np.sqrt(var + 1e-5), rtol=1e-6)
  assert not values['embedding/bn/bias'].any()


@pytest.mark.parametrize(
  ('name', 'tensor', 'value', 'message'),
  [
    ('insightface', 'conv1.bn.weight', None, r'conv1\.bn\.weight; .* none'),
    ('insightface', 'linear.bias', np.ones(24), r'none; .* linear\.bias'),
    (
      'insightface',
      'linear.weight',
      np.zeros((24, 512, 3, 3)),
      r'linear\.weight .*wanted \[O, I\] or \[O, I, 1, 1\]',
    ),
    (
      'insightface',
      'conv1.conv.weight',
      np.zeros((64, 27)),
      r'conv1\.conv\.weight .*wanted \[O, I, kh, kw\]',
    ),
    ('insightface', 'conv1.bn.weight', np.ones(63), r'1\.bn have the shapes'),
    ('insightface', 'conv1.bn.running_var', -np.ones(64), r'_var has negative'),
    (
      'insightface',
      'conv1.bn.running_var',
      np.full(64, np.nan),
      r'conv1\.bn\.running_var has negative or no numbers',
    ),
    (
      'face_evolve_ir',
      'body.4.shortcut_layer.0.weight',
      None,
      r'lacks .*4\.shortcut_layer\.0',
    ),
    (
      'face_evolve_ir',
      'body.0.res_layer.5.weight',
      np.ones(8),
      r'tensors none; it has besides body\.0\.res_layer\.5\.weight',
    ),
    (
      'face_evolve_ir',
      'output_layer.3.weight',
      np.ones((24, 16 * 6)),
      r'output_layer\.3\.weight .* wanted \[O, 16 \* side\^2\]',
    ),
    (
      'face_evolve_ir',
      'output_layer.0.running_mean',
      np.ones(0),
      r'output_layer\.0 have the shapes',
    ),
    (
      'arcface_torch',
      'layer2.0.downsample.0.weight',
      None,
      r'lacks the tensors layer2\.0\.downsample\.0\.weight; .* besides none',
    ),
    (
      'arcface_torch',
      'layer1.0.se.fc1.weight',
      np.ones((2, 8)),
      r'tensors none; it has besides layer1\.0\.se\.fc1\.weight',
    ),
    (
      'face_evolve_ir_se',
      'body.1.res_layer.5.fc2.weight',
      np.ones((8, 2, 3, 3)),
      r'res_layer\.5\.fc2\.weight .* wanted \[O, I, 1, 1\]',
    ),
  ],
)
def test_states_of_other_networks_are_refused_by_name(
  case, tensor, value, message
):
  state = case.random_state()
  if value is None:
    del state[tensor]
  else:
    state[tensor] = np.float32(value)
  with pytest.raises(ValueError, match=message):
    case.convert(state)


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('insightface', r'lacks .*conv1\.conv\.weight.*besides other\.weight'),
    ('face_evolve_ir', r'lacks .*body\.0\.res_layer'),
  ],
)
def test_another_network_is_refused_with_both_sides(case, message):
  with pytest.raises(ValueError, match=message):
    case.convert({'other.weight': np.zeros((64, 3, 3, 3), np.float32)})


def save_by_hand(state, path):
  path.write_bytes(files.zip_file(*files.of_state(state)))


def save_with_torch(state, path):
  torch = pytest.importorskip('torch')
  torch.save({name: torch.from_numpy(a) for name, a in state.items()}, path)


def save_onnx(state, path):
  # Constants of the graph are none of its weights.
  arrays = {'/Reshape/shape': np.array([1, -1]), 'onnx::Mul_7': np.float32([3])}
  files.save_onnx(state | arrays, path)


@pytest.mark.parametrize(
  'save', [save_by_hand, save_with_torch, save_onnx, save_file]
)
@pytest.mark.parametrize('name', ['insightface', 'arcface_torch'])
def test_a_file_is_read_and_named(tmp_path, case, save):
  state = files.floating(case.random_state())
  path = tmp_path / 'net.pth'
  save({f'module.{name}': array for name, array in state.items()}, path)
  given = {'channels': 'BGR'}
  values = torch_network.read_torch(path, case.network, given).values
  expected = torch_network.convert_state(state, case.network, given).values
  check_equal(values, expected)
  state.popitem()
  save(state, path)
  with pytest.raises(
    ValueError, match=rf'net\.pth is not of the {case.network.name} that'
  ):
    torch_network.read_torch(path, case.network)


@pytest.mark.parametrize('name', ['insightface', 'output_layer', 'xiaoccer'])
def test_layouts_of_mobilefacenet(name, case):
  state, values = case.random_state(), case.convert()
  names = list(torch_mobilefacenet.unit_names(name))

  def weight(index):
    return state[f'{names[index][0]}.weight']

  stem, depthwise = values['stem/kernel'], values['block_1/depthwise/kernel']
  assert stem[2, 1, 0, 5] == weight(0)[5, 0, 2, 1]
  assert depthwise.shape == (3, 3, 1, 128)
  assert depthwise[2, 0, 0, 7] == weight(6)[7, 0, 2, 0]
  assert values['global_depthwise/kernel'].shape == (3, 2, 1, 512)
  embedding = weight(49).reshape(24, 512)
  np.testing.assert_array_equal(values['embedding/kernel'], embedding.T)
  np.testing.assert_array_equal(
    values['block_14/expand_prelu/alpha'], state[f'{names[44][2]}.weight']
  )


def test_layouts_of_the_improved_residual_network():
  case = CASES['face_evolve_ir_se']
  state, values = case.random_state(), case.convert()
  kernel = state['body.3.res_layer.1.weight']
  assert values['block_3/conv_1/kernel'][2, 1, 4, 7] == kernel[7, 4, 2, 1]
  assert (values['block_3/norm/kernel'] == np.ones((1, 1, 1, 8))).all()
  np.testing.assert_array_equal(
    values['block_3/conv_1_prelu/alpha'], state['body.3.res_layer.2.weight']
  )
  # Row 1, column 0 of channel 5.
  np.testing.assert_array_equal(
    values['embedding/kernel'][(1 * 2 + 0) * 16 + 5],
    state['output_layer.3.weight'][:, 5 * 4 + 1 * 2 + 0],
  )
  np.testing.assert_allclose(
    values['embedding/bn/mean'],
    state['output_layer.4.running_mean'] - state['output_layer.3.bias'],
    rtol=1e-6,
  )
  kernel = state['body.2.res_layer.5.fc1.weight']
  assert kernel.shape == (2, 8, 1, 1)
  np.testing.assert_array_equal(
    values['block_2/squeeze_excite/reduce/kernel'], kernel[:, :, 0, 0].T
  )


def test_a_batch_norm_that_the_original_lacks_changes_nothing():
  values = CASES['face_evolve_ir'].convert()
  norm = {
    name: values[f'block_0/conv_1/bn/{name}']
    for name in ('scale', 'bias', 'mean', 'var')
  }
  # The last bit of float32.
  factor = norm['scale'] / np.sqrt(norm['var'] + 1e-3)
  np.testing.assert_allclose(factor, 1, rtol=2e-7)
  assert not norm['bias'].any()
  assert not norm['mean'].any()


@pytest.mark.parametrize(
  ('naming', 'units', 'message'),
  [
    ('face_evolve_ir', (2, 1, 2, 1), r'the model lacks block_5/'),
    (
      'arcface_torch',
      (2, 1, 1, 1),
      r'model lacks block_0/shortcut/bn.*fields of model',
    ),
  ],
)
def test_a_network_of_other_units_is_refused_by_the_model(
  naming, units, message
):
  case = CASES['face_evolve_ir']
  state = torch_iresnet.random_state(naming, units, *IRESNET[1:])
  variables = layer_network.random_variables(case.model, (32, 32, 3))
  with pytest.raises(ValueError, match=message):
    assign(variables, case.convert(state))
