"""A project is recognised, and its network read as its own."""

import layer_network
import numpy as np
import pytest
import torch_iresnet
from safetensors.numpy import save_file
from torch_networks import CASES, IRESNET, TINY, convert

from faceqat.models import iresnet
from faceqat.models.weights import (
  iresnet_torch,
  mobilefacenet_torch,
  projects,
  torch_network,
)
from faceqat.models.weights.assign import assign
from faceqat.models.weights.pixels import Pixels

NETWORK = iresnet_torch.NETWORK
ARCFACE_STATE = CASES['arcface_torch'].random_state()
IR_STATE = CASES['face_evolve_ir'].random_state()
MOBILE_STATE = CASES['insightface'].random_state()


def as_adaface(state):
  """The same units as AdaFace and TFace name them, with their shortcuts."""
  parts = {
    'bn1': 'res_layer.0',
    'conv1': 'res_layer.1',
    'bn2': 'res_layer.2',
    'prelu': 'res_layer.3',
    'conv2': 'res_layer.4',
    'bn3': 'res_layer.5',
    'downsample.0': 'shortcut_layer.0',
    'downsample.1': 'shortcut_layer.1',
  }
  others = {
    'conv1': 'input_layer.0',
    'bn1': 'input_layer.1',
    'prelu': 'input_layer.2',
    'bn2': 'output_layer.0',
    'fc': 'output_layer.3',
    'features': 'output_layer.4',
  }
  bodies = torch_iresnet.units(*IRESNET[:2])
  for index, (stage, unit, inputs, outputs, _) in enumerate(bodies):
    for part, place in parts.items():
      # A shortcut whose channels stay is the input itself.
      if 'downsample' not in part or inputs != outputs:
        others[f'layer{stage}.{unit}.{part}'] = f'body.{index}.{place}'
  return {
    f'{others[name]}.{end}': array
    for name, _, end, array in (
      (*path.rpartition('.'), array) for path, array in state.items()
    )
    if name in others
  }


def test_a_unit_with_a_norm_between_is_the_same_under_both_namings(monkeypatch):
  state = as_adaface(ARCFACE_STATE)
  # Theirs has neither; arcface_torch's are of the size that ones have.
  del state['output_layer.4.weight'], state['output_layer.4.bias']
  original = {
    **ARCFACE_STATE,
    'features.weight': np.ones(24, np.float32),
    'features.bias': np.zeros(24, np.float32),
  }
  values = convert(NETWORK, state)
  expected = convert(NETWORK, original)
  missing = expected.keys() - values.keys()
  assert values.keys() <= expected.keys()
  assert {name.split('/')[1] for name in missing} == {'shortcut'}
  for name, value in values.items():
    np.testing.assert_array_equal(value, expected[name], err_msg=name)
  # It fits the model whose shortcuts are the input itself.
  for name, value in TINY.items():
    monkeypatch.setattr(iresnet, name, value)
  model = CASES['face_evolve_ir'].model
  assign(layer_network.random_variables(model, (32, 32, 3)), values)


def test_a_gate_of_theirs_is_read():
  state = as_adaface(ARCFACE_STATE)
  for index, channels in enumerate([8, 8, 8, 12, 16]):
    gate = f'body.{index}.res_layer.se_block'
    state[f'{gate}.fc1.weight'] = np.ones((2, channels, 1, 1), np.float32)
    state[f'{gate}.fc2.weight'] = np.ones((channels, 2, 1, 1), np.float32)
  values = convert(NETWORK, state)
  assert values['block_4/squeeze_excite/reduce/kernel'].shape == (16, 2)
  assert values['block_4/squeeze_excite/expand/kernel'].shape == (2, 16)


def prefixed(prefix, state):
  return {f'{prefix}{name}': array for name, array in state.items()}


ADAFACE = as_adaface(ARCFACE_STATE)
CURRICULAR = {
  name: array
  for name, array in IR_STATE.items()
  if name not in ('output_layer.4.weight', 'output_layer.4.bias')
}


