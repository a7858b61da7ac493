import importlib
import pathlib

import pytest

from faceqat.data import sources
from faceqat.data.augment import Augment
from faceqat.losses.objective import make_objective
from faceqat.models.build import make_model
from faceqat.optimizer import make_optimizer
from faceqat.train import check_steps, mode_at

CONFIGS = sorted(
  path.stem
  for path in (pathlib.Path(__file__).parents[1] / 'configs').glob('*.py')
  if path.stem not in ('__init__', 'common')
)
FORMS = [(name, form) for name in CONFIGS for form in ('', 'smoke')]


def get(name, form=''):
  return importlib.import_module(f'configs.{name}').get_config(form)


def flat(config, prefix=''):
  fields = {}
  for name, value in config.items():
    if hasattr(value, 'items'):
      fields.update(flat(value, f'{prefix}{name}.'))
    else:
      fields[prefix + name] = value
  return fields


def test_the_main_config_is_among_them():
  assert 'mbv2_int8' in CONFIGS


@pytest.mark.parametrize(('name', 'form'), FORMS)
def test_everything_can_be_made_of_a_config(name, form):
  config = get(name, form)
  check_steps(config)
  model = make_model(config)
  assert model.embedding_size == config.model.embedding_size
  _, schedule = make_optimizer(config.optimizer, config.total_steps)
  assert float(schedule(0)) > 0
  make_objective(config.loss)
  Augment(**config.data.augment)
  if config.quant.enabled:
    # It trains in float first, and long enough with quantizers to be judged.
    assert 0 < config.quant.start_step < config.total_steps
    assert mode_at(config.total_steps - 1, config.quant).quantize


@pytest.mark.parametrize(('name', 'form'), FORMS)
def test_its_people_are_enough_for_its_pairs(name, form):
  config = get(name, form)
  data = sources.make_training_data(config.data)
  assert len(data.train) >= config.batch_size
  assert len(data.known) > 0
  assert len(data.validation) == config.data.validation_pairs
  pair_set = sources.make_evaluation_pairs(
    config.eval, image_size=config.data.image_size
  )
  assert len(pair_set) == config.eval.num_pairs


@pytest.mark.parametrize('name', CONFIGS)
def test_smoke_changes_sizes_and_nothing_else(name):
  full, smoke = flat(get(name)), flat(get(name, 'smoke'))
  assert full.keys() == smoke.keys()
  changed = {field for field in full if full[field] != smoke[field]}
  assert changed
  for field in changed:
    assert type(full[field]) is type(smoke[field]) is int, field
    assert smoke[field] < full[field], field


@pytest.mark.parametrize('name', CONFIGS)
def test_each_call_gives_a_config_of_its_own(name):
  first = get(name)
  first.data.path = 'elsewhere'
  first.quant.default.weight_bits = 4
  assert get(name).data.path == ''
  assert get(name).quant.default.weight_bits == 8


@pytest.mark.parametrize('name', CONFIGS)
def test_an_unknown_form_is_refused(name):
  with pytest.raises(ValueError, match='no form :smok; there is :smoke'):
    get(name, 'smok')


def test_the_float_baseline_differs_by_the_quantizers_alone():
  quantized, plain = flat(get('mbv2_int8')), flat(get('mbv2_fp32'))
  changed = {name for name in plain if plain[name] != quantized[name]}
  assert changed == {'quant.enabled'}


@pytest.mark.parametrize('name', CONFIGS)
def test_its_docstring_has_its_command(name):
  text = importlib.import_module(f'configs.{name}').__doc__
  assert f'python -m faceqat.main --config=configs/{name}.py' in text
