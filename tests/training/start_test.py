"""What a run starts from, and runs that start from another run."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import (
  assert_same_end,
  leaves,
  make_batch,
  make_config,
  make_start,
  read_log,
  read_state,
  stop_and_resume,
  taken_batches,
)

from configs import losses
from faceqat.calibration.calibrate import has_ranges
from faceqat.calibration.lower import lower
from faceqat.evaluation.networks import evaluate_network
from faceqat.faces.images import DamagedImageError, SkippedImages
from faceqat.models.weights.pretrained import Pretrained
from faceqat.quant.spec import FLOAT
from faceqat.training import start as start_module
from faceqat.training.checkpoint import load_network
from faceqat.training.loop import train
from faceqat.training.start import start_from, with_class_means
from faceqat.training.train_state import TrainState

ONE = jax.devices()[:1]

IMAGES = make_batch()['image']


def distillation_config(teacher, total_steps):
  """As the configs that distil to few bits: quantized from the first step."""
  config = make_config(pretrained=str(teacher), total_steps=total_steps)
  config.loss = losses.distillation()
  config.optimizer.update(learning_rate=2e-3, weight_decay=0.0)
  config.quant.update(
    start_step=0, freeze_bn_step=0, equalize=True, correct_biases=True
  )
  config.quant.default.update(weight_bits=3, learned_steps=True)
  return config


@pytest.fixture(scope='module')
def calibrated_run(float_run, tmp_path_factory):
  """The folder of a run without a training step."""
  workdir = tmp_path_factory.mktemp('calibrated_run')
  train(distillation_config(float_run, total_steps=0), str(workdir), ONE)
  return workdir


@pytest.fixture(scope='module')
def distilled_run(float_run, tmp_path_factory):
  """The folder of a run in which the steps were trained, and its batches."""
  workdir = tmp_path_factory.mktemp('distilled_run')
  config = distillation_config(float_run, total_steps=6)
  with taken_batches() as batches:
    train(config, str(workdir), ONE)
  return workdir, batches


def is_step(name):
  return name.endswith('step')


@pytest.mark.parametrize('learned_steps', ['there', 'here'])
def test_a_run_gives_its_weights_but_no_ranges_and_no_learned_steps(
  learned_steps, quantized_run, distilled_run
):
  config = make_config(seed=1)
  config.quant.default.learned_steps = learned_steps == 'here'
  workdir = (quantized_run if learned_steps == 'here' else distilled_run)[0]
  model, before, _ = make_start(config)
  config.pretrained = str(workdir)
  after, _ = start_from(before, model, config)
  there = leaves(load_network(workdir).variables)
  old, new = leaves(before.variables), leaves(after.variables)
  assert new.keys() == old.keys()
  for name, leaf in new.items():
    stays = is_step(name) or name.startswith('quant_stats')
    wanted = old if stays else there
    np.testing.assert_array_equal(leaf, wanted[name], err_msg=name)
    assert not (stays and np.any(leaf)), name
  assert any(map(is_step, new)) == (learned_steps == 'here')
  assert after.params['classifier'] is before.params['classifier']
  assert after.opt_state is before.opt_state


def test_a_run_of_another_model_is_refused(float_run):
  config = make_config()
  config.model.features = 16
  model, state, _ = make_start(config)
  message = f'{float_run} does not fit the model: the shapes differ of block/'
  config.pretrained = str(float_run)
  with pytest.raises(ValueError, match=message):
    start_from(state, model, config)


def test_a_folder_around_weights_names_them(tmp_path):
  config = make_config(pretrained=str(tmp_path))
  model, state, _ = make_start(config)
  with pytest.raises(ValueError, match=r'without checkpoints: .* weight file$'):
    start_from(state, model, config)
  (tmp_path / 'model-0000.params').touch()
  with pytest.raises(ValueError, match=r'such as .*/model-0000\.params$'):
    start_from(state, model, config)


def test_a_file_gives_the_backbone_alone(tmp_path, monkeypatch, capsys):
  path = str(tmp_path / 'y1.params')
  config = make_config(pretrained=path)
  config.fingerprint = {'weights': ''}
  config.pretrained_pixels.mean = (0,)
  model, state, _ = make_start(config)

  def load(*arguments):
    assert arguments[:2] == (path, model)
    assert arguments[3] == {'mean': (0,)}
    variables = jax.tree.map(
      lambda leaf: np.full_like(leaf, 0.25), arguments[2]
    )
    return Pretrained(variables, 'MagFace: BGR', 'the weights of MagFace')

  monkeypatch.setattr(start_module, 'load_pretrained', load)
  new, after = start_from(state, model, config)
  assert after.fingerprint.weights == 'MagFace: BGR'
  assert capsys.readouterr().out == 'the weights of MagFace\n'
  for part in (new.params['backbone'], new.batch_stats):
    assert all(np.all(leaf == 0.25) for leaf in jax.tree.leaves(part))
  # What a reader of files makes of the ranges is not asked.
  assert new.quant_stats is state.quant_stats
  assert new.params['classifier'] is state.params['classifier']


class Colour:
  """A network without weights: the mean of each colour, from 1."""

  embedding_size = 3

  def apply(self, variables, images, mode):
    assert mode == FLOAT
    return images.astype(np.float32).mean((1, 2)) + 1


class Source(types.SimpleNamespace):
  """Images of three people, in no order; the second one has three."""

  damaged = ()
  labels = np.array([2, 0, 0, 1, 2, 0, 2, 1, 0, 0, 0, 0, 0, 1, 0, 0, 2])
  class_names = 'abc'

  def __len__(self):
    return len(self.labels)

  def __getitem__(self, index):
    if index in self.damaged:
      raise DamagedImageError(f'image {index} is empty')
    rng = np.random.default_rng(index)
    image = rng.integers(0, rng.integers(9, 256, 3), (4, 4, 3)).astype(np.uint8)
    return {'image': image, 'label': self.labels[index]}


def test_class_weights_are_the_mean_embeddings_of_the_first_eight_images():
  source, backbone = Source(), {'kernel': np.ones(2)}
  params = {'backbone': backbone, 'classifier': {'weights': jnp.zeros((3, 3))}}
  state = TrainState(0, params, {}, {}, {}, np.ones(()), ())
  # Fifteen images in batches of four: the last one is padded.
  new = with_class_means(state, Colour(), source, batch_size=4)
  weights = new.params['classifier']['weights']
  assert weights.shape == (3, 3)
  assert weights.dtype == np.float32
  assert np.bincount(source.labels).tolist() == [10, 3, 4]
  for label in range(3):
    units = []
    for index in np.flatnonzero(source.labels == label)[:8]:
      colour = source[index]['image'].mean((0, 1)) + 1
      units.append(colour / np.linalg.norm(colour))
    # The network's mean is in float32.
    np.testing.assert_allclose(
      weights[:, label], np.mean(units, 0), rtol=1e-6, atol=0
    )
  assert new.params['backbone'] is backbone
  # Those that are damaged are left out; who has no other keeps random weights.
  params['classifier']['weights'] = jnp.full((3, 3), 7.0)
  spoilt = Source(damaged=(0, *np.flatnonzero(source.labels == 1)))
  left = with_class_means(state, Colour(), spoilt, 4, SkippedImages())
  found = left.params['classifier']['weights']
  np.testing.assert_array_equal(found[:, 0], weights[:, 0])
  np.testing.assert_array_equal(found[:, 1], 7)
  colours = [source[index]['image'].mean((0, 1)) + 1 for index in (4, 6, 16)]
  units = [colour / np.linalg.norm(colour) for colour in colours]
  np.testing.assert_allclose(found[:, 2], np.mean(units, 0), rtol=1e-6)


def test_a_run_without_steps_is_a_calibrated_network(calibrated_run, float_run):
  (validation,) = read_log(calibrated_run)
  assert validation['step'] == 0
  assert 0 < validation['validation/cosine'] < 1
  network = load_network(calibrated_run, 'best')
  assert network.step == 0
  assert has_ranges(network.variables['quant_stats'])
  assert lower(network).metadata['step'] == '0'
  start = leaves(load_network(float_run).variables['params'])
  for name, leaf in leaves(network.variables['params']).items():
    if is_step(name):
      assert np.all(leaf > 0), name
    elif not name.endswith('bn/bias'):
      # ReLU6 lets no channel be scaled: biases alone were corrected.
      np.testing.assert_array_equal(leaf, start[name], err_msg=name)


def test_a_calibrated_run_is_left_as_it_is(calibrated_run, float_run):
  files = sorted(calibrated_run.rglob('*'))
  log = (calibrated_run / 'metrics.jsonl').read_bytes()
  with taken_batches() as batches:
    train(distillation_config(float_run, 0), str(calibrated_run), ONE)
  assert not batches
  assert sorted(calibrated_run.rglob('*')) == files
  assert (calibrated_run / 'metrics.jsonl').read_bytes() == log


def test_distillation_brings_a_quantized_network_nearer_to_its_teacher(
  calibrated_run, distilled_run
):
  (before,) = read_log(calibrated_run)
  steps = read_log(distilled_run[0])
  for line in steps:
    if 'train/loss' in line:
      # Unit vectors: the squared distance is 2 - 2 cos, but for rounding.
      assert line['train/loss'] == pytest.approx(
        2 - 2 * line['train/cosine'], abs=1e-5
      )
  assert sum('train/loss' in line for line in steps) == 6
  assert 'train/accuracy' not in steps[0]
  after = steps[-1]['validation/cosine']
  assert before['validation/cosine'] < after < 1


def test_a_stopped_distillation_resumes_with_the_same_teacher(
  distilled_run, float_run, tmp_path, capsys
):
  workdir, batches = distilled_run
  config = distillation_config(float_run, total_steps=6)
  # Two batches of the calibration, and of the training the third.
  first, later = stop_and_resume(config, tmp_path, 4)
  printed = capsys.readouterr().out
  assert printed.count(f'starts from {float_run}') == 1
  assert 'continues from step 3 of 6' in printed
  assert first + later == batches
  assert read_state(config, tmp_path, 6)[0].params['classifier'] == {}
  assert_same_end(config, workdir, tmp_path)


@pytest.mark.usefixtures('undrawn')
def test_learned_steps_are_trained_and_stand_in_the_table(
  calibrated_run, distilled_run, tmp_path
):
  network = load_network(distilled_run[0])
  before, after = (
    leaves(load_network(folder).variables['params'])
    for folder in (calibrated_run, distilled_run[0])
  )
  moved = [name for name in after if is_step(name)]
  assert moved
  for name in moved:
    assert np.all(after[name] > 0), name
    assert not np.array_equal(before[name], after[name]), name
  output = lower(network).tensors['embedding']
  assert output.scale == after['embedding/quantizer/step']
  results = evaluate_network(network, tmp_path)
  assert list(results) == ['float', 'fake_quant', 'integer', 'integer_match']
  assert json.loads((tmp_path / 'results.json').read_text()) == results
  # The same network twice, up to halves that fall to the other side, more of
  # them in one training than in another.
  fake, integer = (results[name] for name in ('fake_quant', 'integer'))
  assert integer['cosine_mean'] == pytest.approx(fake['cosine_mean'], abs=5e-3)
