"""Images that are not square, from the config to the shipped files."""

import json
import pickle

import jax
import numpy as np
import pytest
import tiny_run
from absl import flags
from ml_collections import config_flags

from configs import mbv2_int8
from faceqat.calibration.lower import lower
from faceqat.evaluators import exactness
from faceqat.export import litert, onnx_integer, onnx_runtime, tflite
from faceqat.export.formats import FORMATS
from faceqat.faces import fingerprint
from faceqat.identification import embedders
from faceqat.integer.evaluator import make_evaluator
from faceqat.training.checkpoint import load_network
from faceqat.training.loop import train

# Leaves 14x12 for the last convolution.
SIZE = 28, 24
IMAGES = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), np.uint8)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run that is only calibrated: its folder, and its network."""
  config = tiny_run.make_config(total_steps=0)
  config.model = {**config.model.to_dict(), 'global_depthwise': True}
  config.data.image_size = SIZE
  config.quant.update(start_step=0, freeze_bn_step=0)
  workdir = tmp_path_factory.mktemp('oblong_run')
  train(config, str(workdir), jax.devices()[:1])
  return workdir, load_network(str(workdir))


@pytest.fixture(scope='module')
def program(run):
  return lower(run[1])


@pytest.fixture(scope='module')
def embeddings(program):
  """Every integer tensor of the evaluator, by name."""
  values = make_evaluator(program, taps=True)(IMAGES)
  return {name: np.asarray(value) for name, value in values.items()}


def test_the_size_reaches_the_network_and_its_program(run, program):
  _, network = run
  # As the checkpoint's JSON has it.
  assert network.config.data.image_size == [*SIZE]
  assert network.config.fingerprint.size == [*SIZE]
  kernel = network.variables['params']['global_depthwise']['kernel']
  assert kernel.shape == (14, 12, 1, 8)
  assert program.tensors[program.input].shape == (*SIZE, 3)
  assert program.metadata['image_size'] == '28,24'
  found = fingerprint.of_metadata(program.metadata)
  assert found == fingerprint.Fingerprint('drawn', SIZE)


@pytest.mark.parametrize('runtime', ['LiteRT', 'ONNX Runtime'])
def test_no_integer_differs_in_a_runtime(runtime, program, embeddings):
  if runtime == 'LiteRT':
    content = tflite.to_bytes(program, taps=True)
    theirs = litert.make_runner(content, program.contract)(IMAGES)
  else:
    content = onnx_integer.to_model(program, taps=True).SerializeToString()
    theirs = onnx_runtime.make_runner(content)(IMAGES)
  difference = exactness.first_difference(program, embeddings, theirs)
  assert difference is None, difference
  # A network with equal answers to all images would prove nothing.
  assert len(np.unique(embeddings[program.output], axis=0)) == len(IMAGES)


def test_every_file_takes_images_of_the_size(program, embeddings, tmp_path):
  digests = set()
  for form in FORMATS.values():
    path = tmp_path / form.file
    path.write_bytes(form.to_bytes(program))
    embedder = embedders.load(path)
    assert embedder.image_size == SIZE
    assert embedder.fingerprint == fingerprint.of_metadata(program.metadata)
    if form.contracts:
      np.testing.assert_array_equal(
        embedder.predict(IMAGES), embeddings[program.output]
      )
      digests.add(embedder.digest(len(IMAGES)))
  assert len(digests) == 1


@pytest.mark.parametrize(
  ('flag', 'size'),
  [('=56', 56), ('=112,96', (112, 96)), ('=(112, 96)', (112, 96))],
)
def test_a_config_takes_a_number_or_two(flag, size):
  for field in ('data.image_size', 'data.stored_size', 'eval.stored_size'):
    argv = ['program', f'--config.{field}{flag}']
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict(
      'config', mbv2_int8.get_config(), flag_values=values, sys_argv=argv
    )
    values(argv)
    block, name = field.split('.')
    assert values.config[block][name] == size
    # Configs set pairs and numbers one after the other.
    values.config[block][name] = [112, 96]
    values.config[block][name] = 64


@pytest.mark.parametrize(
  ('size', 'stored'), [((112, 96), [112, 96]), (112, 112), ((56, 56), 56)]
)
def test_a_fingerprint_has_one_size_however_it_is_written(
  size, stored, tmp_path
):
  faces = fingerprint.Fingerprint('sphereface', size)
  fingerprint.write(faces, tmp_path)
  fields = json.loads((tmp_path / 'faces.json').read_text())
  assert fields['size'] == stored
  assert fingerprint.read(tmp_path) == faces
  assert fingerprint.of_metadata(fingerprint.to_metadata(faces)) == faces
  assert pickle.loads(pickle.dumps(faces)) == faces
  (tmp_path / 'faces.json').write_text(json.dumps({**fields, 'size': [112]}))
  with pytest.raises(
    ValueError, match=r'size is \[112\], wanted a number of p'
  ):
    fingerprint.read(tmp_path)
