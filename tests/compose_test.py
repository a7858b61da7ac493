import itertools

import pytest

from configs import mbv2_int8
from configs.compose import PARTS, compose
from faceqat.losses.objective import make_objective
from faceqat.models.build import make_model
from faceqat.quant.norm import BatchRenorm
from faceqat.training.checks import check_batches


def test_no_word_changes_nothing():
  assert mbv2_int8.get_config('') == mbv2_int8.get_config()


@pytest.mark.parametrize(
  'word',
  [f'{part}={name}' for part, names in PARTS.items() for name in names],
)
def test_any_part_of_the_main_experiment_can_be_replaced(word):
  config = mbv2_int8.get_config(f'smoke,{word}')
  if word == 'norm=group':
    with pytest.raises(ValueError, match='has no integer form'):
      make_model(config)
    config.quant.enabled = False
  if word == 'loss=triplet':
    config.data.people_per_batch = 4
  make_model(config)
  objective = make_objective(config.loss)
  check_batches(config, objective)
  part, _, name = word.partition('=')
  if part in ('loss', 'norm'):
    found = config.loss if part == 'loss' else config.model.norm
    assert found.name == name


def test_all_parts_at_once_in_any_order():
  words = ('norm=renorm', 'model=ir34', 'loss=cosface', 'quant=w4a8')
  configs = [
    mbv2_int8.get_config(','.join(order))
    for order in itertools.permutations(words)
  ]
  assert all(config == configs[0] for config in configs)
  config = configs[0]
  model = make_model(config)
  assert (model.depth, model.quant.default.weight_bits) == (34, 4)
  assert isinstance(model.norm, BatchRenorm)
  assert config.loss.name == 'cosface'
  # The rest is unchanged.
  assert config.optimizer == mbv2_int8.get_config().optimizer


def test_quantization_is_switched_off_by_its_name():
  assert not mbv2_int8.get_config('quant=float').quant.enabled


def test_a_part_is_a_block_of_its_own():
  first = mbv2_int8.get_config('loss=arcface')
  first.loss.scale = 64.0
  assert mbv2_int8.get_config('loss=arcface').loss.scale == 16.0


@pytest.mark.parametrize(
  'word', ['smokey', 'model', 'model=vgg', 'depth=18', 'smoke=1', '=']
)
def test_an_unknown_word_is_refused_with_all_that_there_are(word):
  with pytest.raises(
    ValueError, match=f"no form '{word}'; .*model=mobilenet_v2.*loss=.*arcface"
  ):
    compose(mbv2_int8.get_config(), word)
