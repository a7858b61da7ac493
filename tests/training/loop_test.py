import os
import re
import shutil
import signal

import jax
import numpy as np
import pytest
from face_sets import write_folder
from tiny_run import (
  assert_same_end,
  assert_trained_alike,
  leaves,
  make_config,
  read_log,
  read_state,
  stop_and_resume,
  taken_batches,
)

from configs.losses import LOSSES
from faceqat.models.weights.pretrained import Pretrained
from faceqat.training import start as start_module
from faceqat.training import trainer
from faceqat.training.checkpoint import load_network
from faceqat.training.loop import train
from faceqat.training.stages import mode_at
from faceqat.training.trainer import check_finite
from faceqat.training.validation import best_score

ONE = jax.devices()[:1]


def test_eight_devices_train_as_one_does(tmp_path):
  # Plain gradient descent: Adam divides a gradient by its own size, so that
  # one which is zero but for rounding moves its parameter by a whole step.
  # One step in float, one quantized, and little learnt: what rounding does to
  # a step must not grow in those after it.
  config = make_config(total_steps=2, log_steps=1)
  config.optimizer.update(name='sgd', learning_rate=1e-3)
  config.quant.update(start_step=1, freeze_bn_step=-1)
  logs, states, batches = [], [], []
  for devices in (ONE, jax.devices()):
    workdir = tmp_path / str(len(devices))
    with taken_batches() as taken:
      train(config, str(workdir), devices)
    batches.append(taken)
    logs.append(read_log(workdir))
    states.append(read_state(config, workdir, 2))
  assert len(jax.devices()) == 8
  assert batches[0] == batches[1]
  (one, position), (eight, other_position) = states
  assert position == other_position
  assert_trained_alike(config, one, eight)
  for one, eight in zip(*logs, strict=True):
    assert one.keys() == eight.keys()
    for name in one.keys() - {'train/images_per_second'}:
      # A verification accuracy jumps when two scores change places, and an
      # accuracy when two classes do. The rest: sums in another order, 1e-6 as
      # seen, and a tie that falls to the other side after the first step.
      if 'verification' not in name and 'accuracy' not in name:
        rtol = 1e-4 if one['step'] == 1 and 'train' in name else 0.02
        np.testing.assert_allclose(
          eight[name], one[name], rtol=rtol, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_and_resumed_run_equals_one_that_was_not(
  number, quantized_run, tmp_path, capsys
):
  config = make_config()
  whole_dir, whole_batches = quantized_run
  before = signal.getsignal(number)
  first, later = stop_and_resume(config, tmp_path, 4, number)
  assert signal.getsignal(number) == before
  # Step 5 is no step at which a checkpoint is due.
  printed = capsys.readouterr().out
  assert f'{number.name}: saved step 5' in printed
  assert 'continues from step 5 of 10' in printed

  # The first run took two batches more, for its calibration.
  assert (len(first), len(later)) == (7, 5)
  assert first + later == whole_batches
  assert_same_end(config, whole_dir, tmp_path)


def test_pretrained_weights_start_a_run_but_do_not_return_to_it(
  tmp_path, monkeypatch, capsys
):
  paths = []

  def load(path, model, variables, given):
    paths.append(path)
    variables = jax.tree.map(lambda leaf: np.full_like(leaf, 0.25), variables)
    return Pretrained(variables, 'y1: RGB', 'the weights of y1')

  monkeypatch.setattr(start_module, 'load_pretrained', load)
  config = make_config(total_steps=1, pretrained='y1.params')
  config.quant.update(enabled=False, calibration_steps=0)
  config.optimizer.learning_rate = 0.0
  for total_steps in (1, 2):
    config.total_steps = total_steps
    train(config, str(tmp_path), ONE)
    # With a learning rate of 0 they are what they were.
    params = load_network(str(tmp_path)).variables['params']
    assert all(np.all(leaf == 0.25) for leaf in jax.tree.leaves(params))
  assert paths == ['y1.params']
  # What they saw stays with the run, and with what is made of it.
  network = load_network(str(tmp_path))
  assert network.config.fingerprint.weights == 'y1: RGB'
  assert capsys.readouterr().out.count('starts from y1.params') == 1


def test_a_finished_run_is_left_as_it_is(quantized_run):
  workdir, _ = quantized_run
  log, files = read_log(workdir), sorted(workdir.rglob('*'))
  with taken_batches() as batches:
    assert train(make_config(), str(workdir), ONE) is None
  assert not batches
  assert read_log(workdir) == log
  assert sorted(workdir.rglob('*')) == files


def test_a_signal_in_the_last_step_does_not_cost_its_validation(tmp_path):
  def stop(batch):
    if batch == 1:
      os.kill(os.getpid(), signal.SIGTERM)

  config = make_config(total_steps=2)
  config.quant.enabled = False
  with taken_batches(stop):
    assert train(config, str(tmp_path), ONE) == signal.SIGTERM
  assert 'validation/loss' in read_log(tmp_path)[-1]
  # Calibrated, as at the end of every float run.
  counts = [
    int(value)
    for name, value in leaves(load_network(tmp_path).variables).items()
    if name.endswith('count')
  ]
  assert counts
  assert set(counts) == {config.quant.calibration_steps}


def test_quantizers_wait_for_their_step(quantized_run):
  workdir, _ = quantized_run
  ranges = {
    line['step']: [
      value for name, value in line.items() if name.startswith('ranges/')
    ]
    for line in read_log(workdir)
    if 'validation/loss' in line
  }
  assert sorted(ranges) == [3, 6, 9, 10]
  assert not np.any(ranges[3])
  for step in (6, 9, 10):
    minima, maxima = ranges[step][0::2], ranges[step][1::2]
    assert np.all(np.array(maxima) > np.array(minima)), step


def test_only_what_can_be_lowered_becomes_the_best():
  config = make_config()
  scores = {'validation/verification_accuracy': 0.75}
  float_mode, quantized = (mode_at(step, config.quant) for step in (0, 9))
  assert best_score(scores, config, quantized) == 0.75
  assert best_score(scores, config, float_mode) is None
  assert best_score(None, config, quantized) is None
  # Nobody kept out: nothing to choose by.
  assert best_score({}, config, quantized) is None
  config.quant.enabled = False
  assert best_score(scores, config, float_mode) == 0.75


def test_divergence_saves_nothing_and_its_remedies_go_on(tmp_path):
  workdir = tmp_path / 'run'
  config = make_config(total_steps=2, checkpoint_steps=1, log_steps=100)
  config.quant.enabled = False
  config.optimizer.update(
    name='sgd',
    learning_rate=1e-3,
    # Clipping changes neither of them.
    momentum=0.0,
    weight_decay=0.0,
    clip_global_norm=0.0,
    warmup_steps=0,
  )
  config.quant.calibration_steps = 0
  train(config, str(workdir), ONE)
  before = leaves(load_network(workdir).variables)
  config.update(total_steps=6)
  config.optimizer.learning_rate = 1e30
  # The first step makes the parameters absurd but finite; the loss of the next
  # one is not, so they are not saved.
  with pytest.raises(FloatingPointError) as raised:
    train(config, str(workdir), ONE)
  assert re.match('step 3: loss is (nan|inf);', str(raised.value))
  after = leaves(load_network(workdir).variables)
  for name, array in before.items():
    np.testing.assert_array_equal(array, after[name], err_msg=name)

  for remedy, value in (('learning_rate', 1e-3), ('clip_global_norm', 1e-33)):
    assert f'optimizer.{remedy}' in str(raised.value)
    other = tmp_path / remedy
    shutil.copytree(workdir, other)
    with_remedy = config.copy_and_resolve_references()
    with_remedy.optimizer[remedy] = value
    train(with_remedy, str(other), ONE)
    assert load_network(other).step == 6


@pytest.mark.parametrize('name', ['loss', 'grad_norm'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_the_message_names_what_is_not_finite(name, value):
  metrics = {'loss': 1.0, 'grad_norm': 1.0, 'accuracy': 1.0}
  check_finite(7, metrics)
  with pytest.raises(FloatingPointError, match=f'step 7: {name} is {value}'):
    check_finite(7, {**metrics, name: value})


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('model.name', 'mobilnet', "model.name is 'mobilnet'; choose one"),
    ('model.dtype', 'float16', "model.dtype is 'float16'; choose"),
    ('loss.name', 'arcfase', "loss.name is 'arcfase'; choose"),
    ('loss.margin', 28.6, 'loss.margin is 28.6; .* an angle in radians'),
    ('optimizer.name', 'adam', "optimizer.name is 'adam'; choose one"),
    ('quant.default.weight_bits', 9, 'weight_bits is 9; choose'),
    ('quant.default.observer', 'mean', "observer is 'mean'; choose"),
    ('total_steps', -1, 'total_steps is -1; give 0'),
    (
      'quant.calibration_steps',
      0,
      'quant.calibration_steps is 0; it is 1 or more where quant.enabled',
    ),
    ('loss.name', 'distillation', 'pretrained is empty; give the'),
    ('seed', -1, 'seed is -1; it is 0 or more, and below'),
    ('data.seed', 2**32, r'data\.seed is 4294967296; it is 0 or'),
    ('log_steps', 0, 'log_steps is 0; it is 1 or more'),
    ('eval.batch_size', 0, 'eval.batch_size is 0; it is 1'),
    ('batch_size', 4, 'batch_size 4 does not divide among 8 devices'),
    ('batch_size', 64, 'has 36 images, fewer than one batch of 64'),
    ('data.path', 'nowhere', 'no image folder nowhere'),
    ('data.path', 'none.rec', 'no RecordIO pack none.rec'),
    ('data.validation_people', 31, 'from 20 to 30, or 0'),
  ],
)
def test_a_wrong_config_is_refused_before_anything_is_written(
  field, value, message, tmp_path
):
  config = make_config()
  config.update_from_flattened_dict({field: value})
  workdir = tmp_path / 'run'
  with pytest.raises(ValueError, match=message):
    train(config, str(workdir))
  assert not workdir.exists()


def test_an_override_for_no_layer_is_refused(tmp_path):
  config = make_config()
  config.quant.overrides = {'stern': {'weight_bits': 4}}
  with pytest.raises(
    ValueError, match=r"quant.overrides\['stern'\] fits no layer; .*embedding"
  ):
    train(config, str(tmp_path / 'run'), ONE)
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  ('people', 'size', 'message'),
  [
    (1, 32, 'images of 1 people'),
    (2, 48, '1.png has 48x48 pixels, wanted 32x32'),
  ],
)
def test_wrong_data_is_refused_before_anything_is_written(
  people, size, message, tmp_path
):
  write_folder(tmp_path / 'faces', people, size)
  config = make_config(batch_size=4)
  config.data.update(path=str(tmp_path / 'faces'), validation_people=0)
  workdir = tmp_path / 'run'
  with pytest.raises(ValueError, match=message):
    train(config, str(workdir), ONE)
  assert not workdir.exists()


