import dataclasses
import functools

import flax.linen as nn
import jax
import layer_network as table
import numpy as np
import pytest
from defaults import batch_norm, make_spec

from faceqat.export import litert, tflite
from faceqat.integer.evaluator import make_evaluator
from faceqat.integer.program import CONTRACTS
from faceqat.models import blocks
from faceqat.quant.layers import QuantConv, input_image
from faceqat.quant.spec import FLOAT


@pytest.mark.parametrize(
  ('repeats', 'multiplier', 'wanted'),
  [
    *((4, 1.0, 4), (4, 0.25, 1), (5, 0.25, 2), (3, 1 / 3, 1), (1, 0.01, 1)),
    # A network may be deeper than its paper's.
    (3, 1.5, 5),
  ],
)
def test_depth_is_scaled_and_rounded_up(repeats, multiplier, wanted):
  assert blocks.scale_depth(repeats, multiplier) == wanted


@pytest.mark.parametrize('multiplier', [0, -1.0])
def test_no_network_is_without_blocks(multiplier):
  with pytest.raises(ValueError, match=f'depth_multiplier is {multiplier}'):
    blocks.scale_depth(3, multiplier)


@pytest.mark.parametrize(
  ('features', 'strides', 'wanted'), [(8, 1, 0.2), (8, 2, 1.0), (16, 1, 1.0)]
)
def test_a_block_that_adds_its_input_begins_near_the_identity(
  features, strides, wanted
):
  block = blocks.InvertedResidual(
    features=features,
    expanded=16,
    strides=strides,
    activation='relu6',
    conv=functools.partial(QuantConv, norm=batch_norm(), quant=make_spec()),
  )
  init = jax.jit(block.init, static_argnums=2)
  variables = init(jax.random.key(0), np.zeros((1, 4, 4, 8)), FLOAT)
  gammas = {
    name: layer['bn']['scale'] for name, layer in variables['params'].items()
  }
  np.testing.assert_array_equal(gammas.pop('project'), np.float32(wanted))
  np.testing.assert_array_equal(np.concatenate(list(gammas.values())), 1)


@pytest.mark.parametrize('form', ['shared', 'own'])
def test_a_convolution_may_read_fewer_bits_than_the_sum_keeps(form):
  quant = make_spec(
    {'activation_bits': 8},
    {'block/input': {'activation_bits': 4, 'input': form}},
  )

  class Two(nn.Module):
    @nn.compact
    def __call__(self, images, mode):
      conv = functools.partial(QuantConv, norm=batch_norm(), quant=quant)
      x = conv(name='stem', features=8)(input_image(images), mode)
      fields = {'features': 8, 'expanded': 16, 'strides': 1, 'conv': conv}
      return blocks.InvertedResidual(
        activation='relu6', name='block', **fields
      )(x, mode)

  images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), np.uint8)
  variables = table.random_variables(Two(), (6, 6, 3))
  variables = table.calibrate(Two(), variables, images)
  program = table.lower(Two(), variables, (6, 6, 3))
  reads = {op.name: op.inputs for op in program.operators}
  assert reads['block/add'] == ('stem', 'block/project')
  assert program.tensors['stem'].bits == 8
  if form == 'shared':
    assert reads['block/expand'] == ('stem',)
    return
  assert reads['block/expand'] == ('block/input',)
  assert reads['block/input'] == ('stem',)
  for contract in CONTRACTS:
    shipped = dataclasses.replace(program, contract=contract)
    values = make_evaluator(shipped, taps=True)(images)
    assert set(np.unique(values['block/input'])) <= set(range(-8, 8))
    assert len(np.unique(values['stem'])) > 16
    content = tflite.to_bytes(shipped, taps=True)
    for name, value in litert.make_runner(content, contract)(images).items():
      np.testing.assert_array_equal(value, values[name], err_msg=name)
