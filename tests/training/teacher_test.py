"""Whose embeddings a distillation learns, and what is refused."""

import types

import jax
import numpy as np
import pytest
from tiny_run import (
  assert_same_end,
  make_batch,
  make_config,
  read_log,
  stop_and_resume,
)

from configs import losses, mobilefacenet_y1_narrow
from faceqat.evaluators.predict import make_predict
from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.models.build import make_model
from faceqat.models.network import Network
from faceqat.models.weights.pixels import SeveralProjectsError
from faceqat.quant.spec import FLOAT
from faceqat.training import teacher as teacher_module
from faceqat.training.checkpoint import Checkpointer, load_network
from faceqat.training.loop import train
from faceqat.training.teacher import (
  Teacher,
  check_same,
  load_teacher,
  make_teacher,
  with_digest,
)

ONE = jax.devices()[:1]
IMAGES = make_batch()['image']


def taught_config(teacher, **changes):
  """A network of random weights, narrower than its teacher."""
  config = make_config()
  config.loss = losses.distillation()
  config.loss.teacher = str(teacher)
  config.model.features = 4
  # The quantizers ask nothing of a teacher.
  config.quant.enabled = False
  config.update(total_steps=16, eval_steps=16, checkpoint_steps=16, **changes)
  config.optimizer.learning_rate = 0.01
  return config


def load(config):
  """Its teacher, of drawn faces."""
  config.fingerprint = fingerprint.to_fields(Fingerprint('drawn', 32))
  return load_teacher(config, make_model(config), {})


@pytest.fixture(scope='module')
def taught_run(float_run, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('taught_run')
  train(taught_config(float_run), str(workdir), ONE)
  return workdir


def test_a_run_teaches_what_it_computes_in_float(float_run, capsys):
  found = load(taught_config(float_run))
  assert capsys.readouterr().out.startswith('learns the emb')
  network = load_network(float_run)
  expected = make_predict(network.model, network.variables, FLOAT)(IMAGES)
  batch = make_teacher(found)({'image': IMAGES, 'label': 0})
  assert batch.keys() == {'image', 'label', 'target'}
  assert batch['image'] is IMAGES
  np.testing.assert_array_equal(batch['target'], expected)


def test_blocks_are_learnt_too_and_are_right_at_the_start(float_run, tmp_path):
  config = taught_config('', pretrained=str(float_run))
  config.model.features = load_network(float_run).model.features
  config.loss.features = 1.0
  config.data.augment.update(flip_probability=0.0)
  config.update(total_steps=2, eval_steps=2, checkpoint_steps=2, log_steps=1)
  # Both networks normalise with the statistics of the start.
  config.quant.freeze_bn_step = 0
  train(config, str(tmp_path), ONE)
  lines = read_log(tmp_path)
  errors = [line.get('train/feature_error') for line in lines]
  # The same sums of float32, compiled apart.
  assert errors[0] < 1e-9
  assert errors[1] > 1e-6
  assert 'validation/feature_error' not in lines[-1]


def test_images_of_another_size_are_resized_for_the_teacher():
  class Pixels:
    def apply(self, variables, images, mode):
      assert images.dtype == np.uint8
      return images.reshape(len(images), -1).astype(np.float32)

  with_targets = make_teacher(Teacher(Pixels(), {}, (4, 8)))
  # Each pixel of a plane is the mean of its four, whatever the size.
  ramp = np.arange(8, dtype=np.uint8)[np.newaxis, :, np.newaxis] * 16
  images = np.broadcast_to(ramp, (2, 4, 8, 3)).copy()
  large = images.repeat(2, axis=1).repeat(2, axis=2)
  small = with_targets({'image': images})['target']
  np.testing.assert_array_equal(small, images.reshape(2, -1))
  resized = with_targets({'image': large})['target']
  # A triangle over two pixels reaches the neighbours, a quarter of a step.
  np.testing.assert_allclose(resized, small, atol=4)
  assert resized.shape == small.shape


def test_no_other_teacher_is_the_network_of_the_start(float_run):
  network = load_network(float_run)
  config = taught_config('')
  found = load_teacher(config, network.model, network.variables)
  assert found.model is network.model
  assert found.image_size == (32, 32)
  expected = make_predict(network.model, network.variables, FLOAT)(IMAGES)
  # As a training step does with the state that it is given.
  for leaf in jax.tree.leaves(network.variables):
    leaf.delete()
  batch = make_teacher(found)({'image': IMAGES})
  np.testing.assert_array_equal(batch['target'], expected)


def test_a_name_is_the_network_that_pip_installs(float_run, monkeypatch):
  network = load_network(float_run)

  def load_float(name):
    assert name == 'sface'
    return network

  monkeypatch.setattr(teacher_module.packaged_network, 'load_float', load_float)
  assert load(taught_config('sface')).variables is network.variables


def test_a_file_has_weights_of_the_own_model(monkeypatch, tmp_path, capsys):
  path = str(tmp_path / 'x.params')
  config = taught_config(path)
  found = types.SimpleNamespace(variables={'params': {}}, sentence='of MagFace')

  def load_pretrained(name, model, variables):
    assert name == path
    assert model.features == 4
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(variables))
    return found

  monkeypatch.setattr(teacher_module, 'load_pretrained', load_pretrained)
  assert load(config).variables is found.variables
  assert capsys.readouterr().out.startswith('of MagFace\nlearns ')

  def several(*_):
    raise SeveralProjectsError('say which')

  monkeypatch.setattr(teacher_module, 'load_pretrained', several)
  with pytest.raises(ValueError, match=r'^say which; .*, make a run of it \('):
    load(config)


