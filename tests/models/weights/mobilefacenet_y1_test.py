"""An imported y1 gives the embeddings of MXNet's own graph."""

import jax
import layer_network
import mxnet_files
import mxnet_interpreter
import numpy as np
import pytest
import real_data
from backbone_checks import cosines
from defaults import make_network

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.faces.images import decode_image
from faceqat.models.weights import mobilefacenet_y1
from faceqat.models.weights.assign import assign
from faceqat.quant.spec import FLOAT

WEIGHTS = real_data.path('weights/mobilefacenet_y1/model-0000.params')
LFW = real_data.path('data/lfw/images')
MODEL = make_network('mobilefacenet')
# Pixel 128 in the graph's own numbers: what the model pads with.
PAD = {'conv_1_conv2d': 0.5 / 128}


def embed(path, images):
  shapes = layer_network.random_variables(MODEL, images.shape[1:])
  variables = assign(shapes, mobilefacenet_y1.read_y1(path).values)
  run = jax.jit(lambda v, x: MODEL.apply(v, x, FLOAT))
  return np.asarray(run(variables, images))


def interpret(path, images, **changes):
  graph = path.with_name('model-symbol.json').read_text()
  params = mxnet_interpreter.read_params(path.read_bytes())
  return mxnet_interpreter.run(graph, params, images, **changes)['fc1']


def drawn_faces(count, size):
  faces = SyntheticFaces(count, 1, size)
  return np.stack([faces[index]['image'] for index in range(count)])


def check_close(got, expected):
  # Fifty layers of float32 sums in any order: ten roundings by 2^-24 a layer
  # are 3e-5 of the largest number. To the random network the border is 1.5e-4,
  # the half step 5e-4.
  np.testing.assert_allclose(got, expected, atol=3e-5 * np.abs(expected).max())


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
  """A random y1 for images of 32 pixels: its path, images and embeddings."""
  path = mxnet_files.Y1(32).save(tmp_path_factory.mktemp('y1'))
  images = drawn_faces(4, 32)
  return path, images, embed(path, images)


def test_the_border_is_all_that_differs(drawn):
  path, images, embeddings = drawn
  check_close(embeddings, interpret(path, images, pad_values=PAD))
  # Images answered alike would prove nothing, nor would the border alone.
  assert cosines(embeddings[:1], embeddings[1:]).max() < 0.9998
  with pytest.raises(AssertionError):
    check_close(embeddings, interpret(path, images))
  with pytest.raises(AssertionError):
    check_close(embeddings, interpret(path, images - 0.5))


@real_data.needs(WEIGHTS)
def test_real_weights_embed_as_their_graph_does():
  if LFW.is_dir():
    people = sorted(LFW.iterdir())
    paths = [sorted(people[index].iterdir())[0] for index in (0, 999, 1999)]
    images = np.stack(
      [decode_image(path.read_bytes(), path.name, 112) for path in paths]
    )
  else:
    images = drawn_faces(3, 112)
  embeddings = embed(WEIGHTS, images)
  # The border costs 4e-8 on average, 4e-7 at most.
  assert (1 - cosines(embeddings, interpret(WEIGHTS, images))).max() < 1e-6
  check_close(embeddings, interpret(WEIGHTS, images, pad_values=PAD))


def test_every_layer_of_the_model_has_its_origin(drawn):
  params = layer_network.random_variables(MODEL, (32, 32, 3))['params']
  paths = {
    jax.tree_util.keystr(path, simple=True, separator='/')
    for path, _ in jax.tree_util.tree_leaves_with_path(params)
  }
  kernels = {path for path in paths if path.endswith('/kernel')}
  assert kernels == {
    f'{layer}/kernel' for layer in mobilefacenet_y1.LAYERS.values()
  }


def test_a_fixed_gamma_is_one_whatever_the_file_holds(drawn):
  # 2e-5 in place of 1e-3, at a variance near 1.
  gamma = mobilefacenet_y1.read_y1(drawn[0]).values['embedding/bn/scale']
  np.testing.assert_allclose(gamma, 1.0005, atol=2e-4)


def save(tmp_path, change):
  network = mxnet_files.Y1(32)
  change(network)
  return network.save(tmp_path)


def test_the_pixels_scale_is_folded(tmp_path, drawn):
  """127.5 in place of 128 as divisor, in weights that make up for it."""

  def change(network):
    network.node('_mulscalar0')['attrs']['scalar'] = repr(1 / 127.5)
    network.tensors['arg:conv_1_conv2d_weight'] *= np.float32(127.5 / 128)

  original = mobilefacenet_y1.read_y1(drawn[0]).values
  changed = mobilefacenet_y1.read_y1(save(tmp_path, change)).values
  for name, value in original.items():
    np.testing.assert_allclose(changed[name], value, rtol=1e-5, err_msg=name)


def with_attribute(name, key, value):
  return lambda network: network.node(name)['attrs'].update({key: value})


def with_field(name, key, value):
  return lambda network: network.node(name).update({key: value})


def rename_a_tensor(network):
  network.tensors['arg:fc1_beta2'] = network.tensors.pop('arg:fc1_beta')


def cut_off_a_norm(network):
  network.node('conv_6sep_batchnorm')['inputs'][0] = [0, 0, 0]


@pytest.mark.parametrize(
  ('change', 'match'),
  [
    (
      with_attribute('conv_1_conv2d', 'stride', '(1, 1)'),
      r'stride \(1, 1\), wanted \(2, 2\)',
    ),
    (
      with_attribute('res_4_block3_conv_dw_conv2d', 'stride', '(2, 2)'),
      r'wanted \(1, 1\)',
    ),
    (
      with_attribute('dconv_45_conv_dw_conv2d', 'pad', '(0, 0)'),
      r'pad .* wanted \(1, 1\)',
    ),
    (
      with_attribute('conv_6dw7_7_conv2d', 'pad', '(1, 1)'),
      r'pad .* wanted \(0, 0\)',
    ),
    (with_attribute('conv_6sep_conv2d', 'dilate', '(2, 2)'), 'dilate'),
    (
      with_attribute('conv_6sep_relu', 'act_type', 'elu'),
      'type elu, wanted prelu',
    ),
    (
      with_attribute('_minusscalar0', 'scalar', '0'),
      'pixel 128 enters .* as 1, wanted',
    ),
    (
      with_field('res_3_plus0', 'op', 'elemwise_mul'),
      'res_3_plus0 is a elemwise_mul',
    ),
    (
      with_field('conv_6sep_conv2d', 'name', 'conv_7'),
      'lacks the layers conv_6sep_conv2d; .* conv_7',
    ),
    (
      rename_a_tensor,
      r'0000\.params lacks its tensors fc1_beta; .* besides fc1_beta2',
    ),
    (cut_off_a_norm, 'no BatchNorm follows conv_6sep_conv2d'),
  ],
)
def test_another_network_is_refused(tmp_path, change, match):
  path = save(tmp_path, change)
  with pytest.raises(ValueError, match=rf'model-symbol\.json is not .*{match}'):
    mobilefacenet_y1.read_y1(path)
