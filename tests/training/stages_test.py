import jax
import numpy as np
import pytest
from tiny_run import (
  assert_same_end,
  leaves,
  make_config,
  make_start,
  read_log,
  read_state,
  stop_and_resume,
)

from faceqat.training.loop import train
from faceqat.training.stages import Stage, make_stages, mode_at, stage_at

ONE = jax.devices()[:1]


def staged_config(**changes):
  """The classifier alone, all, all with quantizers; 3 + 3 + 4 steps."""
  config = make_config(**changes)
  config.stages = {
    'stage_1': {'steps': 3, 'learning_rate': 0.01, 'train_backbone': False},
    'stage_2': {'steps': 3, 'learning_rate': 0.004, 'train_backbone': True},
    'stage_3': {'steps': 4, 'learning_rate': 0.001, 'train_backbone': True},
  }
  config.quant.update(start_step=6, freeze_bn_step=-1)
  config.update(eval_steps=20, checkpoint_steps=3)
  return config


@pytest.fixture(scope='module')
def staged_run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('staged')
  train(staged_config(), str(workdir), ONE)
  return workdir


def test_without_stages_a_training_is_one():
  config = make_config()
  assert make_stages(config) == [
    Stage('', 0, 10, config.optimizer.learning_rate, True)
  ]


def test_stages_follow_each_other_by_name():
  stages = make_stages(staged_config())
  assert [(stage.start, stage.end) for stage in stages] == [
    (0, 3),
    (3, 6),
    (6, 10),
  ]
  found = [stage_at(step, stages).name for step in (0, 2, 3, 9, 10)]
  assert found == ['stage_1', 'stage_1', 'stage_2', 'stage_3', 'stage_3']


def test_stages_that_do_not_fit_the_steps_are_refused():
  config = staged_config()
  config.total_steps = 11
  with pytest.raises(ValueError, match='10 steps together, but total_steps is'):
    make_stages(config)
  config.stages.stage_2.steps = 0
  with pytest.raises(ValueError, match=r'stages\.stage_2\.steps is 0; give 1'):
    make_stages(config)


def test_the_mode_of_a_step_follows_the_config():
  quant = make_config().quant
  modes = [mode_at(step, quant) for step in range(10)]
  assert all(mode.train for mode in modes)
  assert [mode.quantize for mode in modes] == [False] * 4 + [True] * 6
  assert [mode.observe for mode in modes] == [False] * 4 + [True] * 6
  assert [mode.freeze_bn for mode in modes] == [False] * 8 + [True] * 2
  quant.update(enabled=False, freeze_bn_step=-1)
  assert {mode_at(step, quant) for step in range(10)} == {modes[0]}


def test_a_frozen_backbone_keeps_its_statistics_and_ranges():
  quant = make_config().quant
  mode = mode_at(9, quant, train_backbone=False)
  assert mode.freeze_bn
  assert mode.quantize
  assert not mode.observe
  assert mode_at(0, quant).batch_statistics


def test_the_head_is_trained_alone_before_everything_is(tmp_path):
  """The first stage leaves every number of the backbone as it was."""
  config = staged_config()
  config.update(total_steps=3)
  del config.stages['stage_2']
  del config.stages['stage_3']
  train(config, str(tmp_path), ONE)
  state, _ = read_state(config, tmp_path, 3)
  _, start, _ = make_start(config)
  for part in ('params', 'batch_stats'):
    after = leaves(state.variables[part])
    for name, leaf in leaves(start.variables[part]).items():
      np.testing.assert_array_equal(leaf, after[name], name)
  before, after = (
    leaves(s.params['classifier'])['weights'] for s in (start, state)
  )
  assert np.all(before != after)


def test_each_stage_has_a_schedule_of_its_own(staged_run):
  rates = [
    line['train/learning_rate']
    for line in read_log(staged_run)
    if 'train/learning_rate' in line
  ]
  # One warm-up step, then a cosine that ends at 0 after each stage.
  peaks = [rates[0], rates[3], rates[6]]
  np.testing.assert_allclose(peaks, [0.01, 0.004, 0.001], rtol=1e-6)
  assert rates[2] < 0.6 * rates[0]
  assert rates[5] < 0.6 * rates[3]


@pytest.mark.parametrize('stop', [2, 3, 8])
def test_a_run_continues_in_any_stage_with_the_same_bits(
  staged_run, tmp_path, stop
):
  """Also at step 3, where one stage has ended and the next not begun."""
  config = staged_config()
  # The calibration before the third stage takes two batches of its own.
  stop_and_resume(config, tmp_path, stop - 1 + 2 * (stop > 6))
  assert_same_end(config, staged_run, tmp_path)
