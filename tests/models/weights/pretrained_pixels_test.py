"""The pixels that weights saw are set in the config, printed, and kept."""

import dataclasses
import json

import facenet_pytorch
import numpy as np
import pytest
import torch_iresnet
from defaults import make_network
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from configs import common
from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.models.weights import pretrained
from faceqat.models.weights.pretrained import load_pretrained
from faceqat.training.start import with_fingerprint

WEIGHTS = 'MagFace: BGR, pixel / 255'


@pytest.fixture(autouse=True)
def unassigned(monkeypatch):
  """Without a model's variables, in whose place they would be put."""
  monkeypatch.setattr(
    pretrained, 'assign', lambda variables, values, path: values
  )
  monkeypatch.setattr(
    pretrained.pruning, 'prune', lambda values, variables: values
  )


def save_magface(path):
  network = ((2, 1, 1, 1), (8, 8, 12, 16), 2, 24, 4)
  state = torch_iresnet.random_state('arcface_torch', *network)
  save_file({f'features.module.{k}': v for k, v in state.items()}, path)
  return path


def test_what_is_assumed_is_said_and_so_is_another_border(tmp_path):
  path = save_magface(tmp_path / 'magface_epoch_00025.pth')
  _, weights, sentence = load_pretrained(path, make_network('ir50'), {})
  assert weights == WEIGHTS
  assert sentence.startswith(
    f'{path} has the weights of MagFace, which saw BGR, pixel / 255: folded '
    'into the first convolution. It padded its border with pixel 0, this model '
    'pads with 128'
  )
  given = {'channels': 'RGB', 'mean': (127.5,), 'scale': (128,)}
  _, weights, sentence = load_pretrained(path, make_network('ir50'), {}, given)
  assert weights == 'MagFace: RGB, (pixel - 127.5) / 128'
  assert sentence.endswith('folded into the first convolution')


def test_without_padding_there_is_no_other_border(tmp_path):
  network = facenet_pytorch.Network(8)
  network(np.random.default_rng(0).normal(0, 1, (2, 75, 75, 3)))
  save_file(network.state, tmp_path / 'a.pt')
  model = make_network('inception_resnet_v1')
  given = {'mean': (0,), 'scale': (255,)}
  found = load_pretrained(tmp_path / 'a.pt', model, {}, given)
  assert found.weights == 'facenet-pytorch: RGB, pixel / 255'
  assert found.sentence.endswith('folded into the first convolution')


def test_the_graph_of_mxnet_says_what_it_takes_from_a_pixel(tmp_path):
  path = tmp_path / 'y1-0000.params'
  path.write_bytes((0x112).to_bytes(8, 'little') + bytes(16))
  with pytest.raises(ValueError, match=r'0000\.params comes with its graph'):
    load_pretrained(path, make_network('mobilefacenet'), {}, {'scale': (128,)})


@pytest.mark.parametrize(
  ('name', 'fields', 'message'),
  [
    ('', {'channels': 'BGR'}, r"pixels\.channels .* pretrained is '', empty"),
    ('run', {'scale': (255,)}, r"pixels\.scale .* pretrained is 'run', a run"),
    (
      'a.pth',
      {'channels': 'GBR'},
      r"pixels\.channels is 'GBR'; choose one of RGB",
    ),
    ('a.pth', {'mean': (1, 2)}, r'pixels\.mean is \(1, 2\); give one number'),
  ],
)
def test_pixels_that_say_nothing_are_refused(
  name, fields, message, tmp_path, monkeypatch
):
  (tmp_path / 'run' / 'checkpoints').mkdir(parents=True)
  monkeypatch.chdir(tmp_path)
  config = ConfigDict(
    {'pretrained': name, 'pretrained_pixels': common.pretrained_pixels()}
  )
  config.pretrained_pixels.update(fields)
  with pytest.raises(ValueError, match=message):
    with_fingerprint(config, None)


def test_they_travel_in_the_metadata_and_not_in_data_sets(tmp_path):
  faces = Fingerprint('arcface', 112)
  network = dataclasses.replace(faces, weights=WEIGHTS)
  metadata = fingerprint.to_metadata(network)
  assert metadata['pretrained_weights'] == WEIGHTS
  assert fingerprint.of_metadata(metadata) == network
  assert fingerprint.of_metadata(fingerprint.to_metadata(faces)) == faces
  assert fingerprint.of_run({'fingerprint': vars(network)}) == (network)
  fingerprint.write(faces, tmp_path)
  assert 'weights' not in json.loads(fingerprint.path_of(tmp_path).read_text())
  assert fingerprint.read(tmp_path) == faces
  # Faces are alike whatever a network began with.
  fingerprint.check(faces, network, 'faces', 'net')
  with pytest.raises(ValueError, match=r"weights is 'a\\nb'"):
    dataclasses.replace(faces, weights='a\nb')
