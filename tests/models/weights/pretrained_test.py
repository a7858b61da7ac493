"""A weight file finds its reader by the model, or the user learns which are."""

import warnings

import flax
import jax
import layer_network
import mxnet_files
import numpy as np
import pytest
import torch_files as files
import torch_mobilefacenet
from defaults import batch_norm, batch_renorm, group_norm, make_network

from faceqat.models.weights import onnx_initializers
from faceqat.models.weights.pretrained import load_pretrained

SHAPE = (32, 32, 3)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
  return mxnet_files.Y1(32).save(tmp_path_factory.mktemp('y1'))


def test_all_variables_but_the_ranges_are_the_files(weights):
  # The momentum is free.
  model = make_network('mobilefacenet', norm=batch_norm(momentum=0.99))
  variables = layer_network.random_variables(model, SHAPE)
  new = load_pretrained(weights, model, variables).variables
  assert jax.tree.map(np.shape, new) == jax.tree.map(np.shape, variables)
  before, after = (
    flax.traverse_util.flatten_dict(tree, sep='/') for tree in (variables, new)
  )
  unchanged = {path for path in after if after[path] is before[path]}
  assert unchanged == {path for path in after if path.startswith('quant_stats')}
  for path in after.keys() - unchanged:
    assert not np.array_equal(before[path], after[path]), path


@pytest.fixture(scope='module')
def torch_state():
  return torch_mobilefacenet.random_state('insightface')


def folded(state):
  """As PyTorch exports by default: folded, and renamed."""
  return {
    name if name.startswith('linear') else f'onnx::Conv_{index}': array
    for index, (name, array) in enumerate(files.floating(state).items())
  }


def numbered(state):
  arrays = files.floating(state).values()
  return {str(685 + index): array for index, array in enumerate(arrays)}


def without_norms(state):
  return {
    name: array
    for name, array in files.floating(state).items()
    if '.bn.' not in name
  }


@pytest.mark.parametrize(
  ('export', 'message'),
  [
    (folded, r'replaced, by onnx::Conv_0, .* more\. If'),
    (numbered, r'replaced, by 685, 686'),
    (without_norms, r'conv1\.bn\.bias, .* besides none\. If'),
  ],
)
def test_an_export_without_names_or_norms_says_how_to_export(
  tmp_path, torch_state, export, message
):
  path = tmp_path / 'net.onnx'
  files.save_onnx(export(torch_state), path)
  with pytest.raises(
    ValueError,
    match=rf'net\.onnx is not of .*{message}.*do_constant_folding=False',
  ):
    load_pretrained(path, make_network('mobilefacenet'), {})


def test_pytorchs_own_export_keeps_what_is_read(tmp_path):
  torch = pytest.importorskip('torch')
  network = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3, bias=False),
    torch.nn.BatchNorm2d(4),
    torch.nn.PReLU(4),
    torch.nn.Flatten(),
    torch.nn.Linear(36, 5, bias=False),
    torch.nn.BatchNorm1d(5, affine=False),
  )
  for tensor in network.state_dict().values():
    if tensor.ndim:
      # An export joins tensors that are equal.
      torch.nn.init.uniform_(tensor, 0.5, 1.0)

  def export(**options):
    path = tmp_path / 'net.onnx'
    with warnings.catch_warnings():
      # It recommends the newer exporter, and calls what NumPy discourages.
      warnings.simplefilter('ignore')
      torch.onnx.export(
        network.eval(), torch.zeros(1, 3, 5, 5), path, dynamo=False, **options
      )
    return onnx_initializers.split_parameters(
      onnx_initializers.read_initializers(path)
    )

  parameters, _ = export(do_constant_folding=False)
  expected = {
    name: tensor.numpy()
    for name, tensor in network.state_dict().items()
    if tensor.ndim
  }
  assert parameters.keys() == expected.keys()
  for name, array in expected.items():
    np.testing.assert_array_equal(parameters[name], array)
  # What the message warns of.
  _, replaced = export()
  assert any(name.startswith('onnx::Conv') for name in replaced)


def test_xiaoccers_checkpoint_is_for_images_of_112_by_96(tmp_path):
  state = files.floating(
    torch_mobilefacenet.random_state('xiaoccer', (112, 96))
  )
  assert state['linear7.conv.weight'].shape == (512, 1, 7, 6)
  network, storages = files.of_state(state)
  path = tmp_path / '068.ckpt'
  content = files.mapping({'epoch': files.plain(68), 'net_state_dict': network})
  path.write_bytes(files.zip_file(content, storages))
  model = make_network('mobilefacenet', embedding_size=24)
  variables = layer_network.random_variables(model, (112, 96, 3))
  params = load_pretrained(path, model, variables).variables['params']
  kernel = params['global_depthwise']['kernel']
  assert kernel.shape == (7, 6, 1, 512)
  np.testing.assert_array_equal(
    kernel[3, 5, 0], state['linear7.conv.weight'][:, 0, 3, 5]
  )
  square = jax.eval_shape(
    lambda: layer_network.random_variables(model, (112, 112, 3))
  )
  message = r'\[7, 6, 1, 512\], model \[7, 7, .* data\.image_size to the file'
  with pytest.raises(ValueError, match=message):
    load_pretrained(path, model, square)


def test_a_model_of_other_sizes_is_refused_with_both_sizes(weights):
  model = make_network('mobilefacenet', embedding_size=64)
  variables = layer_network.random_variables(model, (48, 48, 3))
  with pytest.raises(ValueError, match=r'model-0000\.params does') as error:
    load_pretrained(weights, model, variables)
  for shapes in (
    'embedding/kernel (file [512, 128], model [512, 64])',
    'global_depthwise/kernel (file [2, 2, 1, 512], model [3, 3, 1, 512])',
  ):
    assert shapes in str(error.value)


@pytest.mark.parametrize(
  ('model', 'message'),
  [
    (make_network('mobilenet_v2'), r'for the model mobilenet_v2'),
    (make_network('ir50'), r'0\.params is of MXNet and cannot .*model iresnet'),
  ],
)
def test_what_nothing_reads_is_refused_and_the_readable_listed(
  weights, model, message
):
  with pytest.raises(
    ValueError, match=rf'{message}: .*MXNet, PyTorch, .* for mobilefacenet'
  ):
    load_pretrained(weights, model, {})


@pytest.mark.parametrize(
  ('norm', 'message'),
  [
    (batch_norm(epsilon=1e-5), r'BatchNorm\(.*1e-05\): set .*epsilon 0\.001'),
    (batch_renorm(), r'BatchRenorm\(.*model\.norm to the name .batch. with'),
    (group_norm(), r'GroupNorm\('),
  ],
)
def test_a_norm_to_which_no_gamma_is_brought_is_refused(norm, message):
  with pytest.raises(ValueError, match=rf'net\.pth cannot .*{message}'):
    load_pretrained('net.pth', make_network('mobilefacenet', norm=norm), {})
