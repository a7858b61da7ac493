import dataclasses

import flax.traverse_util
import jax
import layer_network
import numpy as np
import pytest
import torch_files as files
from defaults import make_network
from torch_mobilefacenet import (
  HEIGHT,
  NAMINGS,
  WIDTH,
  random_state,
  torch_network,
  unit_names,
)

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.models.weights import mobilefacenet_torch, projects
from faceqat.models.weights.assign import assign
from faceqat.models.weights.pixels import Pixels
from faceqat.models.weights.pretrained import load_pretrained
from faceqat.quant.spec import FLOAT

MODEL = make_network('mobilefacenet', embedding_size=24)
# What the first convolution is given.
PIXELS = {
  'insightface': Pixels('BGR', (127.5,), (127.5,)),
  'output_layer': Pixels('RGB', (127.5,), (127.5,)),
  'xiaoccer': Pixels('RGB', (127.5,), (128,)),
}
HOUSE = Pixels('RGB', (128,), (128,))


def convert(state, pixels=PIXELS['insightface']):
  given = dataclasses.asdict(pixels)
  return mobilefacenet_torch.convert(state, given).values


@pytest.fixture(scope='module')
def images():
  faces = SyntheticFaces(4, 2, HEIGHT)
  drawn = [faces[i]['image'][:, :WIDTH] for i in range(len(faces))]
  noise = np.random.default_rng(1).integers(
    0, 256, (4, HEIGHT, WIDTH, 3), np.uint8
  )
  return np.concatenate([drawn, noise])


@pytest.fixture(scope='module')
def variables():
  return layer_network.random_variables(MODEL, (HEIGHT, WIDTH, 3))


@pytest.fixture(scope='module')
def embed(images):
  """One compilation for all tests."""
  return jax.jit(lambda variables: MODEL.apply(variables, images, FLOAT))


def seen(images, pixels):
  """What the network is given of [..., 3] pixels of RGB."""
  if pixels.channels == 'BGR':
    images = images[..., ::-1]
  return (images.astype(np.float32) - pixels.mean) / pixels.scale


def original_embeddings(naming, images, state, pixels):
  """Those of the network in PyTorch, and its state, settled on the images."""
  import torch

  network = torch_network(naming)
  assert network.state_dict().keys() == state.keys()
  network.load_state_dict(
    {name: torch.from_numpy(value) for name, value in state.items()}
  )
  inputs = seen(images, pixels)
  inputs = torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy()).float()
  with torch.no_grad():
    # Noise would grow in statistics that are not of the network's own making.
    network.train()
    network(inputs)
    network.eval()
    embeddings = network(inputs).flatten(1).numpy()
  settled = {name: t.numpy() for name, t in network.state_dict().items()}
  return embeddings, settled


def cosines(a, b):
  norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
  return np.sum(a * b, axis=1) / norms


@pytest.mark.parametrize('naming', NAMINGS)
def test_embeddings_are_those_of_the_network_in_pytorch(
  naming, images, variables, embed
):
  pytest.importorskip('torch')
  # Both are given the model's own input, so that nothing is folded but the
  # epsilon, and the border too is the same.
  expected, state = original_embeddings(
    naming, images, random_state(naming), HOUSE
  )
  values = convert(state, HOUSE)
  got = np.asarray(embed(assign(variables, values)))
  # Sums in another order, in float32: 5e-6 of the largest, measured.
  np.testing.assert_allclose(got, expected, atol=5e-5 * np.abs(expected).max())
  assert cosines(got, expected).min() >= 0.99999
  # Other images have other embeddings: the cosine is not that of a constant.
  assert cosines(expected, np.roll(expected, 4, axis=0)).max() < 0.9


@pytest.mark.parametrize('naming', NAMINGS)
def test_the_networks_own_input_is_folded_into_the_first_convolution(
  naming, images, variables, embed
):
  pytest.importorskip('torch')
  expected, state = original_embeddings(
    naming, images, random_state(naming), PIXELS[naming]
  )
  values = convert(state, PIXELS[naming])
  got = np.asarray(embed(assign(variables, values)))
  folded = cosines(got, expected).min()
  house = dataclasses.replace(HOUSE, channels=PIXELS[naming].channels)
  values = convert(state, house)
  unfolded = cosines(np.asarray(embed(assign(variables, values))), expected)
  # Half a pixel stays at the border, which is wide in so small an image; the
  # untrained network makes 1e-4 of it, and 1e-3 of the whole half pixel.
  assert folded >= 0.9998
  assert 1 - folded < (1 - unfolded.min()) / 5


