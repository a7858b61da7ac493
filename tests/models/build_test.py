"""From the config's blocks to a model, or to an error that says why not."""

import flax.linen as nn
import jax.numpy as jnp
import pytest
import tiny_run
from defaults import layer_quant

from configs import common, mbv2_int8
from configs.models import MODELS
from faceqat.models import mobilefacenet, mobilenet_v2
from faceqat.models.build import make_model
from faceqat.models.network import check_overrides, variable_shapes
from faceqat.quant.norm import BatchNorm

# As the configs have them, by name.
BLOCKS = {
  block.name: block
  for block in (tiny_run.make_config().model, *(m() for m in MODELS.values()))
}


def make_config(default=None, overrides=None, **model):
  config = mbv2_int8.get_config()
  config.model = {**BLOCKS.get(model.get('name'), config.model), **model}
  config.quant.default.update(default or {})
  config.quant.overrides = overrides or {}
  return config


def test_fields_reach_the_model():
  model = make_model(make_config(width=0.75, embedding_size=64))
  assert isinstance(model, mobilenet_v2.Model)
  assert (model.width, model.embedding_size) == (0.75, 64)
  norm = {**common.batch_norm(), 'momentum': 0.99}
  model = make_model(make_config(name='mobilefacenet', norm=norm))
  assert isinstance(model, mobilefacenet.Model)
  assert model.norm == BatchNorm(momentum=0.99, epsilon=1e-3)


@pytest.mark.parametrize('field', ['width', 'depth_multiplier'])
def test_a_field_that_the_config_lacks_is_named(field):
  config = make_config()
  del config.model[field]
  with pytest.raises(
    ValueError, match=rf'model\.{field} is missing .* mobilenet_v2; it has dep'
  ):
    make_model(config)


@pytest.mark.parametrize(
  ('name', 'dtype'), [('bfloat16', jnp.bfloat16), ('float32', jnp.float32)]
)
def test_dtype_is_given_by_name(name, dtype):
  assert make_model(make_config(dtype=name)).dtype == dtype


def test_quantization_reaches_the_model():
  model = make_model(
    make_config(
      default={'weight_bits': 4},
      overrides={'block_*/depthwise': {'weight_bits': 8}},
    )
  )
  assert model.quant.layer('stem') == layer_quant(weight_bits=4)
  assert model.quant.layer('block_3/depthwise') == layer_quant(weight_bits=8)


def test_the_main_config_gives_a_model():
  model = make_model(mbv2_int8.get_config())
  assert isinstance(model, mobilenet_v2.Model)
  # The embedding's zero point is 0, so dot products need no correction.
  assert model.quant.layer('embedding').symmetric
  assert not model.quant.layer('stem').symmetric


def test_every_listed_model_exists():
  with pytest.raises(ValueError, match='choose one of') as error:
    make_model(make_config(name='?'))
  for name in str(error.value).split('choose one of ')[1].split(', '):
    assert isinstance(make_model(make_config(name=name)), nn.Module)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    *(
      ({'name': name}, r'model\.name is .*mobilefacenet, mobi')
      for name in ('mobilenet_v9', 'blocks', 'build', '')
    ),
    ({'dtype': 'float16'}, "'float16'.*bfloat16, float32"),
    *(
      ({field: 1}, rf'model\.{field} .* mobilenet_v2; .*embedding.*width')
      for field in ('widht', 'quant', 'parent')
    ),
    (
      {'overrides': {'stem': {'weight_bits': 9}}},
      r"overrides\['stem'\].*weight_bits is 9",
    ),
  ],
)
def test_wrong_fields_are_refused_and_the_known_are_listed(fields, message):
  with pytest.raises(ValueError, match=message):
    make_model(make_config(**fields))


@pytest.mark.parametrize(
  ('pattern', 'fits'),
  [
    ('block_16/expand', True),
    ('block_16/*', True),
    ('block_17/expand', False),
    ('stern', False),
  ],
)
def test_a_shallow_network_takes_bits_of_layers_that_the_full_one_has(
  pattern, fits
):
  # It has blocks 0 to 6 alone.
  config = make_config(
    overrides={pattern: {'weight_bits': 4}}, depth_multiplier=0.25
  )
  model = make_model(config)
  quant_stats = variable_shapes(model, 32)['quant_stats']
  assert not any('16' in name for name in quant_stats)
  if fits:
    (note,) = check_overrides(model, quant_stats, 32)
    assert note == (
      f'quant.overrides[{pattern!r}] fits no layer at a model.depth_multiplier '
      'of 0.25'
    )
    return
  with pytest.raises(ValueError, match='model has at full depth') as error:
    check_overrides(model, quant_stats, 32)
  message = str(error.value)
  assert message.startswith(f"quant.overrides['{pattern}'] fits no layer; ")
  assert 'block_16/expand' in message


def test_a_network_of_full_depth_is_checked_by_its_own_layers():
  model = make_model(make_config(overrides={'block_17/*': {'weight_bits': 4}}))
  quant_stats = variable_shapes(model, 32)['quant_stats']
  with pytest.raises(ValueError, match=r"\['block_17/\*'\] fits no layer"):
    check_overrides(model, quant_stats, 32)
