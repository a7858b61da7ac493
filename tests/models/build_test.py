"""From the config's blocks to a model, or to an error that says why not."""

import flax.linen as nn
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from configs import mbv2_int8
from faceqat.models import mobilefacenet, mobilenet_v2
from faceqat.models.build import make_model
from faceqat.quant.norm import BatchNorm
from faceqat.quant.spec import LayerQuant


def make_config(default=None, overrides=None, **model):
  fields = {
    'name': 'mobilenet_v2',
    'dtype': 'float32',
    'norm': {'name': 'batch'},
    **model,
  }
  quant = {
    'enabled': True,
    'default': default or {},
    'overrides': overrides or {},
  }
  return ConfigDict({'model': fields, 'quant': quant})


def test_fields_reach_the_model():
  model = make_model(make_config(width=0.5, embedding_size=64))
  assert model == mobilenet_v2.Model(embedding_size=64, width=0.5)
  model = make_model(
    make_config(name='mobilefacenet', norm={'name': 'batch', 'momentum': 0.99})
  )
  assert model == mobilefacenet.Model(norm=BatchNorm(momentum=0.99))


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
  assert model.quant.layer('stem') == LayerQuant(weight_bits=4)
  assert model.quant.layer('block_3/depthwise') == LayerQuant(weight_bits=8)


def test_the_main_config_gives_a_model():
  model = make_model(mbv2_int8.get_config())
  assert isinstance(model, mobilenet_v2.Model)
  # The embedding's zero point is 0, so dot products need no correction.
  assert model.quant.layer('embedding').symmetric
  assert not model.quant.layer('stem').symmetric


@pytest.mark.parametrize('name', ['mobilenet_v9', 'blocks', 'build', ''])
def test_unknown_model_is_refused_and_the_known_are_listed(name):
  with pytest.raises(ValueError, match=r'model\.name is .*mobilefacenet, mobi'):
    make_model(make_config(name=name))


def test_every_listed_model_exists():
  with pytest.raises(ValueError, match='choose one of') as error:
    make_model(make_config(name='?'))
  for name in str(error.value).split('choose one of ')[1].split(', '):
    assert isinstance(make_model(make_config(name=name)), nn.Module)


def test_unknown_dtype_is_refused_and_the_known_are_listed():
  with pytest.raises(ValueError, match=r"'float16'.*bfloat16, float32"):
    make_model(make_config(dtype='float16'))


@pytest.mark.parametrize('field', ['widht', 'quant', 'parent'])
def test_unknown_field_is_refused_and_the_known_are_listed(field):
  with pytest.raises(
    ValueError, match=rf'model\.{field} .* mobilenet_v2; .*embedding.*width'
  ):
    make_model(make_config(**{field: 1}))


def test_wrong_quantization_is_refused():
  with pytest.raises(
    ValueError, match=r"overrides\['stem'\].*weight_bits is 9"
  ):
    make_model(make_config(overrides={'stem': {'weight_bits': 9}}))
