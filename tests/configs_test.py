import functools
import importlib
import json
import re

import jax
import numpy as np
import pytest
from settings import ROOT
from small_forms import RECIPES
from tiny_run import make_config, read_log

from faceqat.data import datasets
from faceqat.data.augment import Augment
from faceqat.losses.objective import make_objective
from faceqat.models.build import make_model
from faceqat.models.network import check_overrides, variable_shapes
from faceqat.quant.spec import FLOAT
from faceqat.training.checkpoint import load_network
from faceqat.training.checks import check_batches, check_steps, with_start_step
from faceqat.training.loop import train
from faceqat.training.plan import make_recipe
from faceqat.training.stages import make_stages, mode_at

CONFIGS = sorted(
  path.stem
  for path in (ROOT / 'configs').glob('*.py')
  if path.stem
  not in ('__init__', 'base', 'common', 'compose', 'losses', 'models')
)
FORMS = [(name, form) for name in CONFIGS for form in ('', 'smoke')]
# These begin with a trained network.
TEACHERS = ('mobilefacenet_y1', 'sface')
PRETRAINED = [name for name in CONFIGS if name.startswith(TEACHERS)]
# It quantizes nothing; the others do from the first step on.
FLOAT_FIRST = 'mobilefacenet_y1_narrow'
# Who uses them names the teacher; SFace is there.
DISTILLED = [
  name for name in PRETRAINED if not re.search('arcface|sface', name)
]

# They name single layers.
SHALLOW = [f'mobilefacenet_y1_{end}' for end in ('mixed', 'w2a8', 'w3a8')]


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


def get_small(name):
  """The recipe on a network that compiles in a second, one step of each kind.

  The networks and the validation have tests of their own.
  """
  config = get(name, 'smoke')
  config.model = {**make_config().model, 'norm': config.model.norm}
  # The other overrides name layers of the original network.
  embedding = config.quant.overrides.embedding
  config.quant.overrides = {'embedding': embedding}
  config.data.update(
    image_size=32, validation_people=0, holdout_images_per_person=0
  )
  for stage in config.stages:
    config.stages[stage].steps = 1
  if not config.stages:
    config.total_steps = 2
    config.quant.start_step = min(1, config.quant.start_step)
  return config


def layers_of(name):
  """The paths of all layers with a quantizer, without computing anything."""
  # They are the same for images of any size.
  size = get(name, 'smoke').data.image_size
  config = get(name)
  own = any(x.get('input') == 'own' for x in config.quant.overrides.values())
  return _layers_of(config.model.to_json(sort_keys=True), size, own)


@functools.cache
def _layers_of(model, size, own_inputs):
  config = get('mbv2_int8')
  config.model = json.loads(model)
  # A norm without an integer form is refused with it; the bits change no path.
  config.quant.enabled = False
  config.quant.overrides = {}
  config.quant.default.input = 'own' if own_inputs else 'shared'
  model = make_model(config)
  images = np.zeros((1, size, size, 3), np.uint8)
  shapes = jax.eval_shape(
    lambda key: model.init(key, images, FLOAT), jax.random.key(0)
  )
  names = (
    jax.tree_util.keystr(path, simple=True, separator='/')
    for path, _ in jax.tree_util.tree_leaves_with_path(shapes['quant_stats'])
  )
  return list(dict.fromkeys(name.split('/quantizer/')[0] for name in names))


def test_the_main_config_is_among_them():
  assert 'mbv2_int8' in CONFIGS
  assert 'mobilefacenet_y1_int8' in DISTILLED


@pytest.mark.parametrize(('name', 'form'), FORMS)
def test_everything_can_be_made_of_a_config(name, form):
  config = get(name, form)
  if name in DISTILLED:
    config.pretrained = 'teacher.params'
  check_steps(config)
  data = datasets.make_training_data(config.data)
  config = with_start_step(config, len(data.train))
  model = make_model(config)
  assert model.embedding_size == config.model.embedding_size
  objective = make_objective(config.loss)
  check_batches(config, objective)
  for stage in make_stages(config):
    _, schedule = make_recipe(config, model, objective, stage)
    assert float(schedule(0)) > 0
  Augment(**config.data.augment)
  if not config.quant.enabled:
    return
  last_step = max(config.total_steps - 1, 0)
  assert mode_at(last_step, config.quant).quantize
  if name not in PRETRAINED:
    # It trains in float first, then with quantizers.
    assert 0 < config.quant.start_step < config.total_steps


@pytest.mark.parametrize(
  'name', [name for name in PRETRAINED if name != FLOAT_FIRST]
)
def test_a_trained_network_is_quantized_and_its_norms_frozen_at_once(name):
  quant = get(name).quant
  assert quant.enabled
  first = mode_at(0, quant)
  assert first.quantize
  assert first.freeze_bn


@pytest.mark.parametrize('name', DISTILLED)
def test_distillation_without_a_teacher_is_refused(name):
  with pytest.raises(ValueError, match='pretrained is empty; give the teacher'):
    check_steps(get(name))