@pytest.mark.parametrize('form', ['cut here', 'cut by an earlier run'])
def test_a_narrow_network_learns_from_the_whole_one(form, monkeypatch):
  config = mobilefacenet_y1_narrow.get_config('smoke')
  if form == 'cut here':
    config.pretrained = 'x.params'
  else:
    config.pretrained = 'runs/narrow'
    config.loss.teacher = 'x.params'

  def load_pretrained(name, model, variables):
    assert name == 'x.params'
    kernel = variables['params']['block_0']['project']['kernel']
    assert kernel.shape == (1, 1, 128, 64)
    return types.SimpleNamespace(variables=variables, sentence='whole')

  monkeypatch.setattr(teacher_module, 'load_pretrained', load_pretrained)
  narrow = make_model(config)
  assert narrow.inner_width == 0.375
  found = load_teacher(config, narrow, {})
  assert found.model == narrow.clone(inner_width=1.0)


def test_a_random_network_comes_nearer_to_its_teacher(taught_run):
  lines = read_log(taught_run)
  cosines = [line['train/cosine'] for line in lines if 'train/cosine' in line]
  assert len(cosines) == 16
  # One batch of 8 is easier than another by a tenth or two.
  assert np.mean(cosines[-4:]) > np.mean(cosines[:4]) + 0.1
  assert lines[-1]['validation/cosine'] > cosines[0] + 0.1
  network = load_network(taught_run)
  assert network.model.features == 4
  assert len(network.config.teacher_sha256) == 64


def test_a_stopped_run_goes_on_with_its_teacher_wherever_that_lies(
  taught_run, float_run, tmp_path
):
  config = taught_config(float_run)
  stop_and_resume(config, tmp_path, 2)
  assert_same_end(config, taught_run, tmp_path)
  # The same network by another path, and another network.
  elsewhere = tmp_path / 'elsewhere'
  elsewhere.symlink_to(float_run)
  train(taught_config(elsewhere), str(tmp_path), ONE)
  other = taught_config(taught_run)
  message = f'learnt from {float_run}, and .* is not that network now: give '
  with pytest.raises(ValueError, match=message):
    train(other, str(tmp_path), ONE)


def test_an_older_run_learnt_from_its_start(float_run):
  config = with_digest(taught_config(''), load(taught_config(float_run)))
  before = make_config(pretrained='y1.params')
  before.loss = {'name': 'distillation'}
  check_same(before, config, 'runs/x/6')
  config.loss.teacher = 'sface'
  message = (
    r'^runs/x/6 learnt from pretrained=y1\.params, and sface is not .* anew$'
  )
  with pytest.raises(ValueError, match=message):
    check_same(before, config, 'runs/x/6')


def wrong(part, **changes):
  return lambda config: config[part].update(changes)


WRONG = [
  (
    wrong('model', embedding_size=8),
    r'whose embeddings have 16 numbers, but model\.embedding_size is 8; give ',
  ),
  (
    wrong('data', image_size=(32, 24)),
    r'for images of \(32, 32\), but data\.image_size is \(32, 24\), which ',
  ),
  (
    wrong('loss', teacher='nowhere.params'),
    r'^loss\.teacher: .*nowhere\.params.*, make a run of it \(--config\.pre',
  ),
  (
    wrong('loss', features=1.0),
    r'^loss\.features is .*: block puts out \(16, 16, 4\) here, and in the '
    r'teacher \(16, 16, 8\); set ',
  ),
]


@pytest.mark.parametrize(('change', 'message'), WRONG)
def test_a_teacher_that_does_not_fit_is_refused(change, message, float_run):
  config = taught_config(float_run)
  change(config)
  with pytest.raises(ValueError, match=message):
    load(config)


def test_a_folder_without_a_run_is_named_as_the_teacher(tmp_path):
  with pytest.raises(ValueError, match=r'^loss\.teacher is .* folder without'):
    load(taught_config(tmp_path))


def test_a_teacher_of_other_faces_is_refused(float_run, monkeypatch, capsys):
  network = load_network(float_run)
  config = network.config.copy_and_resolve_references()

  def of(template):
    with config.unlocked():
      config.fingerprint = fingerprint.to_fields(Fingerprint(template, 32))
    return lambda name: Network(network.model, network.variables, config, 0)

  def try_faces(taught, teacher):
    ours = taught_config(float_run)
    ours.fingerprint = fingerprint.to_fields(Fingerprint(taught, 32))
    monkeypatch.setattr(teacher_module, 'load_network', of(teacher))
    load_teacher(ours, network.model, {})

  with pytest.raises(ValueError, match=r"'sphereface', loss\.teacher=.* is fo"):
    try_faces('sphereface', 'arcface')
  try_faces('arcface', 'arcface')
  assert 'WARNING' not in capsys.readouterr().out
  try_faces('drawn', 'arcface')
  assert 'WARNING: loss.teacher=' in capsys.readouterr().out


def test_a_checkpoint_names_whose_embeddings_were_learnt(taught_run, float_run):
  checkpointer = Checkpointer(taught_run, create=False)
  config = checkpointer.config(checkpointer.latest_step)
  checkpointer.close()
  network = load_network(float_run)
  found = Teacher(network.model, network.variables, (32, 32))
  assert config.teacher_sha256 == with_digest(config, found).teacher_sha256
  assert config.loss.teacher == str(float_run)