def test_a_damaged_image_is_named_or_skipped(tmp_path, capsys):
  write_folder(tmp_path / 'faces', 4, 32)
  damaged = tmp_path / 'faces' / 'p01' / 'p01_0001.png'
  damaged.write_bytes(damaged.read_bytes()[:60])
  config = make_config(total_steps=1)
  config.quant.update(enabled=False, calibration_steps=0)
  config.data.update(
    path=str(tmp_path / 'faces'),
    validation_people=0,
    holdout_images_per_person=0,
  )
  with pytest.raises(ValueError, match=f'{damaged} cannot be decoded'):
    train(config, str(tmp_path / 'run'), ONE)
  config.data.skip_damaged = True
  train(config, str(tmp_path / 'run'), ONE)
  assert 'damaged images were skipped' in capsys.readouterr().out
  # Nothing was kept out to validate on.
  assert 'validation/loss' not in read_log(tmp_path / 'run')[-1]


def test_a_run_goes_on_only_with_its_own_data_and_model(quantized_run):
  workdir, _ = quantized_run
  files = sorted(workdir.rglob('*'))
  config = make_config(total_steps=11, seed=1)
  with pytest.raises(ValueError, match='seed is 1, before it was 0'):
    train(config, str(workdir), ONE)
  config = make_config(total_steps=11)
  config.model.features = 16
  with pytest.raises(
    ValueError, match=r'model\.features is 16, before it was 8'
  ):
    train(config, str(workdir), ONE)
  assert sorted(workdir.rglob('*')) == files


