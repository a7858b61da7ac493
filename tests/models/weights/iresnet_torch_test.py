"""An imported improved residual network embeds as it did in PyTorch."""

import dataclasses
import functools

import jax
import layer_network
import numpy as np
import onnx
import pytest
import torch_iresnet
from backbone_checks import cosines
from defaults import make_network

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.models import iresnet
from faceqat.models.weights import iresnet_torch
from faceqat.models.weights.assign import assign
from faceqat.models.weights.pixels import Pixels
from faceqat.models.weights.pretrained import load_pretrained
from faceqat.quant.spec import FLOAT

UNITS, CHANNELS = (2, 1, 1, 1), (8, 8, 12, 16)
# Images of 32 leave 2x2; of fewer positions no order could be wrong.
NETWORK = (UNITS, CHANNELS, 2, 24, 4)
IR = ('face_evolve_ir', *NETWORK)
ARCFACE = ('arcface_torch', *NETWORK)
MODEL = make_network('ir18', embedding_size=24)
MODELS = {
  'face_evolve_ir': MODEL,
  'face_evolve_ir_se': MODEL.clone(squeeze_excite=True),
  'arcface_torch': MODEL.clone(shortcut='projection'),
}
HOUSE = Pixels('RGB', (128,), (128,))


def convert(state, pixels=HOUSE):
  given = dataclasses.asdict(pixels)
  return iresnet_torch.convert(state, given).values


@pytest.fixture(autouse=True, scope='module')
def tiny():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(iresnet, 'DEPTHS', {18: UNITS})
    patch.setattr(iresnet, 'CHANNELS', CHANNELS)
    patch.setattr(iresnet, 'REDUCTION', 4)
    yield


@pytest.fixture(scope='module')
def variables(tiny):
  return layer_network.random_variables(MODEL, (32, 32, 3))


@pytest.fixture(scope='module')
def images():
  faces = SyntheticFaces(4, 2, 32)
  drawn = [faces[i]['image'] for i in range(len(faces))]
  noise = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), np.uint8)
  return np.concatenate([drawn, noise])


@functools.cache
def compiled(naming):
  """One compilation for all tests."""
  return jax.jit(
    lambda variables, images: MODELS[naming].apply(variables, images, FLOAT)
  )


def embed(naming, values, images):
  """Our network's embeddings with the imported values."""
  model = MODELS[naming]
  variables = layer_network.random_variables(model, (32, 32, 3))
  return np.asarray(compiled(naming)(assign(variables, values), images))


def original_embeddings(naming, images, pixels):
  """Those of the network in PyTorch, and its state, settled on the images."""
  torch = pytest.importorskip('torch')
  state = torch_iresnet.random_state(naming, *NETWORK)
  network = torch_iresnet.torch_network(naming, *NETWORK)
  assert network.state_dict().keys() == state.keys()
  network.load_state_dict(
    {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
  )
  if pixels.channels == 'BGR':
    images = images[..., ::-1]
  inputs = (images.astype(np.float32) - pixels.mean) / pixels.scale
  inputs = torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy()).float()
  with torch.no_grad():
    # Noise would grow in statistics that are not of the network's own making.
    network.train()
    for layer in network.modules():
      if isinstance(layer, torch.nn.Dropout):
        layer.eval()
    for _ in range(3):
      network(inputs)
    network.eval()
    embeddings = network(inputs).numpy()
  settled = {name: t.numpy() for name, t in network.state_dict().items()}
  return embeddings, settled


@pytest.mark.parametrize('naming', torch_iresnet.NAMINGS)
def test_embeddings_are_those_of_the_network_in_pytorch(images, naming):
  # Both are given the model's own input: the border is the same too.
  expected, state = original_embeddings(naming, images, HOUSE)
  got = embed(naming, convert(state), images)
  # Sums in another order, in float32: 1.7e-6 of the largest, measured.
  np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
  # Which leaves 1e-12 of the cosine; 1e-5 would be an epsilon forgotten.
  assert cosines(got, expected).min() >= 0.99999
  # Other images have other embeddings: the cosine is not that of a constant.
  assert cosines(expected, np.roll(expected, 4, axis=0)).max() < 0.9


def test_the_networks_own_input_is_folded_into_the_first_convolution(images):
  pixels = Pixels('BGR', (127.5,), (127.5,))
  expected, state = original_embeddings('face_evolve_ir', images, pixels)

  def distance(pixels):
    values = convert(state, pixels)
    return 1 - cosines(embed('face_evolve_ir', values, images), expected).min()

  # Half a pixel stays at the border, which is wide in so small an image: 8e-6
  # of the cosine, and 8e-5 of the whole half pixel.
  folded = distance(pixels)
  assert folded < 3e-5
  unfolded = dataclasses.replace(HOUSE, channels='BGR')
  assert folded < distance(unfolded) / 5
  # Exchanged channels are another network.
  assert distance(HOUSE) > 1e-3


def test_layouts(variables):
  state = torch_iresnet.random_state(*IR)
  values = convert(state)
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


