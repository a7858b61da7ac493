"""MobileNetV1: its size, and that its three precisions belong together."""

import backbone_checks as checks
import jax
import layer_network
import pytest
from defaults import batch_norm, make_network

from faceqat.integer import operators as ops
from faceqat.models import mobilenet_v1

MODEL = make_network('mobilenet_v1', norm=batch_norm(momentum=0.0), dropout=0.0)


@pytest.fixture(scope='module')
def backbone():
  # Six blocks of thirteen; SFace's own weights run in all.
  small = MODEL.clone(depth_multiplier=0.25, width=0.25)
  return checks.prepare(small, image_size=32)


def test_the_embedding_reads_what_four_halvings_leave():
  params = jax.eval_shape(
    lambda: layer_network.random_variables(MODEL, (112, 112, 3))
  )['params']
  assert params['embedding']['kernel'].shape == (7 * 7 * 1024, 128)
  blocks = sum(repeats for _, repeats, _ in mobilenet_v1.STAGES)
  assert {name for name in params if name.endswith('prelu')} == {
    'stem_prelu',
    *(f'depthwise_{index}_prelu' for index in range(blocks)),
    *(f'pointwise_{index}_prelu' for index in range(blocks)),
  }


def test_the_first_convolution_keeps_the_size_and_four_halve_it(
  backbone,
):
  strides = [
    operator.strides
    for operator in backbone.program.operators
    if isinstance(operator, ops.Conv2D)
  ]
  assert strides[0] == (1, 1)
  assert strides.count((2, 2)) == 4


@checks.each(
  checks.check_both_sides_are_padded_alike,
  checks.check_every_output_quantizer_matters,
  checks.check_every_kernel_is_quantized,
  checks.check_bfloat16_runs,
)
def test_the_precisions_belong_together(backbone, check):
  check(backbone)