def test_every_line_a_user_sees_has_the_numbers(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(trainer, 'validate', lambda *_: {})
  train(make_config(total_steps=2), str(tmp_path), ONE)
  people, first, *lines = capsys.readouterr().out.splitlines()
  assert re.fullmatch(r'trains on \d+ images of \d+ people.*', people)
  assert first.endswith(f'listed in {tmp_path / "parameters.txt"}')
  assert lines[0].startswith('step 1/2  loss ')
  # Nothing is known of the pace of a step that was compiled.
  assert 'images/s' not in lines[0]
  assert 'images/s  0:00 left  [float]' in lines[1]
  assert lines[2] == '  validation: no data kept out'


@pytest.mark.parametrize('name', sorted(set(LOSSES) - {'distillation'}))
def test_every_objective_trains_and_says_how_far_it_is(name, tmp_path, capsys):
  config = make_config(total_steps=2, eval_steps=2)
  config.loss = LOSSES[name]()
  config.data.people_per_batch = 4
  config.quant.update(enabled=False, calibration_steps=0)
  train(config, str(tmp_path), ONE)
  score = 'positive fraction' if name == 'triplet' else 'accuracy'
  assert 'step 2/2  loss ' in (text := capsys.readouterr().out)
  assert text.count(f'  {score} ') == 2
  last = read_log(tmp_path)[-1]
  assert last['validation/verification_accuracy'] > 0
  # Triplets are of a batch, not of images left out.
  assert ('validation/loss' in last) == (name != 'triplet')
