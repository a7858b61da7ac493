"""What a run may change when it goes on, and what it may not."""

import ml_collections
import pytest
from tiny_run import make_config

from faceqat.training.resume import check_config

FOLDER = 'runs/mine/checkpoints/4'


def changed(**fields):
  """Config before and now, as one comes back from JSON."""
  before, now = make_config(), make_config()
  with now.unlocked():
    now.update_from_flattened_dict(
      {name.replace('__', '.'): value for name, value in fields.items()}
    )
  return ml_collections.ConfigDict(before.to_dict()), now


@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'log_steps': 7, 'eval_steps': 5, 'checkpoint_steps': 2},
    {'data__path': 'moved', 'data__num_threads': 9, 'data__skip_damaged': True},
    {'eval__path': 'lfw', 'eval__batch_size': 3},
    {'pretrained': 'moved/model.params', 'quick_compilation': False},
  ],
)
def test_how_a_run_is_watched_and_where_files_lie_is_free(fields):
  assert not check_config(*changed(**fields), FOLDER)


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('total_steps', 99),
    ('optimizer__learning_rate', 0.5),
    ('optimizer__clip_global_norm', 0.25),
    ('optimizer__warmup_steps', 3),
    ('loss__scale', 12.0),
    ('micro_batches', 2),
    ('quant__start_step', 9),
  ],
)
def test_how_it_goes_on_may_change_and_is_said(field, value):
  before, now = changed(**{field: value})
  name = field.replace('__', '.')
  old = dict(before)
  for key in name.split('.'):
    old = old[key]
  assert check_config(before, now, FOLDER) == [
    f'{name} is {value!r}, before it was {old!r}'
  ]


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('seed', 1),
    ('batch_size', 2),
    ('model__features', 4),
    ('loss__name', 'cosface'),
    ('loss__margin', 0.1),
    ('optimizer__name', 'sgd'),
    ('data__image_size', 48),
    ('data__seed', 5),
    ('data__augment__max_shift', 9),
    ('quant__default__weight_bits', 4),
    ('quant__enabled', False),
  ],
)
def test_what_is_trained_may_not_change(field, value):
  before, now = changed(**{field: value, 'total_steps': 99})
  with pytest.raises(ValueError, match='trained with another config') as raised:
    check_config(before, now, FOLDER)
  message = str(raised.value)
  assert message.startswith(FOLDER)
  assert f'{field.replace("__", ".")} is {value!r}, before' in message
  assert 'total_steps is' not in message
  assert '--config.pretrained=RUN' in message


def test_an_override_that_is_new_or_gone_is_another_network():
  before, now = changed()
  now.quant.overrides = {'stem': {'weight_bits': 4}}
  name = r'quant\.overrides\.stem\.weight_bits is {}, before it was {}'
  with pytest.raises(ValueError, match=name.format(4, "'absent'")):
    check_config(before, now, FOLDER)
  with pytest.raises(ValueError, match=name.format("'absent'", 4)):
    check_config(now, before, FOLDER)


def test_fields_of_another_version_are_left_out():
  before, now = changed()
  with before.unlocked(), now.unlocked():
    before.gone, now.new = 1, 2
    before.fingerprint = {'template': 'arcface'}
  assert not check_config(before, now, FOLDER)


def test_a_tuple_is_the_list_that_json_makes_of_it():
  before, now = changed()
  before.optimizer.step_boundaries = (0.5, 0.75)
  now.optimizer.step_boundaries = (0.5, 0.75)
  before = ml_collections.ConfigDict(before.to_dict())
  with before.unlocked():
    before.optimizer.step_boundaries = [0.5, 0.75]
  assert not check_config(before, now, FOLDER)