@pytest.mark.parametrize('name', CONFIGS)
def test_its_overrides_are_for_layers_that_there_are(name):
  quant = make_model(get(name)).quant
  assert not quant.unmatched(layers_of(name))
  # Or a dot product of two embeddings would not be a cosine.
  assert quant.layer('embedding').symmetric
  assert quant.layer('embedding').activation_bits == 8


@pytest.mark.parametrize('name', SHALLOW)
def test_a_smoke_form_may_lack_layers_that_its_config_names(name):
  config = get(name, 'smoke')
  size, model = config.data.image_size, make_model(config)
  shapes = variable_shapes(model, size)
  absent = check_overrides(model, shapes['quant_stats'], size)
  # Some are there, or the form would not show what it is a form of.
  assert len(absent) < len(config.quant.overrides) - 1


def test_four_bits_are_for_what_a_convolution_reads():
  config = get('mobilefacenet_y1_w4a4')
  quant = make_model(config).quant
  layers = layers_of('mobilefacenet_y1_w4a4')

  def wide(path):
    if path in ('stem', 'global_depthwise', 'embedding'):
      return True
    # What is added, the sums, and what goes into a PReLU.
    on_the_path = path.endswith(('/project', '/add'))
    return on_the_path or f'{path}_prelu' in layers

  bits = {path: quant.layer(path).activation_bits for path in layers}
  assert bits == {path: 8 if wide(path) else 4 for path in layers}
  assert set(bits.values()) == {4, 8}


@pytest.mark.parametrize(('name', 'form'), FORMS)
def test_its_people_are_enough_for_its_pairs(name, form):
  config = get(name, form)
  data = datasets.make_training_data(config.data)
  assert len(data.train) >= config.batch_size
  assert (len(data.known) > 0) == (config.data.holdout_images_per_person > 0)
  if config.data.validation_people:
    assert len(data.validation) == config.data.validation_pairs
  pair_set = datasets.make_evaluation_pairs(
    config.eval, image_size=config.data.image_size
  )
  assert len(pair_set) == config.eval.num_pairs


@pytest.mark.parametrize('name', CONFIGS)
def test_smoke_changes_sizes_and_nothing_else(name):
  full, smoke = flat(get(name)), flat(get(name, 'smoke'))
  assert full.keys() == smoke.keys()
  changed = {field for field in full if full[field] != smoke[field]}
  # SFace stays the whole network, which runs for longer than it compiles.
  quick = full['micro_batches'] == 1 and name != 'sface_int8'
  assert ('quick_compilation' in changed) == quick
  # Images for the full form are taken, and resized.
  stored = {'data.stored_size', 'eval.stored_size'}
  assert stored <= changed
  assert {smoke[field] for field in stored} == {full['data.image_size']}
  for field in changed - {'quick_compilation'} - stored:
    kinds = {type(full[field]), type(smoke[field])}
    assert kinds in ({int}, {float}), field
    assert smoke[field] < full[field], field


@pytest.mark.parametrize('name', CONFIGS)
def test_each_call_gives_a_config_of_its_own(name):
  first, before = get(name), flat(get(name))
  first.data.path = 'elsewhere'
  first.quant.default.weight_bits = 2
  first.quant.overrides.embedding.symmetric = False
  assert flat(first) != before
  assert flat(get(name)) == before


@pytest.mark.parametrize('name', CONFIGS)
def test_an_unknown_form_is_refused(name):
  with pytest.raises(ValueError, match="no form 'smok'; there are smoke; mod"):
    get(name, 'smok')


def test_the_float_baseline_differs_by_the_quantizers_alone():
  quantized, plain = flat(get('mbv2_int8')), flat(get('mbv2_fp32'))
  changed = {name for name in plain if plain[name] != quantized[name]}
  assert changed == {'quant.enabled'}


@pytest.mark.parametrize('name', CONFIGS)
def test_its_docstring_has_its_command(name):
  text = importlib.import_module(f'configs.{name}').__doc__
  command = 'compress' if name.endswith('_compress') else 'main'
  assert f'python -m faceqat.{command} --config=configs/{name}.py' in text


@pytest.mark.parametrize('name', RECIPES)
def test_its_recipe_trains(name, float_run, tmp_path):
  config = get_small(name)
  if name in PRETRAINED:
    config.pretrained = str(float_run)
  train(config, str(tmp_path), jax.devices()[:1])
  network = load_network(str(tmp_path))
  assert network.step == config.total_steps == 2
  losses = [
    line['train/loss'] for line in read_log(tmp_path) if 'train/loss' in line
  ]
  assert len(losses) == 2
  assert np.all(np.isfinite(losses))
  # It ends with quantizers and observed ranges.
  ranges = jax.tree.leaves(network.variables['quant_stats'])
  assert any(np.any(values) for values in ranges)
