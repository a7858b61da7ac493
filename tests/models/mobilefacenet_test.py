"""MobileFaceNet: its size, and that its three precisions belong together."""

import backbone_checks as checks
import flax
import jax
import layer_network
import pytest
from defaults import batch_norm, make_network

from faceqat.integer import operators as ops
from faceqat.models import mobilefacenet

# Images of 32 leave 2x2 to the global depthwise convolution.
MODEL = make_network('mobilefacenet', norm=batch_norm(momentum=0.0))


@pytest.fixture(scope='module')
def backbone():
  # Six blocks of fifteen, of every kind; `whole_networks_test` runs all.
  return checks.prepare(MODEL.clone(depth_multiplier=0.2), image_size=32)


@pytest.mark.parametrize(('image_size', 'left'), [(112, 7), (48, 3), (32, 2)])
def test_the_global_depthwise_convolution_covers_what_is_left(image_size, left):
  params = jax.eval_shape(
    lambda: layer_network.random_variables(MODEL, (image_size, image_size, 3))
  )['params']
  assert params['global_depthwise']['kernel'].shape == (left, left, 1, 512)
  assert params['embedding']['kernel'].shape == (512, 128)


def test_every_convolution_but_the_linear_ones_has_a_prelu():
  params = jax.eval_shape(
    lambda: layer_network.random_variables(MODEL, (32, 32, 3))
  )['params']
  paths = flax.traverse_util.flatten_dict(params)
  names = {path[:-1] for path in paths if path[-1] == 'kernel'}
  linear = {
    name
    for name in names
    if (*name[:-1], f'{name[-1]}_prelu', 'alpha') not in paths
  }
  projections = {(f'block_{index}', 'project') for index in range(15)}
  assert linear == projections | {('global_depthwise',), ('embedding',)}


def test_blocks_keep_their_input_where_stride_and_channels_allow(backbone):
  added = [
    operator.inputs
    for operator in backbone.program.operators
    if isinstance(operator, ops.Add)
  ]
  # The first of a stage has stride 2 or other channels, but for the third and
  # the last.
  blocks = [2, 3, 5]
  assert [second for _, second in added] == [
    f'block_{index}/project' for index in blocks
  ]


def test_both_sides_are_padded_alike_at_every_stride(backbone):
  strides = set()
  for operator in backbone.program.operators:
    if isinstance(operator, ops.Conv2D):
      three = operator.weights.shape[:2] == (3, 3)
      assert operator.padding == (((1, 1),) * 2 if three else ((0, 0),) * 2)
      strides.add((three, operator.strides))
  assert strides == {(True, (1, 1)), (True, (2, 2)), (False, (1, 1))}


def test_gradients_at_8_bits_point_where_the_float_ones_do(
  backbone, monkeypatch
):
  # Every kind of block; all fifteen would take most of this file's time.
  stages = ((2, 64, 2, 2), (4, 128, 1, 2))
  monkeypatch.setattr(mobilefacenet, 'STAGES', stages)
  checks.check_gradients_agree(MODEL, backbone.images)


@checks.each(
  checks.check_every_output_quantizer_matters,
  checks.check_every_kernel_is_quantized,
  checks.check_bfloat16_runs,
)
def test_the_precisions_belong_together(backbone, check):
  check(backbone)
