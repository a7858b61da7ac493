"""MobileFaceNet: its size, and that its three precisions belong together."""

import functools

import backbone_checks as checks
import flax
import jax
import layer_network
import pytest
from defaults import batch_norm, make_network

from faceqat.integer import operators as ops
from faceqat.models import mobilefacenet

MODEL = make_network('mobilefacenet', norm=batch_norm(momentum=0.0))


@pytest.fixture(scope='module')
def backbone():
  # Blocks of every kind; `whole_networks_test` runs all fifteen.
  stages = ((2, 64, 2, 2), (4, 128, 1, 2))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mobilefacenet, 'STAGES', stages)
    yield checks.prepare(MODEL, image_size=32)


@functools.cache
def shapes(image_size):
  """Of the variables of the whole network."""
  return jax.eval_shape(
    lambda: layer_network.random_variables(MODEL, (image_size, image_size, 3))
  )


@pytest.mark.parametrize(('image_size', 'left'), [(112, 7), (32, 2)])
def test_the_global_depthwise_convolution_covers_what_is_left(image_size, left):
  params = shapes(image_size)['params']
  assert params['global_depthwise']['kernel'].shape == (left, left, 1, 512)
  assert params['embedding']['kernel'].shape == (512, 128)


def test_every_convolution_but_the_linear_ones_has_a_prelu():
  paths = flax.traverse_util.flatten_dict(shapes(32)['params'])
  names = {path[:-1] for path in paths if path[-1] == 'kernel'}
  linear = {
    name
    for name in names
    if (*name[:-1], f'{name[-1]}_prelu', 'alpha') not in paths
  }
  projections = {(f'block_{index}', 'project') for index in range(15)}
  assert linear == projections | {('global_depthwise',), ('embedding',)}


def test_blocks_keep_their_input_where_stride_and_channels_allow(backbone):
  ranges = shapes(32)['quant_stats']
  blocks = [ranges[f'block_{index}'] for index in range(15)]
  adding = {index for index, block in enumerate(blocks) if 'add' in block}
  # The first of a stage has stride 2, but for the third and the last.
  assert set(range(15)) - adding == {0, 5, 12}
  (add,) = (
    operator
    for operator in backbone.program.operators
    if isinstance(operator, ops.Add)
  )
  assert add.inputs == ('block_0/project', 'block_1/project')


@checks.each(
  checks.check_both_sides_are_padded_alike,
  checks.check_gradients_agree,
  checks.check_every_output_quantizer_matters,
  checks.check_every_kernel_is_quantized,
  checks.check_bfloat16_runs,
)
def test_the_precisions_belong_together(backbone, check):
  check(backbone)