@pytest.mark.parametrize('naming', NAMINGS)
def test_layouts(naming):
  state = random_state(naming)
  values = convert(state, HOUSE)
  names = list(unit_names(naming))

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


@pytest.mark.parametrize('naming', NAMINGS)
@pytest.mark.parametrize(
  'pixels',
  [
    None,
    Pixels('BGR', (0,), (255,)),
    Pixels('BGR', (104, 117, 123), (57, 58, 59)),
  ],
)
def test_the_fold_is_exact_within_the_image(naming, pixels):
  state = random_state(naming)
  window = np.random.default_rng(1).integers(0, 256, (3, 3, 3)).astype(float)
  pixels = pixels or PIXELS[naming]
  values = convert(state, pixels)

  def normalised(product, scale, mean, var, epsilon):
    return scale * (product - mean) / np.sqrt(var + epsilon)

  kernel = state['conv1.conv.weight']
  norm = [
    state[f'conv1.bn.{name}']
    for name in ('weight', 'running_mean', 'running_var')
  ]
  expected = normalised(
    np.einsum('hwi,oihw->o', seen(window, pixels), kernel), *norm, 1e-5
  )
  norm = [values[f'stem/bn/{name}'] for name in ('scale', 'mean', 'var')]
  got = normalised(
    np.einsum('hwi,hwio->o', (window - 128) / 128, values['stem/kernel']),
    *norm,
    1e-3,
  )
  # The folded weights are rounded to float32.
  np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_a_batch_norm_multiplies_as_it_did():
  state = random_state('insightface')
  values = convert(state)
  scale = values['block_3/project/bn/scale'] / np.sqrt(
    values['block_3/project/bn/var'] + 1e-3
  )
  norm = 'conv_3.model.2.project.bn'
  expected = state[f'{norm}.weight'] / np.sqrt(
    state[f'{norm}.running_var'] + 1e-5
  )
  np.testing.assert_allclose(scale, expected, rtol=1e-6)


@pytest.mark.parametrize('naming', NAMINGS)
def test_every_variable_of_the_model_is_replaced(naming, variables):
  values = convert(random_state(naming))
  new = assign(variables, values)
  found = {}
  for collection in ('params', 'batch_stats'):
    found |= flax.traverse_util.flatten_dict(new[collection], sep='/')
  assert found.keys() == values.keys()
  for path, value in values.items():
    np.testing.assert_array_equal(found[path], np.float32(value), err_msg=path)


@pytest.mark.parametrize('naming', NAMINGS)
def test_a_head_beside_a_prefix_is_left_out(naming, variables):
  state = random_state(naming)
  prefixed = {f'model.net.{name}': value for name, value in state.items()}
  prefixed['loss.weight'] = np.zeros((10, 24), np.float32)
  values = convert(prefixed)
  plain = convert(state)
  assert values.keys() == plain.keys()
  for name, value in plain.items():
    np.testing.assert_array_equal(values[name], value)


def test_a_last_batch_norm_without_gamma_and_beta(variables):
  state = random_state('output_layer')
  del state['output_layer.bn.weight'], state['output_layer.bn.bias']
  values = convert(state)
  var = state['output_layer.bn.running_var']
  scale = values['embedding/bn/scale'] / np.sqrt(var + 1e-3)
  np.testing.assert_allclose(scale, 1 / np.sqrt(var + 1e-5), rtol=1e-6)
  assert not values['embedding/bn/bias'].any()
  assign(variables, values)


def test_what_is_missing_and_what_is_left_over_are_listed():
  state = random_state('insightface')
  del state['conv_4.model.2.project.bn.running_var']
  state['linear.bias'] = np.zeros(24, np.float32)
  with pytest.raises(
    ValueError,
    match=r'lacks the tensors conv_4\.model\.2\.project\.bn\.running_var; it '
    r'has besides linear\.bias',
  ):
    convert(state)