def test_layouts_of_a_gate():
  state = torch_iresnet.random_state('face_evolve_ir_se', *NETWORK)
  values = convert(state)
  kernel = state['body.2.res_layer.5.fc1.weight']
  assert kernel.shape == (2, 8, 1, 1)
  np.testing.assert_array_equal(
    values['block_2/squeeze_excite/reduce/kernel'], kernel[:, :, 0, 0].T
  )


def test_a_batch_norm_that_the_original_lacks_changes_nothing():
  values = convert(torch_iresnet.random_state(*IR))
  norm = {
    name: values[f'block_0/conv_1/bn/{name}']
    for name in ('scale', 'bias', 'mean', 'var')
  }
  # The last bit of float32.
  factor = norm['scale'] / np.sqrt(norm['var'] + 1e-3)
  np.testing.assert_allclose(factor, 1, rtol=2e-7)
  assert not norm['bias'].any()
  assert not norm['mean'].any()


def test_a_head_beside_a_prefix_is_left_out(variables):
  state = torch_iresnet.random_state(*IR)
  prefixed = {f'model.{name}': value for name, value in state.items()}
  prefixed['head.kernel'] = np.zeros((24, 10), np.float32)
  values = convert(prefixed)
  for name, value in convert(state).items():
    np.testing.assert_array_equal(values.pop(name), value)
  assert not values


def change(name, value=None, network=IR):
  state = torch_iresnet.random_state(*network)
  if value is None:
    del state[name]
  else:
    state[name] = np.float32(value)
  return state


@pytest.mark.parametrize(
  ('state', 'message'),
  [
    ({}, r'lacks .*body\.0\.res_layer'),
    (change('body.4.shortcut_layer.0.weight'), r'lacks .*4\.shortcut_layer\.0'),
    (
      change('body.0.res_layer.5.weight', np.ones(8)),
      r'tensors none; it has besides body\.0\.res_layer\.5\.weight',
    ),
    (
      change('body.2.res_layer.3.weight', np.ones((8, 72))),
      r'body\.2\.res_layer\.3\.weight .* wanted \[O, I, kh, kw\]',
    ),
    (
      change('output_layer.3.weight', np.ones((24, 16 * 6))),
      r'output_layer\.3\.weight .* wanted \[O, 16 \* side\^2\]',
    ),
    (
      change('body.1.res_layer.0.running_var', -np.ones(8)),
      r'body\.1\.res_layer\.0\.running_var',
    ),
    (
      change('layer2.0.downsample.0.weight', network=ARCFACE),
      r'lacks the tensors layer2\.0\.downsample\.0\.weight; .* besides none',
    ),
    (
      change('layer1.0.se.fc1.weight', np.ones((2, 8)), network=ARCFACE),
      r'tensors none; it has besides layer1\.0\.se\.fc1\.weight',
    ),
    (
      change(
        'body.1.res_layer.5.fc2.weight',
        np.ones((8, 2, 3, 3)),
        ('face_evolve_ir_se', *NETWORK),
      ),
      r'res_layer\.5\.fc2\.weight .* wanted \[O, I, 1, 1\]',
    ),
  ],
)
def test_states_of_other_networks_are_refused_by_name(state, message):
  with pytest.raises(ValueError, match=message):
    convert(state)


def test_an_export_is_read_and_named(tmp_path, variables):
  state = torch_iresnet.random_state(*IR)
  tensors = [
    onnx.numpy_helper.from_array(array, name)
    for name, array in state.items()
    if array.ndim
  ]
  graph = onnx.helper.make_graph([], 'graph', [], [], tensors)
  path = tmp_path / 'net.onnx'
  onnx.save(onnx.helper.make_model(graph), path)
  given = dataclasses.asdict(HOUSE)
  new = load_pretrained(path, MODEL, variables, given).variables
  expected = assign(variables, convert(state))
  assert jax.tree.all(jax.tree.map(np.array_equal, expected, new))

  del graph.initializer[-1]
  onnx.save(onnx.helper.make_model(graph), path)
  with pytest.raises(ValueError, match=r'net\.onnx is not of the improved'):
    load_pretrained(path, MODEL, variables)


def test_a_checkpoint_is_read(tmp_path):
  torch = pytest.importorskip('torch')
  state = torch_iresnet.random_state(*ARCFACE)
  tensors = {name: torch.from_numpy(state[name]) for name in state}
  path = tmp_path / 'backbone.pth'
  torch.save(tensors, path)
  model = MODELS['arcface_torch']
  variables = layer_network.random_variables(model, (32, 32, 3))
  new = load_pretrained(path, model, variables, dataclasses.asdict(HOUSE))
  new, expected = new.variables, assign(variables, convert(state))
  assert jax.tree.all(jax.tree.map(np.array_equal, expected, new))


def test_a_state_of_another_depth_is_refused_by_the_model(variables):
  state = torch_iresnet.random_state(
    'face_evolve_ir', (2, 1, 2, 1), *NETWORK[1:]
  )
  with pytest.raises(ValueError, match=r'the model lacks block_5/'):
    assign(variables, convert(state))


def test_a_shortcut_that_the_model_lacks_is_named(variables):
  values = convert(torch_iresnet.random_state(*ARCFACE))
  with pytest.raises(ValueError, match=r'lacks block_0/shortcut/bn.*fields of'):
    assign(variables, values)
