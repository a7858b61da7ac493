"""What a run may change when it goes on, and what it may not."""

import operator

import ml_collections
import pytest
from tiny_run import make_config

from faceqat.training.resume import check_config

FOLDER = 'runs/mine/checkpoints/4'


def changed(fields):
  """Config before, as one comes back from JSON, and now."""
  before, now = make_config(), make_config()
  now.update_from_flattened_dict(fields)
  return ml_collections.ConfigDict(before.to_dict()), now


@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'log_steps': 7, 'eval_steps': 5, 'checkpoint_steps': 2},
    {'data.path': 'moved', 'data.num_threads': 9, 'data.skip_damaged': True},
    {'eval.path': 'lfw', 'eval.batch_size': 3},
    {'pretrained': 'moved/model.params', 'quick_compilation': False},
  ],
)
def test_how_a_run_is_watched_and_where_files_lie_is_free(fields):
  assert not check_config(*changed(fields), FOLDER)


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('total_steps', 99),
    ('optimizer.learning_rate', 0.5),
    ('optimizer.clip_global_norm', 0.25),
    ('optimizer.kernel_rate', 5.0),
    ('optimizer.warmup_steps', 3),
    ('loss.scale', 12.0),
    ('micro_batches', 2),
    ('quant.start_step', 9),
  ],
)
def test_how_it_goes_on_may_change_and_is_said(name, value):
  before, now = changed({name: value})
  old = operator.attrgetter(name)(before)
  assert check_config(before, now, FOLDER) == [
    f'{name} is {value!r}, before it was {old!r}'
  ]


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('seed', 1),
    ('batch_size', 2),
    ('model.features', 4),
    ('loss.name', 'cosface'),
    ('loss.margin', 0.1),
    ('optimizer.name', 'sgd'),
    ('data.image_size', 48),
    ('data.seed', 5),
    ('data.augment.max_shift', 9),
    ('quant.default.weight_bits', 4),
    ('quant.enabled', False),
  ],
)
def test_what_is_trained_may_not_change(name, value):
  before, now = changed({name: value, 'total_steps': 99})
  with pytest.raises(ValueError, match='trained with another config') as raised:
    check_config(before, now, FOLDER)
  message = str(raised.value)
  assert message.startswith(FOLDER)
  assert f'{name} is {value!r}, before' in message
  assert 'total_steps is' not in message
  assert '--config.pretrained=RUN' in message


def test_an_override_that_is_new_or_gone_is_another_network():
  before, now = changed({})
  now.quant.overrides = {'stem': {'weight_bits': 4}}
  name = r'quant\.overrides\.stem\.weight_bits is {}, before it was {}'
  with pytest.raises(ValueError, match=name.format(4, "'absent'")):
    check_config(before, now, FOLDER)
  with pytest.raises(ValueError, match=name.format("'absent'", 4)):
    check_config(now, before, FOLDER)


def test_fields_of_another_version_are_left_out():
  before, now = changed({})
  with before.unlocked(), now.unlocked():
    before.gone, now.new = 1, 2
    before.fingerprint = {'template': 'arcface'}
  assert not check_config(before, now, FOLDER)


def test_a_tuple_is_the_list_that_json_makes_of_it():
  before, now = changed({'optimizer.step_boundaries': (0.5, 0.75)})
  with before.ignore_type():
    before.optimizer.step_boundaries = [0.5, 0.75]
  assert not check_config(before, now, FOLDER)