def test_a_missing_gamma_before_the_last_batch_norm_is_an_error():
  state = random_state('insightface')
  del state['conv1.bn.weight']
  with pytest.raises(ValueError, match=r'lacks the tensors conv1\.bn\.weight'):
    convert(state)


@pytest.mark.parametrize(
  ('name', 'value', 'message'),
  [
    ('linear.weight', np.zeros((24, 512, 3, 3)), r'linear\.weight .*wanted'),
    ('conv1.conv.weight', np.zeros((64, 27)), r'conv1\.conv\.weight .*wanted'),
    ('conv1.bn.weight', np.zeros(63), r'conv1\.bn have the shapes'),
    ('conv1.bn.running_var', -np.ones(64), r'conv1\.bn\.running_var'),
    ('conv1.bn.running_var', np.full(64, np.nan), r'conv1\.bn\.running_var'),
  ],
)
def test_tensors_that_do_not_fit_are_named(name, value, message):
  state = random_state('insightface')
  state[name] = value.astype(np.float32)
  with pytest.raises(ValueError, match=message):
    convert(state)


def test_another_network_is_refused_with_both_sides():
  state = {'input_layer.0.weight': np.zeros((64, 3, 3, 3), np.float32)}
  with pytest.raises(
    ValueError, match=r'lacks .*conv1\.conv\.weight.*input_layer\.0\.weight'
  ):
    convert(state)


def saved(state, prefix=''):
  """A state dictionary in a file, and its numbers."""
  parts = {
    f'{prefix}{name}': files.tensor(
      files.storage(str(index), 'FloatStorage', value.size),
      value.shape,
      tuple(stride // 4 for stride in value.strides),
    )
    for index, (name, value) in enumerate(state.items())
    if value.dtype == np.float32
  }
  storages = {
    str(index): value.tobytes() for index, value in enumerate(state.values())
  }
  return files.ordered(parts), storages


def test_xiaoccers_checkpoint_is_for_images_of_112_by_96(tmp_path):
  state = random_state('xiaoccer', (112, 96))
  assert state['linear7.conv.weight'].shape == (512, 1, 7, 6)
  network, storages = saved(state)
  path = tmp_path / '068.ckpt'
  content = files.mapping({'epoch': files.plain(68), 'net_state_dict': network})
  path.write_bytes(files.zip_file(content, storages))
  variables = layer_network.random_variables(MODEL, (112, 96, 3))
  params = load_pretrained(path, MODEL, variables).variables['params']
  kernel = params['global_depthwise']['kernel']
  assert kernel.shape == (7, 6, 1, 512)
  np.testing.assert_array_equal(
    kernel[3, 5, 0], state['linear7.conv.weight'][:, 0, 3, 5]
  )
  square = jax.eval_shape(
    lambda: layer_network.random_variables(MODEL, (112, 112, 3))
  )
  message = r'\[7, 6, 1, 512\], model \[7, 7, .* data\.image_size to the file'
  with pytest.raises(ValueError, match=message):
    load_pretrained(path, MODEL, square)


def test_a_file_is_read_and_named(tmp_path):
  state = random_state('insightface')
  path = tmp_path / 'net.pth'
  path.write_bytes(files.zip_file(*saved(state, 'module.')))
  values = mobilefacenet_torch.read(path, {'channels': 'BGR'}).values
  expected = convert(state)
  assert values.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(values[name], value)

  path.write_bytes(files.by_hand('legacy'))
  with pytest.raises(ValueError, match=r'net\.pth is not of the MobileFaceNet'):
    mobilefacenet_torch.read(path)


def test_a_project_is_known_by_its_names():
  state = random_state('insightface')
  with pytest.raises(ValueError, match=r'Pytorch saw BGR.*evoLVe saw RGB'):
    mobilefacenet_torch.convert(state)
  zoo = {f'backbone.{name}': array for name, array in state.items()}
  zoo['head.weight'] = np.zeros((24, 9), np.float32)
  for found, project in (
    (zoo, projects.FACEX_ZOO),
    (random_state('output_layer'), projects.QUANTFACE),
    (random_state('xiaoccer'), projects.MOBILEFACENET_PYTORCH),
  ):
    assert mobilefacenet_torch.convert(found).project == project