MOBILE = mobilefacenet_torch.NETWORK


@pytest.mark.parametrize(
  ('network', 'state', 'prefix', 'head', 'project'),
  [
    (NETWORK, ARCFACE_STATE, '', '', projects.ARCFACE_TORCH),
    (NETWORK, ARCFACE_STATE, 'features.module.', 'fc.weight', projects.MAGFACE),
    (NETWORK, ARCFACE_STATE, 'features.', 'fc.weight', projects.MAGFACE),
    (NETWORK, ADAFACE, 'model.', 'head.kernel', projects.ADAFACE),
    (NETWORK, IR_STATE, 'backbone.', 'head.weight', projects.FACEX_ZOO),
    (NETWORK, CURRICULAR, '', '', projects.CURRICULAR_FACE),
    (MOBILE, MOBILE_STATE, 'backbone.', 'head.weight', projects.FACEX_ZOO),
    (MOBILE, CASES['output_layer'].random_state(), '', '', projects.QUANTFACE),
    (
      MOBILE,
      CASES['xiaoccer'].random_state(),
      '',
      '',
      projects.MOBILEFACENET_PYTORCH,
    ),
  ],
  ids=lambda value: getattr(value, 'name', ''),
)
def test_a_project_is_known_by_its_names(network, state, prefix, head, project):
  state = prefixed(prefix, state)
  if head:
    state[head] = np.zeros((24, 10), np.float32)
  assert torch_network.convert_state(state, network).project == project


@pytest.mark.parametrize(
  ('network', 'state', 'message'),
  [
    (MOBILE, MOBILE_STATE, r'Pytorch saw BGR.*evoLVe saw RGB'),
    (NETWORK, IR_STATE, r'face\.evoLVe saw RGB.*InsightFace_Pytorch saw BGR'),
    (NETWORK, ADAFACE, r'AdaFace saw BGR.*TFace saw RGB'),
    (NETWORK, prefixed('net.', ADAFACE), r'CVLface saw RGB.*CVLface saw BGR'),
    (
      NETWORK,
      prefixed('model.net.', ARCFACE_STATE),
      r'CVLface saw RGB.*CVLface saw BGR',
    ),
  ],
)
def test_what_no_name_tells_is_asked_for(tmp_path, network, state, message):
  path = tmp_path / 'MODEL.SAFETENSORS'
  save_file(state, path)
  with pytest.raises(
    ValueError, match=rf'MODEL\.SAFETENSORS: its .*{message}.*\.channels='
  ):
    torch_network.read_torch(path, network)
  for channels in ('RGB', 'BGR'):
    found = torch_network.read_torch(
      path, network, {'channels': channels}
    ).project
    assert found.pixels == Pixels(channels)


def test_magface_s_epsilon_and_pixels_are_its_own():
  values = torch_network.convert_state(
    prefixed('features.', ARCFACE_STATE), NETWORK
  ).values
  # Variances down to 1e-4, to which 1e-5 are some percent.
  var = ARCFACE_STATE['layer1.0.bn2.running_var']
  factor = values['block_0/conv_1/bn/scale'] / np.sqrt(var + 1e-3)
  expected = ARCFACE_STATE['layer1.0.bn2.weight'] / np.sqrt(var + 2e-5)
  np.testing.assert_allclose(factor, expected, rtol=1e-6)
  kernel = ARCFACE_STATE['conv1.weight']
  # Red is ours first and theirs last.
  np.testing.assert_allclose(
    values['stem/kernel'][1, 2, 0], kernel[:, 2, 1, 2] * (128 / 255), rtol=1e-6
  )
  shift = values['stem/bn/mean'] - ARCFACE_STATE['bn1.running_mean']
  np.testing.assert_allclose(
    shift, -kernel.sum((1, 2, 3)) * (128 / 255), rtol=1e-4, atol=1e-6
  )
